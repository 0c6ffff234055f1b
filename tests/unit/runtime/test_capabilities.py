from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.runtime import capabilities as caps


def test_there_are_41_names_and_their_numbers_are_the_kernels() -> None:
    assert len(caps.NAMES) == 41
    assert caps.NUMBERS["CAP_CHOWN"] == 0
    assert caps.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert caps.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40


def test_docker_gives_fourteen() -> None:
    assert len(caps.DOCKER) == 14
    assert caps.mask(caps.DOCKER) == 0xA80425FB


def test_barque_gives_the_eleven_that_podman_keeps() -> None:
    assert sorted(name.removeprefix("CAP_") for name in caps.DEFAULT) == [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]


def test_another_default_is_adjusted_likewise() -> None:
    assert caps.choose(["KILL"], ["CHOWN"], default=caps.DOCKER)[-1] == "CAP_AUDIT_WRITE"
    assert caps.choose(["KILL"], ["CHOWN"], default=("CAP_CHOWN",)) == ("CAP_KILL",)


@pytest.mark.parametrize("name", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_admin"])
def test_a_name_may_be_written_in_many_ways(name: str) -> None:
    assert caps.parse_names([name]) == ["CAP_NET_ADMIN"]


def test_all_is_a_name() -> None:
    assert caps.parse_names(["all"]) == ["ALL"]


def test_an_unknown_name_is_refused_in_dockers_words() -> None:
    with pytest.raises(InvalidArgument, match=r'^unknown capability: "CAP_FLY"$'):
        caps.parse_names(["fly"])


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (None, None, set(caps.DEFAULT)),
        ([], [], set(caps.DEFAULT)),
        (["SYS_TIME"], None, {*caps.DEFAULT, "CAP_SYS_TIME"}),
        (["CHOWN"], None, set(caps.DEFAULT)),
        (None, ["CHOWN"], set(caps.DEFAULT) - {"CAP_CHOWN"}),
        (["CHOWN"], ["CHOWN"], set(caps.DEFAULT)),
        (["ALL"], ["CHOWN"], set(caps.known()) - {"CAP_CHOWN"}),
        (["SYS_TIME"], ["ALL"], {"CAP_SYS_TIME"}),
        (None, ["ALL"], set()),
        (["ALL"], ["ALL"], set(caps.known())),
    ],
)
def test_add_and_drop(add: list[str] | None, drop: list[str] | None, expected: set[str]) -> None:
    chosen = caps.choose(add, drop)
    assert set(chosen) == expected
    assert len(chosen) == len(expected)


def test_privileged_is_all_that_the_kernel_knows() -> None:
    assert caps.choose(["X"], ["Y"], privileged=True) == caps.known()


@given(st.sets(st.sampled_from(caps.NAMES)))
def test_a_mask_holds_its_names(names: set[str]) -> None:
    assert set(caps.names_of(caps.mask(names))) == names


def test_a_mask_leaves_out_what_nobody_knows() -> None:
    assert caps.mask(["CAP_FLY", "CAP_CHOWN"]) == 1


def test_the_process_can_tell_what_it_holds() -> None:
    held = caps.held()
    assert held.effective & ~held.permitted == 0
    assert held.permitted & ~caps.mask(caps.NAMES) == 0
