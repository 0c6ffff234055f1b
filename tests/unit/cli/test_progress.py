from __future__ import annotations

import io
from typing import Any

import pytest

from barque.cli.command import CommandError
from barque.cli.progress import TerminalProgress, show_progress

STREAM: list[dict[str, Any]] = [
    {"status": "Pulling from library/alpine", "id": "3.20"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaa"},
    {"status": "Downloading", "progressDetail": {"current": 1, "total": 4}, "id": "aaa"},
    {"status": "Download complete", "progressDetail": {}, "id": "aaa"},
    {"aux": {"Tag": "x"}},
    {"status": "Digest: sha256:1"},
    {"stream": "Loaded image: x:y\n"},
]


def test_a_file_gets_a_line_for_each_status_and_no_bars() -> None:
    out = io.StringIO()
    aux: list[Any] = []
    show_progress(STREAM, out, aux.append)
    assert out.getvalue() == (
        "3.20: Pulling from library/alpine\n"
        "aaa: Pulling fs layer\n"
        "aaa: Download complete\n"
        "Digest: sha256:1\n"
        "Loaded image: x:y\n"
    )
    assert aux == [{"Tag": "x"}]


def test_an_error_in_the_stream_fails_the_command() -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match="no space left"):
        show_progress([*STREAM[:2], {"errorDetail": {"message": "no space left"}}], out)
    assert "Pulling fs layer" in out.getvalue()


def test_a_terminal_gets_one_line_for_each_id() -> None:
    out = io.StringIO()
    now = iter(range(100))
    display = TerminalProgress(_Terminal(out), clock=lambda: float(next(now)))  # type: ignore[arg-type]
    for message in STREAM[:4]:
        display.update(message)
    display.finish()
    screen = _screen(out.getvalue())
    assert screen == ["3.20: Pulling from library/alpine", "aaa: Download complete", ""]
    assert "[=======>" in out.getvalue()


class _Terminal:
    def __init__(self, out: io.StringIO) -> None:
        self.write = out.write
        self.flush = out.flush

    def fileno(self) -> int:
        raise OSError


def _screen(text: str) -> list[str]:
    """What a terminal shows of text with the few escapes that progress uses."""
    lines = [""]
    row = 0
    at = 0
    while at < len(text):
        if text.startswith("\x1b[K", at):
            at += 3
        elif text.startswith("\x1b[", at):
            end = text.index("A", at)
            row -= int(text[at + 2 : end])
            at = end + 1
        elif text[at] == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
            at += 1
        elif text[at] == "\r":
            lines[row] = ""
            at += 1
        else:
            lines[row] += text[at]
            at += 1
    return lines
