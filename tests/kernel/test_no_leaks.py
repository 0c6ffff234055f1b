"""Two hundred containers come and go, eight at a time, and the machine is as it was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import census
from support.engine import Engine

AT_ONCE = 8


def _run(engine: Engine, count: int, *arguments: str, code: int = 0) -> None:
    def once(_: int) -> int:
        return engine.cli("run", "--rm", *arguments).returncode

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert set(pool.map(once, range(count))) == {code}


def _leaks(engine: Engine, work: Callable[[], None]) -> list[str]:
    """Return what ``work`` leaves behind, after a first container has warmed the engine up."""
    _run(engine, AT_ONCE, "busybox", "true")
    before = census.take_at_rest(engine)
    work()
    return census.settle(before, engine)


def test_after_many_runs(barqued: Engine) -> None:
    assert _leaks(barqued, lambda: _run(barqued, 200, "busybox", "true")) == []


def test_after_failed_starts(barqued: Engine) -> None:
    assert _leaks(barqued, lambda: _run(barqued, 16, "busybox", "nonesuch", code=127)) == []


def test_after_mounts_and_anonymous_volumes(barqued: Engine) -> None:
    flags = ("-v", "/data", "-v", "/tmp:/m", "--tmpfs", "/t", "--init", "-m", "64m")
    assert _leaks(barqued, lambda: _run(barqued, 16, *flags, "busybox", "true")) == []


@pytest.mark.parametrize("network", ["none", "host"])
def test_after_runs_on_other_networks(barqued: Engine, network: str) -> None:
    flags = ("--network", network)
    assert _leaks(barqued, lambda: _run(barqued, 16, *flags, "busybox", "true")) == []


def test_after_execs_stop_and_removal(barqued: Engine) -> None:
    def work() -> None:
        barqued.docker("run", "-dit", "--name", "c1", "busybox", "sh")
        for _ in range(10):
            barqued.docker("exec", "c1", "true")
        barqued.docker("exec", "-d", "c1", "sleep", "1000")
        barqued.docker("restart", "-t", "0", "c1")
        barqued.docker("pause", "c1")
        barqued.docker("rm", "-f", "c1")

    assert _leaks(barqued, work) == []


def test_after_a_restart_of_the_engine(barqued: Engine) -> None:
    def work() -> None:
        barqued.docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
        barqued.restart()
        barqued.docker("exec", "c1", "true")
        barqued.docker("rm", "-f", "c1")

    assert _leaks(barqued, work) == []
