"""Sizes, durations and times as docker's command line shows and reads them.

Sources: https://pkg.go.dev/github.com/docker/go-units (sizes, ages) and
https://pkg.go.dev/time (durations, layouts). Written without :mod:`re` and
:mod:`datetime`, whose import costs more than a whole listing.
"""

from __future__ import annotations

import time

from barque.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_SECOND = 1_000_000_000


# --- sizes


def human_size(size_bytes: float, precision: int = 4) -> str:
    """1.37kB: decimal units, ``precision`` significant digits."""
    return _scaled(size_bytes, 1000.0, _DECIMAL, precision)


def binary_size(size_bytes: float) -> str:
    """348KiB: binary units, four significant digits."""
    return _scaled(size_bytes, 1024.0, _BINARY, 4)


def _scaled(size: float, base: float, units: tuple[str, ...], precision: int) -> str:
    unit = 0
    while size >= base and unit < len(units) - 1:
        size /= base
        unit += 1
    return f"{size:.{precision}g}{units[unit]}"


def parse_size(text: str) -> int:
    """Bytes of ``10``, ``64k``, ``1.5G``, ``10MiB``: all units binary, any case.

    Raises :class:`InvalidArgument` with go-units' texts.
    """
    end = len(text)
    while end and text[end - 1] not in "0123456789. ":
        end -= 1
    number, suffix = text[:end], text[end:].lower()
    if not end:
        raise InvalidArgument(f"invalid size: '{text}'")
    number = number.removesuffix(" ")
    try:
        value = float(number)
    except ValueError:
        raise InvalidArgument(f"invalid size: '{text}'") from None
    if value < 0:
        raise InvalidArgument(f"invalid size: '{text}'")
    if not suffix or suffix == "b":
        return int(value)
    power = "kmgtp".find(suffix[0]) + 1
    if not power or suffix[1:] not in ("", "b", "ib"):
        raise InvalidArgument(f"invalid suffix: '{suffix}'")
    return int(value * 1024**power)


# --- durations


def human_duration(seconds: float) -> str:
    """About an hour, 3 weeks, ...: the age of something."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = int(seconds / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def age(unix_seconds: int) -> str:
    """How long ago that was, by this machine's clock: ``5 minutes ago``."""
    return human_duration(time.time() - unix_seconds) + " ago"


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration: ``1m30s``, ``500ms``, ``-1.5h``, ``0``.

    Raises :class:`InvalidArgument` with Go's texts.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise InvalidArgument(f'time: invalid duration "{text}"')
    total = 0
    while rest:
        end = 0
        while end < len(rest) and rest[end] in "0123456789.":
            end += 1
        number = rest[:end]
        if not number.strip(".") or number.count(".") > 1:
            raise InvalidArgument(f'time: invalid duration "{text}"')
        rest = rest[end:]
        end = 0
        while end < len(rest) and rest[end] not in "0123456789.":
            end += 1
        unit, rest = rest[:end], rest[end:]
        if not unit:
            raise InvalidArgument(f'time: missing unit in duration "{text}"')
        if unit not in _NANOSECONDS:
            raise InvalidArgument(f'time: unknown unit "{unit}" in duration "{text}"')
        whole, _, part = number.partition(".")
        total += int(whole or 0) * _NANOSECONDS[unit]
        if part:
            total += int(part) * _NANOSECONDS[unit] // 10 ** len(part)
    if total >= 1 << 63:
        raise InvalidArgument(f'time: invalid duration "{text}"')
    return -total if text[0] == "-" else total


def format_duration(nanoseconds: int) -> str:
    """Go's form of a duration: ``1m30s``, ``1.5ms``, ``0s``."""
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    if rest == 0:
        return "0s"
    if rest < _SECOND:
        unit = "ns" if rest < 1_000 else "\u00b5s" if rest < 1_000_000 else "ms"
        return sign + _decimal(rest, _NANOSECONDS[unit]) + unit
    minutes, rest = divmod(rest, 60 * _SECOND)
    text = _decimal(rest, _SECOND) + "s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    digits = str(part).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


# --- times


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the proleptic Gregorian calendar."""
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (
        era * 146097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - 719468
    )


def civil(unix_seconds: int) -> tuple[int, int, int, int, int, int]:
    """Year, month, day, hour, minute, second of a time in UTC, also far from 1970."""
    days, rest = divmod(unix_seconds, 86400)
    days += 719468
    era, day_of_era = divmod(days, 146097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + (3 if shifted < 10 else -9)
    year = year_of_era + era * 400 + (month <= 2)
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    return year, month, day, rest // 3600, rest // 60 % 60, rest % 60


def parse_rfc3339(text: str) -> tuple[int, int, int]:
    """Unix seconds, nanoseconds and the zone's offset in seconds.

    Raises :class:`InvalidArgument` if the text is not an RFC 3339 time.
    """
    try:
        found = _parse_rfc3339(text)
    except (ValueError, IndexError):
        found = None
    if found is None:
        raise InvalidArgument(f'"{text}" is not a time such as 2006-01-02T15:04:05Z')
    return found


def _parse_rfc3339(text: str) -> tuple[int, int, int] | None:
    year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
    hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    if text[4] + text[7] + text[10].upper() + text[13] + text[16] != "--T::":
        return None
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        return None
    at = 19
    nanoseconds = 0
    if text[at] in ".,":
        end = at + 1
        while text[end].isdecimal():
            end += 1
        nanoseconds = int(text[at + 1 : end][:9].ljust(9, "0"))
        at = end
    zone = text[at:]
    offset_s = 0
    if zone not in ("Z", "z"):
        if len(zone) != 6 or zone[0] not in "+-" or zone[3] != ":":
            return None
        offset_s = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60
        offset_s = -offset_s if zone[0] == "-" else offset_s
    days = days_from_civil(year, month, day)
    return days * 86400 + hour * 3600 + minute * 60 + second - offset_s, nanoseconds, offset_s


def _offset(offset_s: int, colon: str) -> str:
    sign = "-" if offset_s < 0 else "+"
    minutes = abs(offset_s) // 60
    return f"{sign}{minutes // 60:02d}{colon}{minutes % 60:02d}"


def format_go_time(unix_seconds: int, nanoseconds: int, offset_s: int, zone: str = "") -> str:
    """Go's String form of a time: ``2026-11-23 23:15:57.5 +0000 UTC``."""
    year, month, day, hour, minute, second = civil(unix_seconds + offset_s)
    part = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    shown = _offset(offset_s, "")
    name = zone or ("UTC" if offset_s == 0 else shown)
    date = f"{year:04d}-{month:02d}-{day:02d}"
    return f"{date} {hour:02d}:{minute:02d}:{second:02d}{part} {shown} {name}"


def format_local_time(unix_seconds: int) -> str:
    """Go's String form of a time in this machine's zone."""
    local = time.localtime(unix_seconds)
    return format_go_time(unix_seconds, 0, local.tm_gmtoff, local.tm_zone)


def format_rfc3339_nano(unix_nanoseconds: int) -> str:
    """A time in this machine's zone with nine digits: ``2026-11-24T00:11:36.000000001Z``."""
    seconds, nanoseconds = divmod(unix_nanoseconds, _SECOND)
    offset_s = time.localtime(seconds).tm_gmtoff
    year, month, day, hour, minute, second = civil(seconds + offset_s)
    zone = _offset(offset_s, ":") if offset_s else "Z"
    return (
        f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
        f".{nanoseconds:09d}{zone}"
    )


_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()


def format_layout(layout: str, unix_seconds: int, nanoseconds: int, offset_s: int) -> str:
    """Go's time.Format: the layout is the reference time Mon Jan 2 15:04:05 -0700 MST 2006."""
    year, month, day, hour, minute, second = civil(unix_seconds + offset_s)
    weekday = _DAYS[((unix_seconds + offset_s) // 86400 + 4) % 7]
    zone = "UTC" if offset_s == 0 else _offset(offset_s, "")
    twelve = hour % 12 or 12
    # Longest first: the first that fits is taken.
    elements: tuple[tuple[str, Callable[[], str]], ...] = (
        ("January", lambda: _MONTHS[month - 1]),
        ("Jan", lambda: _MONTHS[month - 1][:3]),
        ("Monday", lambda: weekday),
        ("Mon", lambda: weekday[:3]),
        ("MST", lambda: zone),
        ("2006", lambda: f"{year:04d}"),
        ("Z07:00", lambda: _offset(offset_s, ":") if offset_s else "Z"),
        ("Z0700", lambda: _offset(offset_s, "") if offset_s else "Z"),
        ("-07:00", lambda: _offset(offset_s, ":")),
        ("-0700", lambda: _offset(offset_s, "")),
        ("-07", lambda: _offset(offset_s, "")[:3]),
        (
            "002",
            lambda: f"{days_from_civil(year, month, day) - days_from_civil(year, 1, 1) + 1:03d}",
        ),
        ("01", lambda: f"{month:02d}"),
        ("02", lambda: f"{day:02d}"),
        ("03", lambda: f"{twelve:02d}"),
        ("04", lambda: f"{minute:02d}"),
        ("05", lambda: f"{second:02d}"),
        ("06", lambda: f"{year % 100:02d}"),
        ("15", lambda: f"{hour:02d}"),
        ("PM", lambda: "PM" if hour >= 12 else "AM"),
        ("pm", lambda: "pm" if hour >= 12 else "am"),
        ("_2", lambda: f"{day:2d}"),
        ("1", lambda: str(month)),
        ("2", lambda: str(day)),
        ("3", lambda: str(twelve)),
        ("4", lambda: str(minute)),
        ("5", lambda: str(second)),
    )
    parts: list[str] = []
    at = 0
    while at < len(layout):
        if layout[at] in ".," and layout[at + 1 : at + 2] in ("0", "9"):
            end = at + 1
            while layout[end : end + 1] == layout[at + 1]:
                end += 1
            if not layout[end : end + 1].isdecimal():
                digits = f"{nanoseconds:09d}"[: end - at - 1]
                if layout[at + 1] == "9":
                    digits = digits.rstrip("0")
                parts.append(layout[at] + digits if digits else "")
                at = end
                continue
        for element, shown in elements:
            if layout.startswith(element, at):
                parts.append(shown())
                at += len(element)
                break
        else:
            parts.append(layout[at])
            at += 1
    return "".join(parts)


def parse_timestamp(value: str, now: float | None = None) -> str:
    """What ``--since`` and ``--until`` send: unix ``seconds`` or ``seconds.nanoseconds``.

    ``value`` is a Go duration back from ``now`` (``10m``), an RFC 3339 time of any
    precision with or without zone (then local), a date, or unix seconds.
    Raises :class:`InvalidArgument` for anything else.
    """
    if value != "0":
        try:
            past = parse_duration(value)
        except InvalidArgument:
            pass
        else:
            moment_ns = int((time.time() if now is None else now) * _SECOND) - past
            return str(moment_ns // _SECOND)
    if "-" in value:
        return _parse_calendar(value)
    whole, _, part = value.partition(".")
    if not whole.isdecimal() or (part and not part.isdecimal()):
        raise InvalidArgument(f'failed to parse value as time or duration: "{value}"')
    return value


def _parse_calendar(value: str) -> str:
    """An RFC 3339 time from which the end of the time of day or the zone may be missing."""
    date, clock = value[:10], value[10:]
    zone = ""
    if clock[-1:] in ("Z", "z"):
        clock, zone = clock[:-1], "Z"
    elif len(clock) >= 6 and clock[-6] in "+-":
        clock, zone = clock[:-6], clock[-6:]
    clock, dot, fraction = clock.partition(".")
    fields = clock[1:].split(":") if clock[:1] == "T" else []
    full = f"{date}T{':'.join([*fields, '00', '00', '00'][:3])}{dot}{fraction}"
    if (clock and not fields) or len(fields) > 3:
        full = value
    try:
        seconds, nanoseconds, _ = parse_rfc3339(full + (zone or "Z"))
    except InvalidArgument:
        raise InvalidArgument(
            f'parsing time "{value}": not a time such as 2006-01-02T15:04:05Z, a date such as '
            "2006-01-02, a duration such as 10m, or unix seconds"
        ) from None
    if not zone:
        seconds -= time.localtime(seconds).tm_gmtoff
    return f"{seconds}.{nanoseconds:09d}"
