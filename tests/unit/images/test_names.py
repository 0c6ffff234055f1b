"""Names in archives, as they are made relative to the root."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.images.tar import Limits
from barque.images.unpack import clean

PARTS = st.sampled_from([b"", b".", b"..", b"a", b".wh.a", b"..a", b"b.c", b"\xff", b"n" * 255])


@given(st.lists(PARTS, max_size=12))
def test_a_clean_name_leads_to_the_same_place(parts: list[bytes]) -> None:
    reached: list[bytes] = []
    for part in parts:
        if part == b"..":
            reached = reached[:-1]
        elif part not in (b"", b"."):
            reached.append(part)
    assert clean(b"/".join(parts)) == b"/".join(reached)


def test_limits() -> None:
    limits = Limits(depth=3, path_bytes=600)
    assert clean(b"a/b/c/", limits) == b"a/b/c"
    for name, words in (
        (b"a/b/c/d", "4 directories deep, 3 are allowed"),
        (b"a/" + b"n" * 256, "has 256 bytes, 255 are allowed in a name"),
        (b"a/" * 300 + b"a", "has 601 bytes, 600 are allowed"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            clean(name, limits)
