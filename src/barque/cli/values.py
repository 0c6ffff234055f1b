"""The kinds of option values: how text becomes a value.

======================  =====================  =============================================
kind                    value                  text
======================  =====================  =============================================
bool                    bool                   1 t true 0 f false (any usual case)
string                  str
int, int64              int                    Go syntax: 12, -1, 0x1f, 0b11, 0o17, 017
uint, uint16, uint64    int                    the same, not negative
list                    list[str]              may be repeated
strings                 list[str]              may be repeated, split at commas (CSV)
map                     dict[str, str]         may be repeated, ``k=v``
filter                  list[tuple[str, str]]  may be repeated, ``key=value``
bytes                   int                    10, 64k, 1.5G, 10MiB
memory-swap             int                    bytes, or -1
duration                int (nanoseconds)      1m30s
decimal                 int (billionths)       0.5
ulimit                  dict[str, dict]        may be repeated, ``nofile=1024:2048``
mount                   list[dict]             may be repeated, CSV; the API's Mount
network                 list[dict]             may be repeated; name, or CSV (see networks)
gpus                    list[dict]             may be repeated; the API's DeviceRequest
======================  =====================  =============================================

Rare kinds are parsed by :mod:`barque.cli.rare_values`, imported when one is met.
"""

from __future__ import annotations

from barque.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class Kind:
    """One kind: ``parse`` gives the value of one text, ``add`` joins a repeated one to the
    value so far (None: the last one counts), ``zero`` is the value of an option not given,
    ``shown`` the word in help.
    """

    __slots__ = ("add", "parse", "shown", "zero")

    def __init__(
        self,
        shown: str,
        parse: Callable[[str], Any],
        zero: Callable[[], Any],
        add: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self.shown = shown
        self.parse = parse
        self.zero = zero
        self.add = add


def parse_bool(text: str) -> bool:
    """Go's ``strconv.ParseBool``."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidArgument(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_int(text: str, low: int = -(1 << 63), high: int = (1 << 63) - 1) -> int:
    """Go's ``strconv.ParseInt`` (``ParseUint`` where ``low`` is 0) with base 0."""
    function = "ParseUint" if low == 0 else "ParseInt"
    try:
        value = _go_integer(text, signed=low != 0)
    except ValueError:
        raise InvalidArgument(f'strconv.{function}: parsing "{text}": invalid syntax') from None
    if not low <= value <= high:
        raise InvalidArgument(f'strconv.{function}: parsing "{text}": value out of range')
    return value


def _go_integer(text: str, *, signed: bool) -> int:
    sign, digits = "", text
    if signed and digits[:1] in ("+", "-"):
        sign, digits = digits[0], digits[1:]
    if not digits.isascii() or not digits[:1].isdigit() or digits != digits.strip():
        raise ValueError(text)
    if len(digits) > 1 and digits[0] == "0" and (digits[1].isdigit() or digits[1] == "_"):
        digits = "0o" + digits[1:]  # an old octal number
    value = int(digits, 0)
    return -value if sign == "-" else value


def split_csv(text: str) -> list[str]:
    """The fields of one CSV record (RFC 4180, as Go's encoding/csv reads it)."""
    if '"' not in text:
        return text.split(",") if text else []
    import csv  # noqa: PLC0415 - quoted fields are rare, csv imports re
    from io import StringIO  # noqa: PLC0415 - the same

    try:
        return next(csv.reader(StringIO(text, newline=""), strict=True))
    except (csv.Error, StopIteration) as error:
        raise InvalidArgument(f"parse error on line 1: {error}") from error


def parse_bytes(text: str) -> int:
    """A size in bytes: 10, 64k, 1.5G, 10MiB."""
    from barque.cli.units import parse_size  # noqa: PLC0415 - most commands need none

    return parse_size(text)


def _memory_swap(text: str) -> int:
    return -1 if text == "-1" else parse_bytes(text)


def _duration(text: str) -> int:
    from barque.cli.units import parse_duration  # noqa: PLC0415 - most commands need none

    return parse_duration(text)


def parse_decimal(text: str) -> int:
    """Billionths of a decimal number (``--cpus 0.5`` gives 500000000)."""
    whole, _, part = text.partition(".")
    plain = whole.removeprefix("-") + part
    if not (plain.isascii() and plain.isdigit()):
        return _rational(text)
    if len(part.rstrip("0")) > 9:
        raise InvalidArgument("value is too precise")
    value = int(whole.removeprefix("-") or "0") * 10**9 + int((part + "0" * 9)[:9])
    return -value if whole.startswith("-") else value


def _rational(text: str) -> int:
    from fractions import Fraction  # noqa: PLC0415 - 1/2 and 1e-1 are rare

    try:
        value = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise InvalidArgument(f"failed to parse {text} as a rational number") from None
    if value.denominator != 1:
        raise InvalidArgument("value is too precise")
    return value.numerator


def _map(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    return {key: value if equals else ""}


def _filter(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument("bad format of filter (expected name=value)")
    return [(key.strip().lower(), value.strip())]


def _one(text: str) -> list[str]:
    return [text]


def _text(text: str) -> str:
    return text


def _rare(name: str) -> Callable[[str], Any]:
    """The parser ``name`` of :mod:`barque.cli.rare_values`, imported at its first use."""

    def parse(text: str) -> Any:
        module = __import__("barque.cli.rare_values", fromlist=(name,))
        return getattr(module, name)(text)

    return parse


KINDS: dict[str, Kind] = {
    "bool": Kind("", parse_bool, bool),
    "string": Kind("string", _text, str),
    "int": Kind("int", parse_int, int),
    "int64": Kind("int", parse_int, int),
    "uint": Kind("uint", lambda text: parse_int(text, 0, (1 << 64) - 1), int),
    "uint16": Kind("uint16", lambda text: parse_int(text, 0, (1 << 16) - 1), int),
    "uint64": Kind("uint", lambda text: parse_int(text, 0, (1 << 64) - 1), int),
    "list": Kind("list", _one, list, list.extend),
    "strings": Kind("strings", split_csv, list, list.extend),
    "map": Kind("map", _map, dict, dict.update),
    "filter": Kind("filter", _filter, list, list.extend),
    "bytes": Kind("bytes", parse_bytes, int),
    "memory-swap": Kind("bytes", _memory_swap, int),
    "duration": Kind("duration", _duration, int),
    "decimal": Kind("decimal", parse_decimal, int),
    "ulimit": Kind("ulimit", _rare("parse_ulimit"), dict, dict.update),
    "mount": Kind("mount", _rare("parse_mount"), list, list.append),
    "network": Kind("network", _rare("parse_network"), list, list.append),
    "gpus": Kind("gpu-request", _rare("parse_gpus"), list, list.append),
}
