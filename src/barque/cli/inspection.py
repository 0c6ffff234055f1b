"""Rendering of what ``inspect`` fetched: indented JSON, compact JSON, or a Go template."""

from __future__ import annotations

from barque.client.wirejson import decode
from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque.cli.template import Template


class Inspection:
    """Collects objects and gives the text to print, as docker's inspect does.

    ``layout`` is "" for indented JSON, "json" for compact JSON, else a Go template.
    Raises ``InvalidArgument`` ("template parsing error: ...") for a broken template.
    """

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self._raw: list[str] = []
        self._shown: list[str] = []
        self._template: Template | None = None
        if layout not in ("", "json"):
            self._template = parse_template(layout)

    def add(self, raw: bytes, go_type: str) -> None:
        """One object: its JSON and the Go type that a template runs over first.

        Raises ``InvalidArgument`` if the template cannot be executed over it.
        """
        text = raw.decode("utf-8", "replace").strip()
        if self._template is None:
            self._raw.append(text)
            return
        self._shown.append(run_template(self._template, text, go_type) + "\n")

    def finish(self) -> str:
        """All of it, ending with a newline."""
        if self._template is not None:
            return "".join(self._shown) or "\n"
        if not self._raw:
            return "[]\n"
        return indent_json("[" + ",".join(self._raw) + "]", compact=self.layout == "json") + "\n"


def parse_template(layout: str, name: str = "") -> Template:
    """The template; its error text begins with "template parsing error"."""
    from barque.cli.template import Template, TemplateError  # noqa: PLC0415 - costs 10 ms

    try:
        return Template(layout, name)
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None


def run_template(template: Template, text: str, go_type: str) -> str:
    """Over the typed object; if that fails, over the JSON as it came."""
    from barque.cli.shapes import typed  # noqa: PLC0415 - only for templates
    from barque.cli.template import TemplateError  # noqa: PLC0415 - only for templates

    if go_type:
        try:
            return template.execute(typed(decode(text), go_type))
        except TemplateError:
            pass  # the JSON may know more than the type
    try:
        return template.execute(_decode_numbers_as_written(text), missing_key_error=True)
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None


def _decode_numbers_as_written(text: str) -> Any:
    import json  # noqa: PLC0415 - the fast decoder cannot keep the spelling of numbers

    from barque.cli.template.values import JsonNumber  # noqa: PLC0415 - only for templates

    try:
        return json.loads(text, parse_int=JsonNumber, parse_float=JsonNumber, strict=False)
    except ValueError as error:
        raise BarqueError(f"unable to read inspect data: {error}") from None


def indent_json(text: str, *, compact: bool = False, step: str = "    ") -> str:
    """JSON text laid out anew; strings and numbers stay exactly as they are spelled."""
    parts: list[str] = []
    depth = at = 0
    size = len(text)
    line = "\n"
    while at < size:
        rune = text[at]
        at += 1
        if rune == '"':
            end = at
            while True:
                end = text.index('"', end)
                backslashes = end - len(text[at:end].rstrip("\\")) - at
                end += 1
                if backslashes % 2 == 0:
                    break
            parts.append(text[at - 1 : end])
            at = end
        elif rune in " \t\r\n":
            continue
        elif compact:
            parts.append(rune)
        elif rune in "{[":
            rest = _skip_blanks(text, at)
            if text[rest] in "}]":
                parts.append(rune + text[rest])
                at = rest + 1
                continue
            depth += 1
            line = "\n" + step * depth
            parts.append(rune + line)
        elif rune in "}]":
            depth -= 1
            line = "\n" + step * depth
            parts.append(line + rune)
        elif rune == ",":
            parts.append("," + line)
        elif rune == ":":
            parts.append(": ")
        else:
            end = at
            while end < size and text[end] not in " \t\r\n,]}":
                end += 1
            parts.append(text[at - 1 : end])
            at = end
    return "".join(parts)


def _skip_blanks(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
