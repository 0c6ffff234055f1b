from __future__ import annotations

import pytest

from barque.engine.clock import NANOSECONDS, format_time, parse_time
from barque.engine.filters import get_until, match_labels
from barque.errors import InvalidArgument

NOW = 1_700_000_000 * NANOSECONDS


def test_labels() -> None:
    labels = {"a": "1", "b": ""}
    assert match_labels(labels, {"label": ["a", "b="]})
    assert not match_labels(labels, {"label": ["a=2"]})
    assert not match_labels(labels, {"label!": ["b"]})
    assert match_labels(None, {"label!": ["b"]})
    assert not match_labels(None, {"label": ["b"]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOW - 600 * NANOSECONDS),
        ("1h30m0.5s", NOW - 5400 * NANOSECONDS - NANOSECONDS // 2),
        ("1600000000.25", 1_600_000_000 * NANOSECONDS + NANOSECONDS // 4),
        ("2020-09-13T12:26:40Z", 1_600_000_000 * NANOSECONDS),
        ("2020-09-13T14:26:40+02:00", 1_600_000_000 * NANOSECONDS),
    ],
)
def test_until(text: str, expected: int) -> None:
    assert get_until({"until": [text]}, NOW) == expected


def test_no_and_bad_until() -> None:
    assert get_until({}, NOW) is None
    with pytest.raises(InvalidArgument, match="not a time"):
        get_until({"until": ["yesterday"]}, NOW)
    with pytest.raises(InvalidArgument, match="more than one"):
        get_until({"until": ["1h", "2h"]}, NOW)


def test_times_go_round() -> None:
    for time_ns in (0, NOW, NOW + 1, NOW + 123_456_789):
        assert parse_time(format_time(time_ns)) == time_ns
        assert len(format_time(time_ns)) == 30
