"""The methods of Go's time.Time that templates use."""

from __future__ import annotations

from barque.cli.template.functions import Function
from barque.cli.units import civil, format_layout, parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.template.values import GoTime


def find_method(moment: GoTime, name: str) -> Function | None:
    """The method ``name`` of the time, or None."""
    seconds, nanoseconds, offset_s = parse_rfc3339(str(moment))
    year, month, day, hour, minute, second = civil(seconds + offset_s)
    numbers = {
        "Unix": seconds,
        "UnixNano": seconds * 1_000_000_000 + nanoseconds,
        "UnixMilli": seconds * 1000 + nanoseconds // 1_000_000,
        "Nanosecond": nanoseconds,
        "Year": year,
        "Day": day,
        "Hour": hour,
        "Minute": minute,
        "Second": second,
    }
    if name in numbers:
        return Function(lambda: numbers[name], ())
    if name == "Month":
        return Function(lambda: format_layout("January", seconds, nanoseconds, offset_s), ())
    if name == "String":
        return Function(moment.shown, ())
    if name == "IsZero":
        return Function(lambda: (year, month, day, hour, minute, second) == (1, 1, 1, 0, 0, 0), ())
    if name == "Format":
        return Function(
            lambda layout: format_layout(layout, seconds, nanoseconds, offset_s), ("string",)
        )
    return None
