"""Health checks from an image and by flags, over pauses, ends and restarts of the engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.engine import Engine
from support.waiting import wait_until

FAST = ("--health-interval", "100ms", "--health-retries", "1")


@pytest.fixture
def barque(barqued: Engine) -> Iterator[Engine]:
    yield barqued
    barqued.remove_containers()


def run(engine: Engine, *options: str, image: str = "busybox") -> str:
    return engine.docker("run", "-d", *options, image, "sleep", "1000")


def read(engine: Engine, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        engine.docker("inspect", "-f", "{{json .State.Health}}", id_)
    )
    return found


def wait_for(engine: Engine, id_: str, status: str) -> None:
    wait_until(lambda: read(engine, id_)["Status"] == status, f"the container is {status}")


def test_it_follows_the_probe(barque: Engine) -> None:
    id_ = run(barque, "--health-cmd", "cat /fine", *FAST)
    wait_for(barque, id_, "unhealthy")
    (*_, last) = read(barque, id_)["Log"]
    assert (last["ExitCode"], "No such file" in last["Output"]) == (1, True)
    barque.docker("exec", id_, "sh", "-c", "echo yes > /fine")
    wait_for(barque, id_, "healthy")
    assert read(barque, id_)["FailingStreak"] == 0
    assert barque.docker("ps", "-q", "--no-trunc", "--filter", "health=healthy") == id_
    assert barque.docker("ps", "-q", "--filter", "health=none") == ""
    wait_until(lambda: len(read(barque, id_)["Log"]) == 5, "five results are kept")


def test_an_image_brings_its_own(barque: Engine) -> None:
    id_ = run(barque)
    change = 'HEALTHCHECK --interval=100ms CMD ["cat", "/etc/hostname"]'
    barque.docker("commit", "--change", change, id_, "checked")
    id_ = run(barque, image="checked")
    wait_for(barque, id_, "healthy")
    assert read(barque, id_)["Log"][0]["Output"] == f"{id_[:12]}\n"
    barque.docker("rm", "-f", id_)
    silent = run(barque, "--no-healthcheck", image="checked")
    assert read(barque, silent) is None


def test_nobody_probes_what_is_paused_or_over(barque: Engine) -> None:
    id_ = run(barque, "--health-cmd", "true", *FAST)
    wait_for(barque, id_, "healthy")
    barque.docker("pause", id_)
    assert read(barque, id_)["Status"] == "unhealthy"
    last = read(barque, id_)["Log"][-1]
    time.sleep(0.5)
    assert read(barque, id_)["Log"][-1] == last
    barque.docker("unpause", id_)
    wait_for(barque, id_, "healthy")
    barque.docker("stop", "-t", "0", id_)
    assert read(barque, id_)["Status"] == "unhealthy"
    barque.docker("start", id_)
    wait_for(barque, id_, "healthy")


def test_a_probe_that_cannot_be_run_or_says_too_much(barque: Engine) -> None:
    missing = run(barque, "--health-cmd", "x", *FAST)
    wait_for(barque, missing, "unhealthy")
    assert read(barque, missing)["Log"][0]["ExitCode"] == 127
    loud = run(barque, "--health-cmd", "head -c 100000 /dev/zero | tr '\\0' x", *FAST)
    wait_for(barque, loud, "healthy")
    assert read(barque, loud)["Log"][0]["Output"] == "x" * 4096 + "..."


def test_a_restart_of_the_engine_changes_nothing(barque: Engine) -> None:
    id_ = run(barque, "--health-cmd", "true", *FAST)
    wait_for(barque, id_, "healthy")
    barque.kill()
    barque.start()
    assert read(barque, id_)["Status"] == "healthy"
    last = read(barque, id_)["Log"][-1]
    wait_until(lambda: read(barque, id_)["Log"][-1] != last, "probing goes on")
    assert read(barque, id_)["Status"] == "healthy"
