"""Query parameters: booleans, integers, times and durations, as the Engine API reads them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

from barque.content.documents import decode_document
from barque.errors import InvalidArgument
from barque.models.image import Platform

NS_PER_S = 1_000_000_000

_FALSE = frozenset({"", "0", "no", "false", "none"})
_INT64 = (-(1 << 63), (1 << 63) - 1)
_UNIX = re.compile(r"(-?\d{1,18})(?:\.(\d*))?")
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?"
    r"([Zz]|[+-]\d\d:\d\d)?"
)
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}


def parse_flag(text: str) -> bool:
    """Read a boolean: false for "", 0, no, false and none in any case, true otherwise."""
    return text.strip().lower() not in _FALSE


def parse_integer(name: str, text: str) -> int:
    """Read a decimal 64-bit integer; raises InvalidArgument that names the parameter."""
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise InvalidArgument(f"invalid {name} {text!r}: not a decimal integer")
    value = int(text)
    if not _INT64[0] <= value <= _INT64[1]:
        raise InvalidArgument(f"invalid {name} {text!r}: value out of range")
    return value


def parse_dimension(name: str, text: str) -> int:
    """Read a terminal's height or width: a decimal number from 0 to 65535.

    Raises InvalidArgument; the kernel keeps window sizes in 16 bits.
    """
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise InvalidArgument(f"invalid resize {name} {text!r}: invalid syntax")
    value = int(text)
    if value > 0xFFFF:
        raise InvalidArgument(f"invalid resize {name} {text!r}: value out of range")
    return value


def parse_duration(text: str) -> int:
    """Read a Go duration such as ``1h30m`` or ``-1.5s``; returns nanoseconds.

    Raises InvalidArgument.
    """
    sign, rest = 1, text
    if rest[:1] in {"+", "-"}:
        sign, rest = (-1 if rest[0] == "-" else 1), rest[1:]
    if rest == "0":
        return 0
    total, position = 0, 0
    while match := _DURATION_PART.match(rest, position):
        whole, _, fraction = match[1].partition(".")
        unit = _UNIT_NS[match[2]]
        total += int(whole or "0") * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        position = match.end()
    if position == 0 or position != len(rest):
        raise InvalidArgument(f"invalid duration {text!r}: give for example 10m or 1h30m")
    return sign * total


def parse_rfc3339(text: str) -> int:
    """Read an RFC 3339 time or a date (no zone: the engine's local zone); returns unix ns.

    Raises InvalidArgument.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid time {text!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            tzinfo=_parse_zone(zone),
        )  # fmt: skip
        if zone is None:
            moment = moment.astimezone()
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"invalid time {text!r}: {error}") from None
    return seconds * NS_PER_S + int((fraction or "0")[:9].ljust(9, "0"))


def _parse_zone(zone: str | None) -> timezone | None:
    if zone is None:
        return None
    if zone in {"Z", "z"}:
        return UTC
    sign = -1 if zone[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])))


def parse_time(text: str, *, now_ns: int | None = None) -> int:
    """Read a point in time in any form that clients send; returns unix nanoseconds.

    Forms: ``sec[.nanos]``, RFC 3339 of any precision with or without zone, a date, or a Go
    duration back from now. Raises InvalidArgument.
    """
    if match := _UNIX.fullmatch(text):
        nanos = int((match[2] or "0")[:9].ljust(9, "0"))
        seconds = int(match[1]) * NS_PER_S
        return seconds - nanos if text.startswith("-") else seconds + nanos
    if _RFC3339.fullmatch(text):
        return parse_rfc3339(text)
    try:
        ago = parse_duration(text)
    except InvalidArgument:
        raise InvalidArgument(
            f"invalid time {text!r}: give unix seconds, RFC 3339, a date or a duration"
        ) from None
    return (time.time_ns() if now_ns is None else now_ns) - ago


def find_time(text: str) -> int | None:
    """Read ``since`` or ``until``: None when it is absent or 0, else unix nanoseconds."""
    if not text:
        return None
    value = parse_time(text)
    return value if value != 0 else None


def parse_platform_object(text: str) -> str:
    """Read a platform, as JSON since version 1.48, to ``os/architecture[/variant]``.

    "" stays "". Raises InvalidArgument.
    """
    if not text.startswith("{"):
        return text
    try:
        platform = decode_document(text, Platform)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid platform {text}: {error}") from None
    parts = (platform.os or "linux", platform.architecture, platform.variant)
    return "/".join(part for part in parts if part)
