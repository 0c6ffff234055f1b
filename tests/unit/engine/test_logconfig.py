from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.engine.logconfig import LogOptions, parse_log_config, parse_size
from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.api import LogConfig


@pytest.mark.parametrize(
    ("text", "size"),
    [("10m", 10**7), ("1.5k", 1500), ("1GB", 10**9), ("1KiB", 1024), ("32", 32), ("7 B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.decimals(min_value=0, max_value=10**6, places=3), st.sampled_from("kmgtp"))
def test_a_size_is_its_number_times_its_unit(number: Decimal, unit: str) -> None:
    expected = float(number) * 1000 ** ("kmgtp".index(unit) + 1)
    assert parse_size(f"{number}{unit}") == int(expected)


@pytest.mark.parametrize("text", ["", "m", "1x", "-1", "1 000", "1e3", "iB", "1iB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid size: '"):
        parse_size(text)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LogConfig(), LogOptions()),
        (LogConfig(type="none", config={"whatever": "x"}), LogOptions()),
        (
            LogConfig(
                type="json-file", config={"max-size": "1m", "max-file": "3", "compress": "true"}
            ),
            LogOptions(10**6, 3, compress=True),
        ),
        (
            LogConfig(config={"mode": "non-blocking", "max-buffer-size": "4m", "tag": "x"}),
            LogOptions(),
        ),
    ],
)
def test_configs(config: LogConfig, expected: LogOptions) -> None:
    assert parse_log_config(config) == expected


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"max-size": "-1"}, "invalid size: '-1'"),
        ({"max-size": "0"}, "max-size must be a positive number"),
        ({"max-file": "0"}, "max-file cannot be less than 1"),
        ({"max-file": "many"}, 'max-file: "many" is not a number'),
        (
            {"compress": "true"},
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ({"mode": "fast"}, "logger: logging mode not supported: fast"),
        (
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        ({"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
    ],
)
def test_refusals(config: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_log_config(LogConfig(type="json-file", config=config))
    assert str(caught.value) == text


def test_drivers() -> None:
    with pytest.raises(NotImplementedHere, match="journald"):
        parse_log_config(LogConfig(type="journald"))
    with pytest.raises(InvalidArgument, match="no log driver named 'abacus' is registered"):
        parse_log_config(LogConfig(type="abacus"))
