"""Columns of text, laid out as Go's tabwriter does (source: https://pkg.go.dev/text/tabwriter)."""

from __future__ import annotations


def text_width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text) if text.isprintable() else sum(32 <= ord(rune) < 127 for rune in text)
    from unicodedata import category, east_asian_width  # noqa: PLC0415 - ASCII is the rule

    width = 0
    for rune in text:
        if category(rune) in ("Mn", "Me", "Cf", "Cc"):
            continue
        width += 2 if east_asian_width(rune) in "WF" else 1
    return width


def layout(text: str, *, min_width: int = 10, padding: int = 3) -> str:
    """``text`` with its tab-terminated cells aligned.

    A column is a run of consecutive lines that have a cell there; the last cell of a line,
    which no tab ends, belongs to no column. A column is as wide as its widest cell and the
    padding, and at least ``min_width``.
    """
    lines = [line.replace("\v", "\t").split("\t") for line in text.replace("\f", "\n").split("\n")]
    grid = _Grid(lines, min_width, padding)
    grid.measure(0, len(lines), 0)
    shown = []
    for cells, columns in zip(lines, grid.widths, strict=True):
        padded = [
            cell + " " * (column - text_width(cell))
            for cell, column in zip(cells, columns, strict=False)
        ]
        shown.append("".join(padded) + cells[-1])
    return "\n".join(shown)


class _Grid:
    """Cells of all lines, and the width of each cell's column."""

    def __init__(self, lines: list[list[str]], min_width: int, padding: int) -> None:
        self.lines = lines
        self.min_width = min_width
        self.padding = padding
        self.widths = [[0] * (len(cells) - 1) for cells in lines]

    def measure(self, start: int, end: int, column: int) -> None:
        """Sets the widths of ``column`` and of those right of it for lines start..end."""
        lines = self.lines
        at = start
        while at < end:
            if column >= len(lines[at]) - 1:
                at += 1
                continue
            first = at
            width = self.min_width
            while at < end and column < len(lines[at]) - 1:
                width = max(width, text_width(lines[at][column]) + self.padding)
                at += 1
            for line in range(first, at):
                self.widths[line][column] = width
            self.measure(first, at, column + 1)


def table(rows: list[list[str]]) -> str:
    """Rows of equally many cells, the first being the header; ends with a newline.

    The short way for the default tables: the same result as :func:`layout`.
    """
    if any("\t" in cell or "\n" in cell for row in rows for cell in row):
        return layout("\n".join("\t".join(row) for row in rows) + "\n")
    widths = [
        max(10, *(text_width(cell) + 3 for cell in column)) for column in zip(*rows, strict=True)
    ]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [
            cell if place == last else cell + " " * (widths[place] - text_width(cell))
            for place, cell in enumerate(row)
        ]
        lines.append("".join(cells))
    return "\n".join(lines) + "\n"
