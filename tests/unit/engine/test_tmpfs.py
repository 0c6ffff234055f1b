from __future__ import annotations

import pytest

from barque.engine.tmpfs import convert_tmpfs_options, parse_tmpfs_text
from barque.errors import InvalidArgument
from barque.models.api import TmpfsOptions


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", ["noexec", "nosuid", "nodev", "rprivate"]),
        ("defaults", ["noexec", "nosuid", "nodev", "rprivate"]),
        (
            "rw,size=64m,mode=1777",
            ["noexec", "nosuid", "nodev", "rprivate", "rw", "size=64m", "mode=1777"],
        ),
        ("exec,dev", ["nosuid", "rprivate", "exec", "dev"]),
        ("size=1m,size=2m", ["noexec", "nosuid", "nodev", "rprivate", "size=2m"]),
        ("ro,rw", ["noexec", "nosuid", "nodev", "rprivate", "rw"]),
    ],
)
def test_options_are_merged_over_dockers(text: str, options: list[str]) -> None:
    assert parse_tmpfs_text(text) == options


@pytest.mark.parametrize(
    ("text", "shown"),
    [("fast", '["fast"]'), ("colour=red", '["colour" "red"]'), ("size", '["size"]'), (",", '[""]')],
)
def test_unknown_options_are_refused(text: str, shown: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_tmpfs_text(text)
    assert str(caught.value) == f"Invalid tmpfs option {shown}"


def test_structured_options() -> None:
    options = TmpfsOptions(size_bytes=1 << 20, mode=0o1770, options=[["exec"]])
    assert convert_tmpfs_options(options, readonly=True) == [
        "ro",
        "mode=1770",
        "size=1048576",
        "exec",
    ]
    with pytest.raises(InvalidArgument, match="invalid option: suid"):
        convert_tmpfs_options(TmpfsOptions(options=[["suid"]]), readonly=False)
    with pytest.raises(InvalidArgument, match="invalid option array length"):
        convert_tmpfs_options(TmpfsOptions(options=[[]]), readonly=False)
