"""The kernel's lists of processors and memory nodes."""

from __future__ import annotations

_MAX = 8192


def parse_list(text: str) -> frozenset[int]:
    """Parse ``0-3,8``. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = int(first)
        high = int(last) if dash else low
        if not 0 <= low <= high < _MAX or not part.replace("-", "").isdecimal():
            raise ValueError(part)
        numbers.update(range(low, high + 1))
    return frozenset(numbers)
