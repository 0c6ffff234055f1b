"""The ``filters`` parameter: a JSON map of keys to values, in its two accepted forms.

``{"status": ["running"]}`` is what clients send today, ``{"status": {"running": true}}``
what older ones did. Values of a key are alternatives (except ``label``), keys are all needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from barque.api.parameters import parse_time
from barque.content.documents import decode_document
from barque.errors import InvalidArgument

Filters = dict[str, list[str]]


def parse_filters(text: str, allowed: frozenset[str] | None) -> Filters:
    """Read ``filters``; ``allowed`` None accepts any key (events).

    Raises InvalidArgument for text that is not such a map and for an unknown key.
    """
    if not text:
        return {}
    try:
        document = decode_document(text, object)
    except InvalidArgument:
        raise InvalidArgument(f"invalid filter: not a JSON map of lists: {text[:80]}") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"invalid filter: not a JSON map of lists: {text[:80]}")
    filters: Filters = {}
    for key, values in document.items():
        if allowed is not None and key not in allowed:
            raise InvalidArgument(f"invalid filter '{key}'")
        filters[key] = _parse_values(key, values)
    return filters


def _parse_values(key: str, values: object) -> list[str]:
    if isinstance(values, dict):
        if not all(isinstance(flag, bool) for flag in values.values()):
            raise InvalidArgument(f"invalid filter '{key}': its values must be true or false")
        return [value for value, wanted in values.items() if wanted]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return values
    raise InvalidArgument(f"invalid filter '{key}': its values must be a list of strings")


def get_flag(filters: Filters, key: str, *, default: bool = False) -> bool:
    """Return a boolean filter. Raises InvalidArgument if it is neither true nor false."""
    values = filters.get(key)
    if not values:
        return default
    answers = set()
    for value in values:
        if value.lower() in {"1", "true", "t"}:
            answers.add(True)
        elif value.lower() in {"0", "false", "f"}:
            answers.add(False)
        else:
            raise InvalidArgument(f"invalid filter '{key}={value}'")
    if len(answers) > 1:
        raise InvalidArgument(f"invalid filter '{key}': both true and false")
    return answers.pop()


def match_pattern(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    """Tell whether a text equals a pattern or matches it as a regular expression."""
    candidates = list(texts)
    for pattern in patterns:
        if pattern in candidates:
            return True
        try:
            expression = re.compile(pattern)
        except re.error:
            continue
        if any(expression.search(text) for text in candidates):
            return True
    return False


def get_until(filters: Filters) -> int | None:
    """Return the ``until`` filter as unix nanoseconds, or None.

    Raises InvalidArgument when it is given more than once or is not a time.
    """
    values = filters.get("until")
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    return parse_time(values[0])
