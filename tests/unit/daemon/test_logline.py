"""A message of the engine is one line, and what it quotes stays a quotation."""

from __future__ import annotations

import logging
import sys

from barque.daemon.logline import LineFormatter


def format_record(message: str, *, failing: str = "") -> str:
    exc_info = None
    if failing:
        try:
            int(failing)
        except ValueError:
            exc_info = sys.exc_info()
    record = logging.LogRecord("barque", logging.INFO, "x.py", 1, "%s", (message,), exc_info)
    return LineFormatter("%(levelname)s %(message)s").format(record)


def test_line_feeds_and_escapes_are_written_out() -> None:
    assert format_record("a\nERROR b\r\x1b[2J\x00\x9b\u2028é\t") == (
        "INFO a\\nERROR b\\r\\x1b[2J\\x00\\x9b\\u2028é\\t"
    )


def test_no_line_of_a_traceback_begins_as_a_message() -> None:
    lines = format_record("it failed", failing="x").splitlines()
    assert lines[0] == "INFO it failed"
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[-1].startswith("    ValueError")
