"""Values with Go's types, where these show: in printing, in JSON, in error messages.

=============  ==========================================================
Go             here
=============  ==========================================================
nil interface  ``None``
bool, string   ``bool``, ``str``
int*, uint*    ``int``
float64        ``float``; json.Number: :class:`JsonNumber`
slice          ``list`` or :class:`GoSlice` (knows its type and nil)
map            ``dict`` or :class:`GoMap` (knows its type and nil)
struct         :class:`GoStruct`
pointer        :class:`GoPointer`
interface{}    :class:`Boxed`, only between two steps of the evaluator
object with    :class:`GoObject`: rows of lists
methods
=============  ==========================================================

A plain ``list`` is ``[]interface {}`` and a plain ``dict`` ``map[string]interface {}``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self


class JsonNumber(str):
    """A number as it stood in JSON text. In Go, too, it is a kind of string."""

    __slots__ = ()


class Boxed:
    """A value seen through ``interface {}``: its type does not show until it is used."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class NoValue:
    """What a missing map key gives: Go's zero reflect.Value. There is one: NO_VALUE."""

    __slots__ = ()


NO_VALUE = NoValue()


class GoSlice(list):  # type: ignore[type-arg] # elements are of any of the types above
    """A slice with a static type such as ``[]string``; ``nil`` slices print alike."""

    __slots__ = ("go_type", "nil")

    def __init__(self, items: Iterable[Any], go_type: str, *, nil: bool = False) -> None:
        super().__init__(items)
        self.go_type = go_type
        self.nil = nil


class GoMap(dict):  # type: ignore[type-arg] # values are of any of the types above
    """A map with a static type such as ``map[string]string``."""

    __slots__ = ("go_type", "nil")

    def __init__(self, items: dict[str, Any], go_type: str, *, nil: bool = False) -> None:
        super().__init__(items)
        self.go_type = go_type
        self.nil = nil


class GoStruct:
    """A struct: fields in Go's order; JSON names; which fields are left out when empty.

    ``embedded`` names fields whose own fields are promoted, as Go's embedding does.
    ``text`` is what the type's String method gives, if it has one.
    """

    __slots__ = ("embedded", "fields", "go_type", "json_names", "omit_empty", "text")

    def __init__(
        self,
        go_type: str,
        fields: dict[str, Any],
        json_names: dict[str, str] | None = None,
        omit_empty: frozenset[str] = frozenset(),
        embedded: tuple[str, ...] = (),
        *,
        text: str | None = None,
    ) -> None:
        self.go_type = go_type
        self.fields = fields
        self.json_names = json_names or {}
        self.omit_empty = omit_empty
        self.embedded = embedded
        self.text = text

    def find(self, name: str) -> tuple[bool, Any]:
        """Whether there is such a field, also a promoted one, and its value."""
        if name in self.fields:
            return True, self.fields[name]
        for outer in self.embedded:
            inner = self.fields[outer]
            if isinstance(inner, GoPointer):
                inner = inner.value
            if isinstance(inner, GoStruct):
                found, value = inner.find(name)
                if found:
                    return True, value
        return False, None


class GoPointer:
    """A pointer; ``value`` is None for nil. ``go_type`` is that of what it points to."""

    __slots__ = ("go_type", "value")

    def __init__(self, value: Any, go_type: str) -> None:
        self.value = value
        self.go_type = go_type


class GoNamed(str):
    """A string of a named type (``container.NetworkMode``)."""

    __slots__ = ("go_type",)
    go_type: str

    def __new__(cls, text: str, go_type: str) -> Self:
        """The string ``text`` of type ``go_type``."""
        self = super().__new__(cls, text)
        self.go_type = go_type
        return self


class GoDuration(int):
    """A time.Duration in nanoseconds; prints as 1m30s."""

    __slots__ = ()

    def __str__(self) -> str:
        from barque.cli.units import format_duration  # noqa: PLC0415 - rare

        return format_duration(int(self))


class GoTime(str):
    """A time.Time; the string is its RFC 3339 form, printing gives Go's String form."""

    __slots__ = ()

    def shown(self) -> str:
        """2026-11-23 23:15:57.123 +0000 UTC"""
        from barque.cli.units import format_go_time, parse_rfc3339  # noqa: PLC0415 - rare

        return format_go_time(*parse_rfc3339(str.__str__(self)))


class GoObject:
    """Something whose fields are methods (a row of a list).

    A subclass says its ``go_type`` and answers :meth:`find_method`.
    """

    go_type = "object"

    def find_method(self, name: str) -> tuple[Any, tuple[str, ...]] | None:
        """The method and the types of its arguments; None if there is none of that name."""
        raise NotImplementedError(name)

    def to_json(self) -> Any:
        """What ``json .`` shows."""
        raise NotImplementedError


def unbox(value: Any) -> Any:
    """The value inside an interface."""
    return value.value if isinstance(value, Boxed) else value


def type_name(value: Any) -> str:  # noqa: PLR0911 - one line per type
    """Go's name of the value's type."""
    match value:
        case Boxed():
            return "interface {}"
        case None | NoValue():
            return "<nil>"
        case bool():
            return "bool"
        case GoDuration():
            return "time.Duration"
        case int():
            return "int"
        case float():
            return "float64"
        case complex():
            return "complex128"
        case JsonNumber():
            return "json.Number"
        case GoTime():
            return "time.Time"
        case GoNamed():
            return value.go_type
        case str():
            return "string"
        case GoSlice() | GoMap() | GoStruct():
            return str(value.go_type)
        case GoPointer():
            return "*" + value.go_type
        case GoObject():
            return value.go_type
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
    return type(value).__name__


_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """Go's strconv.Quote."""
    if text.isascii() and text.isprintable() and "\\" not in text and mark not in text:
        return mark + text + mark
    parts = [mark]
    for rune in text:
        code = ord(rune)
        if rune == mark:
            parts.append("\\" + mark)
        elif rune in _ESCAPES:
            parts.append(_ESCAPES[rune])
        elif 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (surrogateescape)
            parts.append(f"\\x{code - 0xDC00:02x}")
        elif rune.isprintable() and (code < 0x80 or not ascii_only):
            parts.append(rune)
        elif code < 0x80:
            parts.append(f"\\x{code:02x}")
        elif code < 0x10000:
            parts.append(f"\\u{code:04x}")
        else:
            parts.append(f"\\U{code:08x}")
    parts.append(mark)
    return "".join(parts)


_UNESCAPES = {escape[1]: rune for rune, escape in _ESCAPES.items()}


def unquote(text: str) -> str:
    """Go's strconv.Unquote: "double", 'single' or `raw` quotes.

    Raises ``ValueError`` if the text is not a well-formed Go string.
    """
    mark, body = text[0], text[1:-1]
    if mark == "`":
        return body.replace("\r", "")
    parts: list[str] = []
    raw = bytearray()  # bytes given by \x and octal escapes, which may make up one rune
    at = 0
    while at < len(body):
        rune = body[at]
        at += 1
        byte = -1
        if rune == "\\":
            escape = body[at : at + 1]
            at += 1
            if escape in ("x", "u", "U"):
                width = {"x": 2, "u": 4, "U": 8}[escape]
                code = _digits(body[at : at + width], width, 16)
                at += width
                if escape == "x":
                    byte = code
                else:
                    rune = chr(code)
            elif escape and escape in "01234567":
                byte = _digits(body[at - 1 : at + 2], 3, 8)
                at += 2
            elif escape in _UNESCAPES:
                rune = _UNESCAPES[escape]
            elif escape == mark:
                rune = mark
            else:
                raise ValueError("invalid syntax")
        if byte >= 0 and mark == '"':
            raw.append(byte)
            continue
        if raw:
            parts.append(raw.decode("utf-8", "replace"))
            raw.clear()
        parts.append(rune if byte < 0 else chr(byte))
    parts.append(raw.decode("utf-8", "replace"))
    return "".join(parts)


def _digits(text: str, width: int, base: int) -> int:
    if len(text) != width or not text.isalnum():
        raise ValueError("invalid syntax")
    value = int(text, base)
    if value > (0x10FFFF if width > 3 else 0xFF):
        raise ValueError("invalid syntax")
    return value
