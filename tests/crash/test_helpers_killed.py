"""The engine's helpers killed without warning: the spawner is replaced, nothing runs unseen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.agreement import find_shims, settle
from support.engine import Engine
from support.waiting import wait_until


@pytest.fixture
def engine(barqued: Engine) -> Iterator[Engine]:
    yield barqued
    barqued.remove_containers()
    assert settle(barqued) == []


def _spawner(engine: Engine) -> int:
    threads = Path(f"/proc/{engine.pid}/task").iterdir()
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    (found,) = [
        int(child)
        for child in children
        if Path(f"/proc/{child}/cmdline").read_text().startswith("barque-spawner")
    ]
    return found


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_killed_spawner_is_replaced(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "before", "busybox", "sleep", "1000")
    for _ in range(2):
        old = _spawner(engine)
        _kill(old)
        assert engine.docker("run", "--rm", "busybox", "echo", "on") == "on"
        assert _spawner(engine) != old
    assert engine.docker("exec", "before", "echo", "here") == "here"
    engine.stop()
    engine.start()
    assert engine.docker("exec", "before", "echo", "here") == "here"


def test_one_spawner_for_all_who_find_it_dead(engine: Engine) -> None:
    def run(_: int) -> str:
        return engine.docker("run", "--rm", "busybox", "echo", "on")

    _kill(_spawner(engine))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(16))) == {"on"}
    assert _spawner(engine)


def test_a_spawner_killed_under_load(engine: Engine) -> None:
    """A start that was in its hands may fail, and says so; nothing is left of it."""

    def run(number: int) -> str:
        done = engine.cli("run", "-d", "--name", f"c{number}", "busybox", "sleep", "1000")
        return done.stderr

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(run, number) for number in range(60)]
        for _ in range(4):
            time.sleep(0.3)
            _kill(_spawner_soon(engine))
        said = {work.result() for work in runs} - {""}
    reasons = ("the shim ended before the container started", "the spawner did not start")
    assert all(any(reason in text for reason in reasons) for text in said), said
    assert settle(engine) == []


def _spawner_soon(engine: Engine) -> int:
    """Return the spawner, once there is one."""
    found: list[int] = []

    def look() -> bool:
        try:
            found.append(_spawner(engine))
        except (ValueError, FileNotFoundError):
            return False
        return True

    wait_until(look, "the engine has a spawner")
    return found[-1]


def test_shims_killed_while_they_start(engine: Engine) -> None:
    def run(number: int) -> None:
        engine.cli("run", "-d", "--name", f"c{number}", "busybox", "sleep", "1000")

    until = time.monotonic() + 2
    killed = 0
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run, number) for number in range(40)]
        while time.monotonic() < until and not all(work.done() for work in runs):
            for pid in find_shims(engine):
                try:
                    _kill(pid)
                except ProcessLookupError:
                    continue
                killed += 1
    assert killed
    assert settle(engine) == []
    assert engine.docker("run", "--rm", "busybox", "echo", "on") == "on"


def test_a_killed_shim_is_seen_by_those_who_wait(engine: Engine) -> None:
    """Code 255, and the policy starts the container again."""
    id_ = engine.docker(
        "run", "-d", "--name", "c1", "--restart", "on-failure", "busybox", "sleep", "1000"
    )
    old = engine.docker("inspect", "-f", "{{.State.Pid}}", "c1")
    (shim,) = [pid for pid, held in find_shims(engine).items() if held == id_]
    _kill(shim)
    wait_until(
        lambda: (
            engine.docker("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "c1")
            == "1 running"
        ),
        "the container is started again",
    )
    assert not _lives(int(old))
    assert engine.docker("exec", "c1", "pidof", "sleep") == "1"


def _lives(pid: int) -> bool:
    """Whether the process runs; pid 1 may take its time to reap orphans."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
