"""The ``Status`` text of ``docker ps``, and until when it stays true."""

from __future__ import annotations

from barque.api.parameters import NS_PER_S, parse_rfc3339
from barque.models.container import ContainerState, Health

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

FOREVER = 1 << 63
"""A text that only a change of the state makes wrong."""


def format_duration(seconds: int) -> str:
    """Return docker's words for an approximate duration."""
    hours = (seconds + _HOUR // 2) // _HOUR
    minutes = seconds // _MINUTE
    words = (
        (seconds < 1, "Less than a second"),
        (seconds == 1, "1 second"),
        (seconds < _MINUTE, f"{seconds} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for true, text in words if true), f"{seconds // _DAY // 365} years")


def _elapsed(since: str, now_ns: int) -> tuple[str, int]:
    """Return the duration's words and the time at which they may change."""
    begun = parse_rfc3339(since)
    seconds = max(0, now_ns - begun) // NS_PER_S
    step = 1 if seconds < _MINUTE else _MINUTE if seconds < _HOUR else _HOUR // 2
    return format_duration(seconds), begun + (seconds // step + 1) * step * NS_PER_S


def _format_health(state: ContainerState) -> str:
    match state.health:
        case None:
            return ""
        case Health(status="starting"):
            return " (health: starting)"
        case health:
            return f" ({health.status})"


def format_status(state: ContainerState, now_ns: int) -> tuple[str, int]:
    """Return the text and the unix time in ns until which it holds."""
    match state.status:
        case "running":
            words, until = _elapsed(state.started_at, now_ns)
            return f"Up {words}{_format_health(state)}", until
        case "paused":
            words, until = _elapsed(state.started_at, now_ns)
            return f"Up {words} (Paused)", until
        case "restarting":
            words, until = _elapsed(state.finished_at, now_ns)
            return f"Restarting ({state.exit_code}) {words} ago", until
        case "exited":
            words, until = _elapsed(state.finished_at, now_ns)
            return f"Exited ({state.exit_code}) {words} ago", until
        case "removing":
            return "Removal In Progress", FOREVER
        case "dead":
            return "Dead", FOREVER
        case _:
            return "Created", FOREVER
