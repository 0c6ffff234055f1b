from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from barque.cli.listing import ellipsis, natural_key, quote_go, truncate_id
from barque.cli.table import layout, table, text_width


def test_columns_are_at_least_ten_wide_and_three_apart() -> None:
    rows = [["ID", "NAME", "LAST"], ["x", "a-long-long-name", "z"]]
    assert table(rows) == (
        "ID        NAME               LAST\n"
        "x         a-long-long-name   z\n"
    )  # fmt: skip


def test_wide_characters_take_two_columns() -> None:
    assert text_width("\u4e16\u754c") == 4
    assert text_width("e\u0301") == 1
    assert table([["A", "B"], ["\u4e16\u754c\u4e16\u754c\u4e16", "x"]]) == (
        "A            B\n\u4e16\u754c\u4e16\u754c\u4e16   x\n"
    )


def test_a_column_ends_where_a_line_lacks_it() -> None:
    assert layout("a\tb\nplain\nlonger-than-ten\tc\n") == (
        "a         b\nplain\nlonger-than-ten   c\n"
    )


_CELL = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\v\f"), max_size=15)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(_CELL, min_size=n, max_size=n), min_size=1)
    )
)
def test_the_short_way_and_the_general_way_agree(rows: list[list[str]]) -> None:
    assert table(rows) == layout("".join("\t".join(row) + "\n" for row in rows))


def test_text_helpers() -> None:
    assert truncate_id("sha256:" + "a" * 64) == "a" * 12
    assert ellipsis("abcdefgh", 5) == "abcd\u2026"
    assert ellipsis("abcde", 5) == "abcde"
    assert ellipsis("\u4e16\u754c\u4e16", 5) == "\u4e16\u754c\u2026"
    assert quote_go('a"b\\c') == '"a\\"b\\\\c"'
    assert quote_go("\x01\u00e9") == '"\\x01\u00e9"'
    assert sorted(["net10", "net2", "a"], key=natural_key) == ["a", "net2", "net10"]
