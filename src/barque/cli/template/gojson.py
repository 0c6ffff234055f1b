"""JSON as Go's encoding/json writes it: sorted map keys, struct order, Go's escapes."""

from __future__ import annotations

from barque.cli.template.values import (
    GoMap,
    GoObject,
    GoPointer,
    GoSlice,
    GoStruct,
    JsonNumber,
    NoValue,
    unbox,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def encode_text(text: str, *, html: bool = False) -> str:
    """One string. ``html`` escapes ``<``, ``>`` and ``&`` as Go does unless told not to."""
    special = html and ("<" in text or ">" in text or "&" in text)
    if (
        text.isascii()
        and text.isprintable()
        and '"' not in text
        and "\\" not in text
        and not special
    ):
        return f'"{text}"'
    parts = ['"']
    for rune in text:
        code = ord(rune)
        if rune in _SHORT:
            parts.append(_SHORT[rune])
        elif code < 0x20 or code in (0x2028, 0x2029) or (html and rune in "<>&"):
            parts.append(f"\\u{code:04x}")
        elif 0xD800 <= code <= 0xDFFF:
            parts.append("\\ufffd")
        else:
            parts.append(rune)
    parts.append('"')
    return "".join(parts)


def encode(value: Any, *, html: bool = False) -> str:
    """Compact JSON of any template value."""
    value = unbox(value)
    match value:
        case None | NoValue():
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return _encode_float(value)
        case JsonNumber():
            return str.__str__(value)
        case str():
            return encode_text(str.__str__(value), html=html)
        case GoPointer():
            return encode(value.value, html=html)
        case GoStruct():
            members = ",".join(
                f"{encode_text(name, html=html)}:{encode(field, html=html)}"
                for name, field in struct_members(value)
            )
            return "{" + members + "}"
        case GoObject():
            return encode(value.to_json(), html=html)
        case GoSlice() | GoMap() if value.nil:
            return "null"
        case list():
            return "[" + ",".join(encode(item, html=html) for item in value) + "]"
        case dict():
            members = ",".join(
                f"{encode_text(key, html=html)}:{encode(value[key], html=html)}"
                for key in sorted(value)
            )
            return "{" + members + "}"
    raise TypeError(f"json: unsupported type: {type(value).__name__}")


def struct_members(value: GoStruct) -> list[tuple[str, Any]]:
    """The JSON members of a struct: embedded ones in place, empty ones left out if so tagged."""
    members: list[tuple[str, Any]] = []
    for name, field in value.fields.items():
        shown = value.json_names.get(name, name)
        if name in value.embedded and shown == name:
            inner = field.value if isinstance(field, GoPointer) else field
            if isinstance(inner, GoStruct):
                members += struct_members(inner)
            continue
        if shown == "-" or (name in value.omit_empty and _is_empty(field)):
            continue
        members.append((shown, field))
    return members


def _is_empty(value: Any) -> bool:
    if isinstance(value, GoPointer):
        return value.value is None
    if isinstance(value, GoStruct):
        return False
    return not value


def _encode_float(value: float) -> str:
    from barque.cli.template.printing import format_float  # noqa: PLC0415 - rare

    if value != 0 and (abs(value) < 1e-6 or abs(value) >= 1e21):
        text = format_float(value, "e")
        if text[-4:-1] == "e-0":
            text = text[:-2] + text[-1]
        return text
    return format_float(value, "f")
