"""GET /events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgspec

from barque.api.contracts import Engine
from barque.api.filters import Filters, parse_filters
from barque.api.http import JSON, Call, Response, Stream
from barque.api.parameters import NS_PER_S, find_time
from barque.engine.events import Event
from barque.engine.filters import match_labels

_WITH_LEGACY_FIELDS = frozenset({"container", "image"})
_IMAGE_CREATE_SINCE = 46
_PREFIXED_ACTIONS = frozenset({"health_status", "exec_create", "exec_start"})
_OBJECTS = frozenset(
    "config container daemon image network node plugin secret service volume".split()
)


class EventStream:
    """Events."""

    def __init__(self, engine: Engine) -> None:
        self._events = engine.events

    async def follow(self, call: Call) -> Response:
        """Stream events, one JSON object a line, from ``since`` until ``until``."""
        filters = parse_filters(call.text("filters"), None)
        events = self._events.subscribe(
            find_time(call.text("since")),
            find_time(call.text("until")),
            make_matcher(filters, call.minor),
        )
        with call.cancelled_by_disconnect():
            stream = Stream(call, JSON)
            async with aclosing(events):
                async for event in events:
                    await stream.write(msgspec.json.encode(render_event(event)) + b"\n")
            return stream.end()


def render_event(event: Event) -> dict[str, Any]:
    """Return the event as versions before 1.52 show it."""
    document: dict[str, Any] = {}
    if event.type in _WITH_LEGACY_FIELDS:
        document = {"status": event.action, "id": event.actor_id}
        origin = event.attributes.get("image", "") if event.type == "container" else ""
        if origin:
            document["from"] = origin
    return document | {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time_ns // NS_PER_S,
        "timeNano": event.time_ns,
    }


def make_matcher(filters: Filters, minor: int) -> Callable[[Event], bool]:
    """Return the test that an event has to pass."""
    types, scopes = filters.get("type"), filters.get("scope")
    objects = {key: filters[key] for key in _OBJECTS if filters.get(key)}
    actions = filters.get("event")

    def match(event: Event) -> bool:
        if minor < _IMAGE_CREATE_SINCE and (event.type, event.action) == ("image", "create"):
            return False
        return (
            (not types or event.type in types)
            and (not scopes or "local" in scopes)
            and (not actions or _match_action(event.action, actions))
            and ("label" not in filters or match_labels(event.attributes, filters))
            and all(_match_object(event, key, wanted) for key, wanted in objects.items())
        )

    return match


def _match_action(action: str, wanted: list[str]) -> bool:
    name = action.partition(":")[0]
    return action in wanted or (name in _PREFIXED_ACTIONS and name in wanted)


def _match_object(event: Event, kind: str, wanted: list[str]) -> bool:
    """Tell whether the event is about an object that is named, by id or name or a prefix."""
    if kind == "image":
        return _match_image(event, wanted)
    if event.type != kind:
        return False
    names = (event.actor_id, event.attributes.get("name", ""))
    return any(name.startswith(text) for text in wanted for name in names if name)


def _match_image(event: Event, wanted: list[str]) -> bool:
    """An image is matched by reference, by name without tag, or by id; containers by theirs."""
    if event.type not in _WITH_LEGACY_FIELDS:
        return False
    key = "name" if event.type == "image" else "image"
    reference = event.attributes.get(key, "")
    candidates = {reference, _without_tag(reference)}
    if event.type == "image":
        candidates |= {event.actor_id, _without_tag(event.actor_id)}
    return any(text in candidates or _without_tag(text) == reference for text in wanted)


def _without_tag(reference: str) -> str:
    head, colon, tail = reference.rpartition(":")
    return head if colon and "/" not in tail else reference
