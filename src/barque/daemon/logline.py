"""The engine's own messages: one line for each, whatever clients and images put into it.

A name or a command with a line feed in it could otherwise pass for a message of the engine's,
and an escape sequence could rewrite the terminal of who reads the log.
"""

from __future__ import annotations

import logging

_CONTROLS = (*range(32), *range(127, 160), 0x2028, 0x2029)
_ESCAPES = {number: ascii(chr(number))[1:-1] for number in _CONTROLS}


class LineFormatter(logging.Formatter):
    """Writes control characters as Python source does, and indents tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The message's one line."""
        return super().formatMessage(record).translate(_ESCAPES)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """The traceback, of which no line begins as a message does."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]
        return "\n".join(f"    {line.translate(_ESCAPES)}" for line in lines)
