"""Lists through Go templates, and as JSON lines."""

from __future__ import annotations

from barque.cli.table import layout as lay_out
from barque.cli.template import Template, TemplateError
from barque.cli.template.gojson import encode
from barque.cli.template.values import NO_VALUE, GoObject, GoPointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from barque.cli.listing import Listing


class RowObject(GoObject):
    """A row as a template sees it: columns are methods."""

    def __init__(self, listing: Listing, row: Any, used: set[str] | None = None) -> None:
        self.go_type = listing.go_type
        self.listing = listing
        self.row = row
        self.used = used

    def find_method(self, name: str) -> tuple[Callable[..., Any], tuple[str, ...]] | None:
        """A column, or a lookup with one text argument."""
        if name in self.listing.columns:
            if self.used is not None:
                self.used.add(name)
            show = self.listing.columns[name][1]
            return (lambda: _go_value(show(self.row))), ()
        if name in self.listing.lookups:
            look = self.listing.lookups[name]
            return (lambda key: look(self.row, key)), ("string",)
        return None

    def to_json(self) -> dict[str, Any]:
        """All columns."""
        return {name: show(self.row) for name, (_, show) in self.listing.columns.items()}


def _go_value(value: Any) -> Any:
    """A column that has nothing to show is a nil pointer."""
    return GoPointer(None, "string") if value is None else value


class HeaderObject(GoObject):
    """The header row of ``table TEMPLATE``: each column gives its title."""

    go_type = "formatter.SubHeaderContext"

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def find_method(self, name: str) -> tuple[Callable[..., Any], tuple[str, ...]] | None:
        """Every name is known; one that is no column has no value."""
        if name in self.listing.lookups:
            return _lookup_title, ("string",)
        title = self.listing.columns[name][0] if name in self.listing.columns else NO_VALUE
        return (lambda: title), ()


def _lookup_title(key: str) -> str:
    return key.rpartition(".")[2].replace("-", " ").replace("_", " ")


def parse_layout(layout: str) -> Template:
    """The template of a list layout; the escapes for tab and newline in it are expanded."""
    text = layout.removeprefix("table").strip(" ")
    text = text.replace("\\t", "\t").replace("\\n", "\n")
    try:
        return Template(text)
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None


def render_template(listing: Listing, rows: Sequence[Any], layout: str) -> str:
    """All rows; see :func:`barque.cli.listing.render`."""
    if layout == "json":
        return "".join(encode(RowObject(listing, row), html=True) + "\n" for row in rows)
    template = parse_layout(layout)
    try:
        lines = [template.execute(RowObject(listing, row)) + "\n" for row in rows]
        if not layout.startswith("table"):
            return "".join(lines)
        header = template.execute(HeaderObject(listing), header=True) + "\n"
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None
    return lay_out(header + "".join(lines))


def find_used_columns(listing: Listing, row: Any, layout: str) -> set[str]:
    """The columns that a layout reads of ``row``.

    Raises ``InvalidArgument`` ("failed to parse template: ..." or "failed to execute
    template: ...") if the layout is no good, so that this is found before any request.
    """
    used: set[str] = set()
    try:
        template = Template(layout)
    except TemplateError as error:
        raise TemplateError(f"failed to parse template: {error}") from None
    try:
        template.execute(RowObject(listing, row, used))
    except TemplateError as error:
        raise TemplateError(f"failed to execute template: {error}") from None
    return used
