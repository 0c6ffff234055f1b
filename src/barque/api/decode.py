"""Request bodies: JSON to typed objects, as lenient about names as Go's decoder.

Field names match in any case, ``null`` means "not given", unknown fields are ignored. Types
are checked, and an error names the field.
"""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar, cast

import msgspec

from barque.errors import InvalidArgument

T = TypeVar("T", bound=msgspec.Struct)


class _Field(typing.NamedTuple):
    """Where a field's value goes, and the struct to be found within it."""

    name: str
    inner: type[msgspec.Struct] | None = None
    container: type | None = None
    """list or dict around ``inner``, or None."""
    entries_may_be_null: bool = False


_Plan = dict[str, _Field]
"""By lower-case field name."""

_plans: dict[type[msgspec.Struct], _Plan] = {}


def parse_json(body: bytes) -> Any:
    """Decode one JSON document. Raises InvalidArgument, also for data behind it."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises InvalidArgument."""
    document = parse_json(body)
    if not isinstance(document, dict):
        raise InvalidArgument("invalid JSON: the request body must be an object")
    return document


def take_field(document: dict[str, Any], name: str) -> Any:
    """Remove the field ``name``, in any case, and return its value, or None."""
    lowered = name.lower()
    value = None
    for key in [key for key in document if key.lower() == lowered]:
        value = document.pop(key)
    return value


def convert(document: Any, kind: type[T], *, field: str = "") -> T:
    """Make a ``kind`` of a decoded JSON object; ``field`` prefixes paths in errors.

    Raises InvalidArgument that names the field whose type is wrong.
    """
    if document is None:
        document = {}
    try:
        return msgspec.convert(_normalise(document, kind), kind)
    except msgspec.ValidationError as error:
        text = str(error)
        message, _, path = text.partition(" - at `$")
        where = (field + path.rstrip("`")).lstrip(".")
        raise InvalidArgument(
            f"invalid JSON: {where}: {message}" if where else f"invalid JSON: {message}"
        ) from None


def _normalise(value: Any, kind: type[msgspec.Struct]) -> Any:
    """Give the fields of ``value`` their exact names; drop nulls and unknown fields."""
    if not isinstance(value, dict):
        return value
    plan = _plans.get(kind) or _make_plan(kind)
    result: dict[str, Any] = {}
    for key, item in value.items():
        if item is None:
            continue
        field = plan.get(key.lower())
        if field is None:
            continue
        result[field.name] = _normalise_field(item, field)
    return result


def _normalise_field(item: Any, field: _Field) -> Any:
    inner = field.inner
    if inner is None:
        return item
    if field.container is list and isinstance(item, list):
        return [_normalise(element, inner) for element in item]
    if field.container is dict and isinstance(item, dict):
        entries: dict[str, Any] = {}
        for key, entry in item.items():
            if entry is None:
                entries[key] = None if field.entries_may_be_null else {}
            elif isinstance(entry, list):
                entries[key] = [_normalise(element, inner) for element in entry]
            else:
                entries[key] = _normalise(entry, inner)
        return entries
    return _normalise(item, inner)


def _make_plan(kind: type[msgspec.Struct]) -> _Plan:
    hints = typing.get_type_hints(kind)
    plan: _Plan = {
        field.encode_name.lower(): _describe(field.encode_name, hints[field.name])
        for field in msgspec.structs.fields(kind)
    }
    _plans[kind] = plan
    return plan


def _describe(name: str, hint: Any) -> _Field:
    """Find the struct inside ``X``, ``X | None``, ``list[X]``, ``dict[str, X | list[X]]``."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _Field(name, hint)
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for argument in arguments:
            found = _describe(name, argument)
            if found.inner is not None:
                return found
    elif origin in (list, dict):
        within = _describe(name, arguments[-1])
        if within.inner is not None:
            nullable = type(None) in typing.get_args(arguments[-1])
            return _Field(name, within.inner, cast("type", origin), nullable)
    return _Field(name)
