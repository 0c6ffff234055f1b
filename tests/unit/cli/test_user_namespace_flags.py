"""--userns, --uidmap and --gidmap: docker's where docker has them, podman's where it has not."""

from __future__ import annotations

import pytest

from barque.cli.command import CommandError
from barque.cli.container_body import build_body
from barque.cli.container_flags import CREATE_FLAGS
from barque.cli.parser import parse


def mode(*words: str) -> str:
    parsed = parse(CREATE_FLAGS, [*words, "image"], interspersed=False)
    body = build_body(parsed.flags, parsed.args, {}, (0, 0))
    found: str = body["HostConfig"]["UsernsMode"]
    return found


@pytest.mark.parametrize("given", ["", "host", "private", "auto", "auto:size=9", "map:0:1:2"])
def test_modes_are_passed_on(given: str) -> None:
    assert mode(f"--userns={given}") == given


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--uidmap=0:100:10"], "map:0:100:10"),
        (["--gidmap=0:100:10"], "map:0:100:10"),
        (["--uidmap=0:100:10", "--uidmap=10:7"], "map:0:100:10,10:7:1"),
        (["--uidmap=0:100:10", "--gidmap=0:200:10"], "map:0:100:10/0:200:10"),
        (["--uidmap=0:100:10", "--userns=private"], "map:0:100:10"),
    ],
)
def test_maps(words: list[str], expected: str) -> None:
    assert mode(*words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--userns=keep-id"], "--userns: invalid USER mode"),
        (["--uidmap=0:1:1", "--userns=auto"], "cannot be used with --userns"),
        (["--uidmap=0"], 'invalid mapping "0": give INSIDE:HOST'),
        (["--uidmap=a:b:c"], "invalid mapping"),
    ],
)
def test_what_is_none(words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        mode(*words)
