"""Lists of objects as tables, JSON lines, ``raw`` blocks or through a Go template.

A *row* is any object; a :class:`Listing` names its columns. The default tables and ``-q``
are made without the template language, so that plain ``ps`` stays fast.
"""

from __future__ import annotations

from barque.cli.table import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Column = tuple[str, Callable[[Any], Any]]


class Listing:
    """What the rows of one command can show.

    ``go_type`` is the name that template errors give to a row. ``columns`` maps the field
    names of templates to header and value. ``lookups`` are methods with one text argument
    (``.Label "k"``). Header texts of lookups are made from the argument, as docker does.
    """

    def __init__(
        self,
        go_type: str,
        columns: dict[str, Column],
        lookups: dict[str, Callable[[Any, str], str]] | None = None,
    ) -> None:
        self.go_type = go_type
        self.columns = columns
        self.lookups = lookups or {}


def render(listing: Listing, rows: Sequence[Any], layout: str, default: Sequence[str] = ()) -> str:
    """All rows in one text.

    ``layout``: ``""`` or ``table`` for the ``default`` columns, ``json``, ``table TEMPLATE``
    or a template. Raises ``InvalidArgument`` ("template parsing error: ...").
    """
    if layout in ("", "table") and default:
        columns = [listing.columns[name] for name in default]
        header = [title for title, _ in columns]
        return table([header, *([str(show(row)) for _, show in columns] for row in rows)])
    from barque.cli.list_template import render_template  # noqa: PLC0415 - costs 10 ms

    return render_template(listing, rows, layout)


def render_column(listing: Listing, rows: Sequence[Any], name: str) -> str:
    """One column only, a line each: what ``-q`` prints."""
    show = listing.columns[name][1]
    return "".join(f"{show(row)}\n" for row in rows)


def truncate_id(text: str) -> str:
    """The first twelve characters of an id, without its algorithm."""
    return text.partition(":")[2][:12] if ":" in text else text[:12]


def ellipsis(text: str, width: int) -> str:
    """``text`` cut to ``width`` terminal columns, the last of them an ellipsis."""
    if text.isascii():
        return text if len(text) <= width else text[: width - 1] + "\u2026"
    from unicodedata import east_asian_width  # noqa: PLC0415 - ASCII is the rule

    shown = []
    used = 0
    for rune in text:
        used += 2 if east_asian_width(rune) in "WF" else 1
        shown.append(used)
    if used <= width:
        return text
    fitting = sum(place <= width - 1 for place in shown)
    return text[:fitting] + "\u2026"


def join_labels(labels: dict[str, str] | None) -> str:
    """``k=v,k2=v2`` in order of keys."""
    return ",".join(sorted(f"{key}={value}" for key, value in (labels or {}).items()))


def quote_go(text: str) -> str:
    """Go's quoted form of a text; plain ASCII does not need the template package."""
    if text.isascii() and text.isprintable():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    from barque.cli.template.values import quote  # noqa: PLC0415 - plain text is the rule

    return quote(text)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sort key by which ``net2`` comes before ``net10``."""
    key: list[tuple[int, int, str]] = []
    at = 0
    while at < len(text):
        start = at
        digits = text[at] in "0123456789"
        while at < len(text) and (text[at] in "0123456789") == digits:
            at += 1
        part = text[start:at]
        key.append((0, int(part), part) if digits else (1, 0, part))
    return key
