"""Parsers of parameters, filters, bodies, paths."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.api import decode
from barque.api.container_create import parse_create
from barque.api.container_status import FOREVER, format_duration, format_status
from barque.api.filters import get_flag, match_pattern, parse_filters
from barque.api.image_filters import match_reference
from barque.api.parameters import (
    find_time,
    parse_dimension,
    parse_duration,
    parse_flag,
    parse_integer,
    parse_rfc3339,
    parse_time,
)
from barque.api.ports import parse_ports
from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig, HostConfig
from barque.models.container import ContainerState

S = 1_000_000_000
TEXT = st.text(max_size=40)


def test_booleans() -> None:
    assert [parse_flag(text) for text in ("", "0", "No", " false ", "none")] == [False] * 5
    assert [parse_flag(text) for text in ("1", "true", "x", "True")] == [True] * 4


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_round_trip(number: int) -> None:
    assert parse_integer("n", str(number)) == number


@given(TEXT)
def test_parsers_of_text_raise_nothing_else(text: str) -> None:
    for parse in (
        lambda value: parse_integer("n", value),
        lambda value: parse_dimension("h", value),
        parse_duration,
        parse_time,
        find_time,
        parse_rfc3339,
        parse_ports,
        lambda value: parse_filters(value, None),
        lambda value: decode.parse_object(value.encode("utf-8", "surrogatepass")),
    ):
        with contextlib.suppress(InvalidArgument):
            parse(text)


def test_integers_refuse_what_go_refuses() -> None:
    for text in ("", "1.5", "0x10", "1_0", " 1", "9" * 19 + "9", str(1 << 63), "\uff11"):
        with pytest.raises(InvalidArgument):
            parse_integer("n", text)
    with pytest.raises(InvalidArgument):
        parse_dimension("h", "65536")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1h30m", 5400 * S),
        ("-1.5s", -3 * S // 2),
        (".5ms", 500_000),
        ("1us1ns", 1001),
        ("0", 0),
        ("+2µs", 2000),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))  # noqa: DTZ001 - a zone is added
def test_rfc3339_agrees_with_the_library(moment: datetime) -> None:
    text = moment.isoformat() + "Z"
    aware = moment.replace(tzinfo=UTC)
    seconds = (aware.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert parse_rfc3339(text) == int(seconds) * S + moment.microsecond * 1000


def test_times_in_every_form() -> None:
    assert parse_time("1.5") == 3 * S // 2
    assert parse_time("1700000000.000000001") == 1700000000 * S + 1
    assert parse_time("2023-11-14T22:13:20.123456789+02:00") == 1699992800 * S + 123456789
    assert parse_time("10m", now_ns=1000 * S) == 400 * S
    assert parse_time("2023-11-14") == parse_time("2023-11-14T00:00")
    assert find_time("") is find_time("0") is None


def test_filters_in_both_forms() -> None:
    allowed = frozenset({"status", "label"})
    assert parse_filters('{"status":["a","b"]}', allowed) == {"status": ["a", "b"]}
    assert parse_filters('{"status":{"a":true,"b":false}}', allowed) == {"status": ["a"]}
    assert parse_filters("", allowed) == {}
    for wrong in ("[]", '{"status":"x"}', '{"status":[1]}', '{"status":{"a":1}}', '{"x":[]}'):
        with pytest.raises(InvalidArgument, match="invalid filter"):
            parse_filters(wrong, allowed)
    assert get_flag({"dangling": ["1"]}, "dangling")
    assert not get_flag({"dangling": ["false"]}, "dangling", default=True)
    with pytest.raises(InvalidArgument):
        get_flag({"dangling": ["maybe"]}, "dangling")
    assert match_pattern(["a.c"], ["xabc"])
    assert match_pattern(["["], ["["])


@given(
    st.dictionaries(TEXT, st.lists(TEXT, max_size=3), max_size=3),
)
def test_filters_round_trip(filters: dict[str, list[str]]) -> None:
    assert parse_filters(json.dumps(filters), None) == filters


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_NAMES = [
    field.encode_name
    for kind in (ContainerConfig, HostConfig)
    for field in msgspec.structs.fields(kind)
]


@given(
    st.dictionaries(st.sampled_from([*_NAMES, "HostConfig", "NetworkingConfig"]), _JSON),
    st.integers(24, 51),
)
def test_create_takes_or_refuses_any_document(document: dict[str, Any], minor: int) -> None:
    try:
        config, host, networking = parse_create(document, minor)
    except InvalidArgument:
        return
    assert msgspec.json.encode([config, host, networking])


@given(st.sampled_from(_NAMES), st.booleans())
def test_names_match_in_any_case(name: str, upper: bool) -> None:
    changed = name.upper() if upper else name.lower()
    kind = ContainerConfig if name in {
        field.encode_name for field in msgspec.structs.fields(ContainerConfig)
    } else HostConfig  # fmt: skip
    with pytest.raises(InvalidArgument, match=name):
        decode.convert({changed: 1.5}, kind)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_in_words(seconds: int, words: str) -> None:
    assert format_duration(seconds) == words


@given(st.integers(0, 100 * 86400 * S))
def test_a_status_holds_until_it_says(elapsed_ns: int) -> None:
    begun = parse_rfc3339("2026-01-01T00:00:00.25Z")
    state = ContainerState(running=True, pid=1, started_at="2026-01-01T00:00:00.25Z")
    text, until_ns = format_status(state, begun + elapsed_ns)
    assert until_ns > begun + elapsed_ns
    assert format_status(state, until_ns - 1)[0] == text


def test_status_words() -> None:
    now = parse_rfc3339("2026-01-01T00:05:00Z")
    at: Any = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:04:00Z"}
    for state, text in (
        (ContainerState(), "Created"),
        (ContainerState(running=True, **at), "Up 5 minutes"),
        (ContainerState(running=True, paused=True, **at), "Up 5 minutes (Paused)"),
        (
            ContainerState(running=True, restarting=True, exit_code=1, **at),
            "Restarting (1) About a minute ago",
        ),
        (ContainerState(exit_code=137, **at), "Exited (137) About a minute ago"),
        (ContainerState(removing=True, **at), "Removal In Progress"),
        (ContainerState(dead=True, **at), "Dead"),
    ):
        assert format_status(state, now)[0] == text
    assert format_status(ContainerState(), now)[1] == FOREVER


def test_references_are_matched_as_paths() -> None:
    assert match_reference("alpine:3.20", "alpine")
    assert match_reference("alpine:3.20", "alpine:3.*")
    assert match_reference("reg:5000/a/x:1", "reg:5000/*/x")
    assert not match_reference("reg:5000/a/x:1", "*/x")
    assert not match_reference("alpine:3.20", "alp")


def test_ports() -> None:
    assert parse_ports("80") == {(80, "tcp")}
    assert parse_ports("1-3/UDP") == {(1, "udp"), (2, "udp"), (3, "udp")}
    for wrong in ("", "x", "3-1", "65536", "80/x"):
        with pytest.raises(InvalidArgument):
            parse_ports(wrong)
