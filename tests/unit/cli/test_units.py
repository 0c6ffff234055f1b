from __future__ import annotations

import contextlib
import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cli.units import (
    binary_size,
    civil,
    days_from_civil,
    format_duration,
    format_go_time,
    format_layout,
    format_rfc3339_nano,
    human_duration,
    human_size,
    parse_duration,
    parse_rfc3339,
    parse_size,
    parse_timestamp,
)
from barque.errors import InvalidArgument


@pytest.mark.parametrize(
    ("size", "precision", "text"),
    [
        (0, 3, "0B"),
        (999, 3, "999B"),
        (1000, 3, "1kB"),
        (1370, 3, "1.37kB"),
        (7797760, 3, "7.8MB"),
        (7797760, 4, "7.798MB"),
        (181100000, 4, "181.1MB"),
        (5e18, 3, "5EB"),
    ],
)
def test_human_size(size: float, precision: int, text: str) -> None:
    assert human_size(size, precision) == text


def test_binary_size() -> None:
    assert binary_size(356352) == "348KiB"
    assert binary_size(16777216000) == "15.62GiB"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10", 10),
        ("10b", 10),
        ("64k", 65536),
        ("100m", 104857600),
        ("1g", 1 << 30),
        ("1.5G", 1610612736),
        ("10MiB", 10485760),
        ("2 KB", 2048),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "1kx", "k", "1.2.3"])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid (size|suffix)"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2.5 * 3600, "3 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1m30s", 90 * 10**9),
        ("500ms", 5 * 10**8),
        ("1.5h", 5400 * 10**9),
        ("-2s", -2 * 10**9),
        ("1h2m3s4ms5us6ns", 3723004005006),
        (".5s", 5 * 10**8),
    ],
)
def test_parse_duration(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "-", "1", "s", "1x", ".", "1.2.3s", "1s2"])
def test_parse_duration_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument, match="time: "):
        parse_duration(text)


@given(st.integers(-(1 << 62), 1 << 62))
def test_durations_round_trip(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


def test_format_duration() -> None:
    assert [format_duration(each) for each in (0, 1, 1500, 1500000, 90 * 10**9, 3600 * 10**9)] == [
        "0s",
        "1ns",
        "1.5\u00b5s",
        "1.5ms",
        "1m30s",
        "1h0m0s",
    ]


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)))  # noqa: DTZ001 - a calendar, no moment
def test_calendar(moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=0)
    seconds = (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(seconds=1)  # noqa: DTZ001 - as above
    assert civil(seconds) == moment.timetuple()[:6]
    assert days_from_civil(*moment.timetuple()[:3]) == seconds // 86400
    assert parse_rfc3339(moment.isoformat() + "Z") == (seconds, 0, 0)


def test_parse_rfc3339() -> None:
    assert parse_rfc3339("2026-11-24T00:11:36.5+02:00") == (1795471896, 500000000, 7200)
    for text in ("", "2026", "2026-11-24", "2026-13-24T00:00:00Z", "2026-11-24T00:00:00", "x" * 20):
        with pytest.raises(InvalidArgument):
            parse_rfc3339(text)


@given(st.text())
def test_parse_rfc3339_never_breaks(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        parse_rfc3339(text)


def test_go_times() -> None:
    assert format_go_time(1795479357, 123456789, 0) == "2026-11-24 00:15:57.123456789 +0000 UTC"
    assert format_go_time(1795479357, 0, 7200) == "2026-11-24 02:15:57 +0200 +0200"
    assert format_layout("Mon Jan _2 15:04:05 2006", 1748606848, 0, 0) == "Fri May 30 12:07:28 2025"
    assert (
        format_layout("2006-01-02T15:04:05.000Z07:00", 0, 5000000, 0) == "1970-01-01T00:00:00.005Z"
    )
    assert format_layout("3:04PM Monday 002 06", 0, 0, 3600) == "1:00AM Thursday 001 70"


def test_parse_timestamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert parse_timestamp("10m", now=1000.0) == "400"
    assert parse_timestamp("1700000000") == "1700000000"
    assert parse_timestamp("1700000000.123") == "1700000000.123"
    assert parse_timestamp("0") == "0"
    assert parse_timestamp("2006-01-02") == "1136160000.000000000"
    assert parse_timestamp("2006-01-02T15") == "1136214000.000000000"
    assert parse_timestamp("2006-01-02T15:04") == "1136214240.000000000"
    assert parse_timestamp("2006-01-02T15:04:05.5Z") == "1136214245.500000000"
    assert parse_timestamp("2006-01-02T15:04:05+01:00") == "1136210645.000000000"
    assert parse_timestamp("2006-01-02Z") == "1136160000.000000000"
    for text in ("x", "2006-x", "1.x", "2006-01-02T1:2:3:4"):
        with pytest.raises(InvalidArgument):
            parse_timestamp(text)


def test_a_time_without_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    try:
        assert parse_timestamp("2006-01-02") == "1136156400.000000000"
        assert format_rfc3339_nano(1) == "1970-01-01T01:00:00.000000001+01:00"
    finally:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
