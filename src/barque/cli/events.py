"""``events``: what happens, as it happens (Engine API: SystemEvents)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.logs import time_argument
from barque.cli.units import format_rfc3339_nano
from barque.client.http import encode_filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_USAGE_EXIT = 64


def show_event(event: dict[str, Any]) -> str:
    """``TIME TYPE ACTION ID (key=value, ...)``"""
    moment = int(event.get("timeNano") or int(event.get("time") or 0) * 1_000_000_000)
    actor = event.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    shown = ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes))
    text = f"{event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    if moment:
        text = f"{format_rfc3339_nano(moment)} {text}"
    return f"{text} ({shown})" if shown else text


def _choose_form(layout: str) -> Callable[[dict[str, Any]], str]:
    if not layout:
        return show_event
    from barque.cli.shapes import typed, zero  # noqa: PLC0415 - only for templates
    from barque.cli.template import Template, TemplateError  # noqa: PLC0415 - only for templates
    from barque.cli.template.values import GoPointer  # noqa: PLC0415 - only for templates

    try:
        template = Template("{{json .}}" if layout == "json" else layout)
        template.execute(GoPointer(zero("events.Message"), "events.Message"))
    except TemplateError as error:
        raise CommandError(f"Error parsing format: {error}", _USAGE_EXIT) from None
    return lambda event: template.execute(typed(event, "events.Message"))


def _events(call: Invocation) -> int:
    flags = call.flags
    show = _choose_form(flags["format"])
    query = {
        "since": time_argument("since", flags["since"]),
        "until": time_argument("until", flags["until"]),
        "filters": encode_filters(flags["filter"]),
    }
    with call.client.request("GET", "/events", query=query) as answer:
        for event in answer.messages():
            sys.stdout.write(show(event) + "\n")
            sys.stdout.flush()
    return 0


EVENTS = Command(
    "[OPTIONS]",
    _events,
    maximum=0,
    flags=(
        Flag("filter", "filter", "Filter output based on conditions provided", short="f"),
        Flag("format", "string", "Format output: 'json', a Go template"),
        Flag("since", "string", "Show all events created since timestamp"),
        Flag("until", "string", "Stream events until this timestamp"),
    ),
)
