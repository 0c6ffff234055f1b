from __future__ import annotations

import pytest

from barque.engine.signals import parse_signal
from barque.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigkill", 9), ("RTMIN", 34), ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63), ("rtmax", 64), ("64", 64), ("CHLD", 17), ("CLD", 17), (" TERM ", 15),
    ],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["FOO", "0", "65", "-1", "", "SIG", "RTMIN+31", "RTMAX-40", "9x"])
def test_no_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal: "):
        parse_signal(text)
