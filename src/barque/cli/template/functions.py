"""The functions of templates: Go's builtins and docker's.

Sources: https://pkg.go.dev/text/template#hdr-Functions and
https://docs.docker.com/engine/cli/formatting/.
"""

from __future__ import annotations

from barque.cli.template.errors import FunctionError
from barque.cli.template.printing import plain, show, sprint, sprintf, sprintln
from barque.cli.template.values import (
    GoMap,
    GoObject,
    GoPointer,
    GoSlice,
    GoStruct,
    GoTime,
    NoValue,
    type_name,
    unbox,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANY = "interface {}"


class Function:
    """A function with Go's signature: types of its parameters, and of further ones."""

    __slots__ = ("call", "params", "variadic")

    def __init__(
        self, call: Callable[..., Any], params: tuple[str, ...], variadic: str | None = None
    ) -> None:
        self.call = call
        self.params = params
        self.variadic = variadic


def truth(value: Any) -> bool:
    """Go's idea of true: not the zero value of its type; structs always are."""
    value = unbox(value)
    if isinstance(value, GoPointer):
        return value.value is not None
    if isinstance(value, NoValue):
        return False
    if isinstance(value, (GoStruct, GoObject, GoTime)):
        return True
    return bool(value)


def indirect(value: Any) -> Any:
    """The value at the end of pointers and interfaces; a nil pointer stays one."""
    value = unbox(value)
    while isinstance(value, GoPointer) and value.value is not None:
        value = unbox(value.value)
    return value


# --- comparison


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case complex():
            return "complex"
        case GoTime():
            return ""
        case str():
            return "string"
    return ""


def _is_nil(value: Any) -> bool:
    """Untyped nil."""
    return value is None or isinstance(value, NoValue)


def _is_any_nil(value: Any) -> bool:
    """Untyped nil, a nil pointer, a nil slice or a nil map."""
    if isinstance(value, GoPointer):
        return value.value is None
    if isinstance(value, (GoSlice, GoMap)):
        return value.nil
    return _is_nil(value)


def equal(first: Any, *others: Any) -> bool:
    """``eq a b c``: a equals b or c."""
    first = unbox(first)
    if not others:
        raise FunctionError("missing argument for comparison")
    return any(_equal(first, other) for other in map(unbox, others))


def _equal(first: Any, other: Any) -> bool:
    if _kind(first) != _kind(other):
        if not _is_nil(first) and not _is_nil(other):
            raise FunctionError("incompatible types for comparison")
        return False
    if _kind(first):
        return bool(first == other)
    if type(first) is not type(other) and not _is_nil(first) and not _is_nil(other):
        raise FunctionError(
            f"non-comparable types {plain(first)}: {type_name(first)}, "
            f"{type_name(other)}: {plain(other)}"
        )
    if _is_any_nil(first) or _is_any_nil(other):
        return _is_any_nil(first) and _is_any_nil(other)
    if isinstance(first, GoPointer) and isinstance(other, GoPointer):
        return first.value is other.value
    if isinstance(other, (list, dict)):
        raise FunctionError(f"non-comparable type {plain(other)}: {type_name(other)}")
    return first is other


def less(first: Any, other: Any) -> bool:
    """``lt a b``"""
    first, other = unbox(first), unbox(other)
    kinds = _kind(first), _kind(other)
    if not all(kinds):
        raise FunctionError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise FunctionError("incompatible types for comparison")
    if kinds[0] in ("bool", "complex"):
        raise FunctionError("invalid type for comparison")
    return bool(first < other)


def less_or_equal(first: Any, other: Any) -> bool:
    """``le a b``"""
    return less(first, other) or equal(first, other)


# --- containers


def length(value: Any) -> int:
    """``len x``"""
    value = indirect(value)
    if value is None or isinstance(value, GoPointer):
        raise FunctionError("len of nil pointer")
    if isinstance(value, NoValue):
        raise FunctionError("len of untyped nil")
    if isinstance(value, str) and not isinstance(value, GoTime):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, dict)):
        return len(value)
    raise FunctionError(f"len of type {type_name(value)}")


def _index(value: Any, top: int) -> int:
    value = unbox(value)
    if _is_nil(value):
        raise FunctionError("cannot index slice/array with nil")
    if isinstance(value, bool) or not isinstance(value, int):
        raise FunctionError(f"cannot index slice/array with type {type_name(value)}")
    if not 0 <= value < top:
        raise FunctionError(f"index out of range: {value}")
    return int(value)


def index(value: Any, *keys: Any) -> Any:
    """``index x 1 "k"`` is Go's ``x[1]["k"]``"""
    value = indirect(value)
    if _is_nil(value):
        raise FunctionError("index of untyped nil")
    for key in keys:
        value = indirect(value)
        if isinstance(value, GoPointer):
            raise FunctionError("index of nil pointer")
        match value:
            case list():
                value = value[_index(key, len(value))]
            case dict():
                value = _lookup(value, key)
            case str() if not isinstance(value, GoTime):
                raw = value.encode("utf-8", "surrogateescape")
                value = raw[_index(key, len(raw))]
            case _:
                raise FunctionError(f"can't index item of type {type_name(value)}")
    return value


def key_type(mapping: dict[str, Any]) -> str:
    """The type of a map's keys."""
    name = mapping.go_type if isinstance(mapping, GoMap) else ""
    return "nat.Port" if name.startswith(("nat.", "map[nat.Port]")) else "string"


def _lookup(mapping: dict[str, Any], key: Any) -> Any:
    key = unbox(key)
    if _is_nil(key):
        raise FunctionError("value is nil; should be of type string")
    wanted = key_type(mapping)
    if not isinstance(key, str) or (type_name(key) != wanted):
        raise FunctionError(f"value has type {type_name(key)}; should be {wanted}")
    if key in mapping:
        return mapping[key]
    # Go gives the zero value of the map's element type.
    element = type_name(mapping).partition("]")[2]
    if element.startswith("[]"):
        return GoSlice((), element, nil=True)
    if element.startswith("map["):
        return GoMap({}, element, nil=True)
    if element.startswith("*"):
        return GoPointer(None, element[1:])
    zeros: dict[str, Any] = {
        "string": "",
        "bool": False,
        "int": 0,
        "struct {}": GoStruct(element, {}),
    }
    return zeros.get(element)


def cut(value: Any, *indexes: Any) -> Any:
    """``slice x 1 2`` is Go's ``x[1:2]``"""
    value = indirect(value)
    if _is_nil(value):
        raise FunctionError("slice of untyped nil")
    if len(indexes) > 3:
        raise FunctionError(f"too many slice indexes: {len(indexes)}")
    if isinstance(value, str) and not isinstance(value, GoTime):
        if len(indexes) == 3:
            raise FunctionError("cannot 3-index slice a string")
        body: Any = value.encode("utf-8", "surrogateescape")
    elif isinstance(value, list):
        body = value
    else:
        raise FunctionError(f"can't slice item of type {type_name(value)}")
    places = [_index(place, len(body) + 1) for place in indexes]
    start, end = [*places, 0, len(body)][0], (places[1] if len(places) > 1 else len(body))
    if start > end:
        raise FunctionError(f"invalid slice index: {start} > {end}")
    if isinstance(body, bytes):
        return body[start:end].decode("utf-8", "surrogateescape")
    return GoSlice(body[start:end], type_name(body))


# --- escaping


def _arguments_text(values: tuple[Any, ...]) -> str:
    if len(values) == 1 and isinstance(unbox(values[0]), str):
        return str(unbox(values[0]))
    if len(values) == 1:
        return show(values[0])
    return sprint([_printable(value) for value in values])


def _printable(value: Any) -> Any:
    value = indirect(value)
    return "<no value>" if _is_nil(value) else value


def html(*values: Any) -> str:
    """``html x``: escapes for HTML"""
    text = _arguments_text(values)
    for rune, entity in (
        ("&", "&amp;"),
        ("\0", "\ufffd"),
        ('"', "&#34;"),
        ("'", "&#39;"),
        ("<", "&lt;"),
        (">", "&gt;"),
    ):
        text = text.replace(rune, entity)
    return text


_JAVASCRIPT = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "<": "\\u003C",
    ">": "\\u003E",
    "&": "\\u0026",
    "=": "\\u003D",
}


def javascript(*values: Any) -> str:
    """``js x``: escapes for a JavaScript string"""
    return "".join(
        _JAVASCRIPT.get(rune)
        or (rune if rune >= " " and rune.isprintable() else f"\\u{ord(rune):04X}")
        for rune in _arguments_text(values)
    )


_UNRESERVED = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"


def url_query(*values: Any) -> str:
    """``urlquery x``: escapes for a query value, blanks as +"""
    raw = _arguments_text(values).encode("utf-8", "surrogateescape")
    return "".join(
        chr(byte) if byte in _UNRESERVED else "+" if byte == 0x20 else f"%{byte:02X}"
        for byte in raw
    )


# --- docker's


def to_json(value: Any) -> str:
    """``json x``"""
    from barque.cli.template.gojson import encode  # noqa: PLC0415 - not every template needs it

    return encode(value)


def split(text: str, separator: str) -> list[str]:
    """``split "a,b" ","``"""
    parts = text.split(separator) if separator else list(text)
    return GoSlice(parts, "[]string")


def join(values: Any, separator: str) -> str:
    """``join list ","``; of a map, its values in order"""
    values = unbox(values)
    if _is_nil(values):
        return ""
    if isinstance(values, GoSlice) and values.go_type == "[]string":
        return separator.join(values)
    if isinstance(values, list):
        return separator.join(plain(item) for item in values)
    if isinstance(values, dict):
        return separator.join(sorted(plain(item) for item in values.values()))
    raise FunctionError(f"expected slice, got {type_name(values)}")


def title(text: str) -> str:
    """``title x``: every word begins with a capital"""
    shown: list[str] = []
    inside = False
    for rune in text:
        shown.append(rune if inside else rune.title())
        inside = rune == "_" or rune.isalnum() or not (rune.isascii() or rune.isspace())
    return "".join(shown)


def lower(text: str) -> str:
    """``lower x``"""
    return text.lower()


def upper(text: str) -> str:
    """``upper x``"""
    return text.upper()


def pad(text: str, before: int, after: int) -> str:
    """``pad x 1 2``: blanks around, unless the text is empty"""
    if min(before, after) < 0 and text:
        raise FunctionError("strings: negative Repeat count")
    return " " * before + text + " " * after if text else text


def truncate(text: str, size: int) -> str:
    """``truncate x 12``: the first bytes"""
    raw = text.encode("utf-8", "surrogateescape")
    if size < 0:
        raise FunctionError(f"runtime error: slice bounds out of range [:{size}]")
    return text if len(raw) < size else raw[:size].decode("utf-8", "surrogateescape")


def _unchanged(text: str, *_arguments: Any) -> str:
    return text


FUNCTIONS: dict[str, Function] = {
    "and": Function(lambda *values: values, (ANY,), ANY),  # the evaluator stops early
    "or": Function(lambda *values: values, (ANY,), ANY),
    "not": Function(lambda value: not truth(value), (ANY,)),
    "len": Function(length, (ANY,)),
    "index": Function(index, (ANY,), ANY),
    "slice": Function(cut, (ANY,), ANY),
    "call": Function(lambda *_values: None, (ANY,), ANY),  # the evaluator answers it
    "print": Function(lambda *values: sprint(list(values)), (), ANY),
    "println": Function(lambda *values: sprintln(list(values)), (), ANY),
    "printf": Function(lambda layout, *values: sprintf(layout, list(values)), ("string",), ANY),
    "html": Function(html, (), ANY),
    "js": Function(javascript, (), ANY),
    "urlquery": Function(url_query, (), ANY),
    "eq": Function(equal, (ANY,), ANY),
    "ne": Function(lambda first, other: not equal(first, other), (ANY, ANY)),
    "lt": Function(less, (ANY, ANY)),
    "le": Function(less_or_equal, (ANY, ANY)),
    "gt": Function(lambda first, other: not less_or_equal(first, other), (ANY, ANY)),
    "ge": Function(lambda first, other: not less(first, other), (ANY, ANY)),
    "json": Function(to_json, (ANY,)),
    "split": Function(split, ("string", "string")),
    "join": Function(join, (ANY, "string")),
    "title": Function(title, ("string",)),
    "lower": Function(lower, ("string",)),
    "upper": Function(upper, ("string",)),
    "pad": Function(pad, ("string", "int", "int")),
    "truncate": Function(truncate, ("string", "int")),
}

# In the header row of a table, the functions leave the column's name alone.
HEADER_FUNCTIONS: dict[str, Function] = FUNCTIONS | {
    "json": Function(_unchanged, ("string",)),
    "split": Function(_unchanged, ("string", "string")),
    "join": Function(_unchanged, ("string", "string")),
    "title": Function(_unchanged, ("string",)),
    "lower": Function(_unchanged, ("string",)),
    "upper": Function(_unchanged, ("string",)),
    "truncate": Function(_unchanged, ("string", "int")),
}
