from __future__ import annotations

import pytest

from barque.errors import InvalidArgument
from barque.models.oci import IdMapping
from barque.runtime.userns import check_mappings


def mapping(inside: int, outside: int, size: int) -> IdMapping:
    return IdMapping(container_id=inside, host_id=outside, size=size)


def test_ranges_side_by_side() -> None:
    check_mappings("uid", [mapping(0, 1000, 1), mapping(1, 100000, 65535)])


@pytest.mark.parametrize(
    ("mappings", "said"),
    [
        ([mapping(0, 0, 0)], "empty or out of range"),
        ([mapping(-1, 0, 1)], "empty or out of range"),
        ([mapping(0, 2**32 - 1, 2)], "empty or out of range"),
        ([mapping(0, 100, 10), mapping(9, 200, 1)], "overlap inside at id 9"),
        ([mapping(0, 100, 10), mapping(10, 109, 1)], "overlap outside at id 109"),
        ([mapping(n, n, 1) for n in range(341)], "at most 340"),
    ],
)
def test_ranges_that_cannot_be(mappings: list[IdMapping], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_mappings("uid", mappings)
