"""Filters of the prune operations: labels and age."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from barque.engine.clock import NANOSECONDS, parse_time
from barque.errors import InvalidArgument

Filters = Mapping[str, Sequence[str]]

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
}


def match_labels(labels: Mapping[str, str] | None, filters: Filters) -> bool:
    """Whether ``labels`` has every ``label`` and none of the ``label!`` of the filters."""
    held = labels or {}
    return all(_has(held, wanted) for wanted in filters.get("label", ())) and not any(
        _has(held, unwanted) for unwanted in filters.get("label!", ())
    )


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def get_until(filters: Filters, now_ns: int) -> int | None:
    """The ``until`` filter in nanoseconds since 1970, or None if it is not given.

    Takes a duration before now (``1h30m``), an RFC 3339 time or Unix seconds. Raises
    InvalidArgument.
    """
    values = filters.get("until", ())
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    text = values[0]
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now_ns - int(sum(Decimal(number) * _UNITS_NS[unit] for number, unit in parts))
    try:
        return int(Decimal(text) * NANOSECONDS)
    except InvalidOperation:
        return parse_time(text)
