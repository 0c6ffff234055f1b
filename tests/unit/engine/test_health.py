from __future__ import annotations

from typing import Any

import pytest

from barque.engine.clock import NANOSECONDS
from barque.engine.health import (
    FAILED,
    HEALTHY,
    STARTING,
    UNHEALTHY,
    check_probe,
    judge,
    next_wait_ns,
    probe_command,
)
from barque.engine.probing import format_duration
from barque.models.api import ContainerConfig
from barque.models.container import Health, Probe
from barque.models.image import Healthcheck

S = NANOSECONDS


def config(*test: str, **changes: Any) -> ContainerConfig:
    return ContainerConfig(healthcheck=Healthcheck(test=list(test)), **changes)


@pytest.mark.parametrize(
    ("given", "command"),
    [
        (ContainerConfig(), None),
        (config(), None),
        (config("NONE"), None),
        (config("CMD"), None),
        (config("FLY", "x"), None),
        (config("CMD", "test", "-f", "/x"), ["test", "-f", "/x"]),
        (config("CMD-SHELL", "test -f /x"), ["/bin/sh", "-c", "test -f /x"]),
        (config("CMD-SHELL", "x", shell=["/bin/ash", "-ec"]), ["/bin/ash", "-ec", "x"]),
    ],
)
def test_the_command_of_a_probe(given: ContainerConfig, command: list[str] | None) -> None:
    assert probe_command(given) == command


def test_a_check_that_nobody_can_run_is_told_of() -> None:
    assert check_probe(config("NONE")) == check_probe(ContainerConfig()) == []
    assert check_probe(config("CMD", "true")) == []
    assert "no command" in check_probe(config("CMD-SHELL"))[0]
    assert "Unknown healthcheck type 'FLY'" in check_probe(config("FLY", "x"))[0]


@pytest.mark.parametrize(
    ("check", "status", "age_s", "wait_s"),
    [
        (Healthcheck(), STARTING, 0, 30),
        (Healthcheck(interval=2 * S), HEALTHY, 0, 2),
        (Healthcheck(start_period=60 * S), STARTING, 10, 5),
        (Healthcheck(start_period=60 * S, start_interval=S), STARTING, 10, 1),
        (Healthcheck(start_period=60 * S), HEALTHY, 10, 30),
        (Healthcheck(start_period=60 * S), STARTING, 50, 10),
        (Healthcheck(start_period=60 * S), STARTING, 60, 30),
    ],
)
def test_when_the_next_probe_is_due(
    check: Healthcheck, status: str, age_s: int, wait_s: int
) -> None:
    assert next_wait_ns(check, status, age_s * S) == wait_s * S


def probe(code: int) -> Probe:
    return Probe(start="", end="", exit_code=code, output="")


def test_results_and_what_they_amount_to() -> None:
    check = Healthcheck(retries=2, start_period=10 * S)
    health = Health(status=STARTING)
    health = judge(check, health, probe(1), age_ns=5 * S)
    assert (health.status, health.failing_streak) == (STARTING, 0), "within the start period"
    health = judge(check, health, probe(1), age_ns=11 * S)
    assert (health.status, health.failing_streak) == (STARTING, 1)
    health = judge(check, health, probe(FAILED), age_ns=12 * S)
    assert (health.status, health.failing_streak) == (UNHEALTHY, 2)
    health = judge(check, health, probe(0), age_ns=13 * S)
    assert (health.status, health.failing_streak) == (HEALTHY, 0)
    health = judge(check, health, probe(3), age_ns=1)
    assert (health.status, health.failing_streak) == (HEALTHY, 1), "has been healthy before"
    for code in range(4, 9):
        health = judge(Healthcheck(), health, probe(code), age_ns=14 * S)
    assert [kept.exit_code for kept in health.log] == [4, 5, 6, 7, 8]
    assert health.status == UNHEALTHY, "three failures are the default"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (30 * S, "30s"),
        (90 * S, "1m30s"),
        (60 * S, "1m0s"),
        (3600 * S, "1h0m0s"),
        (3 * S // 2, "1.5s"),
        (250_000_000, "250ms"),
        (1_500_000, "1.5ms"),
    ],
)
def test_durations_are_written_as_go_writes_them(duration: int, text: str) -> None:
    assert format_duration(duration) == text
