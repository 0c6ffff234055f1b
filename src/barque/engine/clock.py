"""Time as the engine uses it: monotonic for intervals, UTC text for records."""

from __future__ import annotations

import asyncio
import re
import time
from calendar import timegm
from typing import Protocol

from barque.errors import InvalidArgument

NANOSECONDS = 1_000_000_000

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?"
    r"(?:[Zz]|([+-])(\d\d):(\d\d))"
)


class Clock(Protocol):
    """Where the engine takes time from; tests bring their own."""

    def monotonic(self) -> float:
        """Seconds on a clock that nobody sets."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds`` of the monotonic clock."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds on a clock that nobody sets."""
        return time.monotonic()

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds`` of the monotonic clock."""
        await asyncio.sleep(seconds)


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC, always with nine digits, so that texts sort as times do."""
    seconds, fraction = divmod(time_ns, NANOSECONDS)
    moment = time.gmtime(seconds)
    return (
        f"{moment.tm_year:04}-{moment.tm_mon:02}-{moment.tm_mday:02}"
        f"T{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02}.{fraction:09}Z"
    )


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 text. Raises InvalidArgument."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"{text!r} is not a time of the form 2006-01-02T15:04:05.999999999Z")
    *numbers, fraction, sign, hours, minutes = match.groups()
    seconds = timegm(tuple(int(number) for number in numbers))
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += -offset if sign == "+" else offset
    return seconds * NANOSECONDS + int((fraction or "").ljust(9, "0"))
