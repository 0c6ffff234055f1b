"""The progress streams of pull, push, load and import.

The engine sends one JSON object a line: ``status`` with an ``id`` and ``progressDetail``
(``current``, ``total`` in bytes or in ``units``), or ``stream`` text, or ``errorDetail``. To a
terminal each id keeps a line of its own that is redrawn in place; to a file every change of
status is a line, without bars. (Source: Engine API, ImageCreate.)
"""

from __future__ import annotations

import os
import time

from barque.cli.command import CommandError
from barque.cli.table import text_width
from barque.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO

_REDRAW_S = 0.05
_BAR = 30


class _Line:
    """What is known of one id."""

    __slots__ = ("began", "current", "status", "total", "units")

    def __init__(self) -> None:
        self.status = ""
        self.current = 0
        self.total = 0
        self.units = ""
        self.began = 0.0


def show_progress(
    messages: Iterable[dict[str, Any]],
    out: TextIO,
    on_aux: Callable[[Any], None] | None = None,
) -> None:
    """Show a whole stream on ``out``; ``on_aux`` gets the ``aux`` values in it.

    Raises :class:`CommandError` with the engine's text if the stream reports an error.
    """
    display = TerminalProgress(out) if out.isatty() else PlainProgress(out)
    try:
        for message in messages:
            failure = message.get("errorDetail") or {}
            text = failure.get("message") or message.get("error")
            if text:
                raise CommandError(str(text), 1)
            if "aux" in message and message["aux"] is not None:
                if on_aux is not None:
                    on_aux(message["aux"])
                continue
            display.update(message)
    finally:
        display.finish()


class PlainProgress:
    """One line for each change of status."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def update(self, message: dict[str, Any]) -> None:
        """Take in one message of the stream."""
        detail = message.get("progressDetail") or {}
        if detail.get("current") or detail.get("total"):
            return  # a bar is of no use in a file
        text = message.get("stream") or ""
        if not text:
            text = f"{message.get('status', '')}\n"
        if message.get("id"):
            text = f"{message['id']}: {text}"
        self.out.write(text)
        self.out.flush()

    def finish(self) -> None:
        """Nothing is held back."""


class TerminalProgress:
    """A line for each id, redrawn in place; other messages scroll above nothing."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.out = out
        self.clock = clock
        self.lines: dict[str, _Line] = {}
        self.shown = 0  # how many lines stand on the screen
        self.drawn_at = 0.0

    def update(self, message: dict[str, Any]) -> None:
        """Take in one message; the screen follows at most twenty times a second."""
        name = message.get("id") or ""
        detail = message.get("progressDetail")
        if not name or (detail is None and name not in self.lines):
            self._draw()
            self._forget()
            text = message.get("stream") or f"{message.get('status', '')}\n"
            self.out.write(f"{name}: {text}" if name else text)
            self.out.flush()
            return
        line = self.lines.setdefault(name, _Line())
        status = str(message.get("status", ""))
        now = self.clock()
        if status != line.status:
            line.status, line.began = status, now
            line.current = line.total = 0
        if detail:
            line.current = int(detail.get("current") or 0)
            line.total = int(detail.get("total") or 0)
            line.units = str(detail.get("units") or "")
        if now - self.drawn_at >= _REDRAW_S:
            self._draw()

    def finish(self) -> None:
        """The last state of every line."""
        self._draw()
        self._forget()

    def _forget(self) -> None:
        self.lines.clear()
        self.shown = 0

    def _draw(self) -> None:
        if not self.lines:
            return
        self.drawn_at = now = self.clock()
        columns, rows = _terminal_size(self.out)
        # Lines that scrolled off the top cannot be reached any more: keep to those below.
        visible = list(self.lines.items())[-(rows - 1) :]
        parts = [f"\x1b[{self.shown}A" if self.shown else ""]
        parts += [
            "\r" + fit(f"{name}: {describe(line, now)}", columns - 1) + "\x1b[K\n"
            for name, line in visible
        ]
        self.shown = len(visible)
        self.out.write("".join(parts))
        self.out.flush()


def describe(line: _Line, now: float) -> str:
    """Downloading [=====>     ] 1.2MB/7.8MB  3.1MB/s"""
    if not line.current and not line.total:
        return line.status
    speed = ""
    elapsed_s = now - line.began
    if elapsed_s > 0.5:
        speed = f"  {human_size(line.current / elapsed_s, 3)}/s"
    if line.total <= 0:
        return f"{line.status} {human_size(line.current)}{speed}"
    done = min(_BAR, _BAR * line.current // line.total)
    bar = "=" * done + (">" if done < _BAR else "")
    if line.units:
        return f"{line.status} [{bar.ljust(_BAR)}] {line.current}/{line.total} {line.units}"
    sizes = f"{human_size(line.current)}/{human_size(line.total)}"
    return f"{line.status} [{bar.ljust(_BAR)}] {sizes:>15}{speed}"


def fit(text: str, columns: int) -> str:
    """The text cut to a line of the terminal."""
    if text_width(text) <= columns:
        return text
    while text and text_width(text) > columns:
        text = text[:-1]
    return text


def _terminal_size(out: TextIO) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(out.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, rows or 24
