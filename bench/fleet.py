"""A hundred containers: started, looked at, stopped, removed.

Podman, which has no engine to put under load, gets fewer; all values are per container.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

from bench.api import answers_per_second
from bench.measure import Goal, Measurement
from bench.memory import memory_of
from bench.subjects import Subjects
from bench.targets import IMAGE, EngineTarget, Target, await_success, call, helpers, spawn

AT_ONCE = 8
IDLE = (*("--stop-signal", "KILL"), IMAGE, "sleep", "1000000")


def measure(subjects: Subjects) -> list[Measurement]:
    """Start a fleet one by one, look at it at rest, stop and remove it; again by eights."""
    serial = Measurement("start 100 one by one", "ms each")
    eights = Measurement("start 100 eight at a time", "ms each", goal=Goal("dockerd", 8))
    away = Measurement("stop and rm of 100", "ms each", goal=Goal("dockerd", 5))
    private = Measurement(
        "memory of helpers per idle container (private)", "MB", goal=Goal(limit=1)
    )
    proportional = Measurement("memory of helpers per idle container (PSS)", "MB")
    listing = Measurement(
        "GET /containers/json, 100 running", "answers/s", "higher", goal=Goal("dockerd", 3)
    )
    restart = Measurement("engine start to first ping, 100 running", "ms")
    for target in subjects.targets:
        names = [f"bench-{number}" for number in range(target.fleet)]
        serial.add(target.name, _start(target, names, 1))

        memory = memory_of(helpers(target, names))
        private.add(target.name, memory.private / len(names))
        proportional.add(target.name, memory.proportional / len(names))
        if isinstance(target, EngineTarget):
            for _ in range(3):
                rate = answers_per_second(subjects, target, "/containers/json")
                listing.add(target.name, rate)
                restart.add(target.name, 1000 * target.engine.restart())
            running = len(call(target, "ps", "-q").split())
            if running != len(names):
                raise RuntimeError(f"{target.name}: {running} of {len(names)} outlived a restart")

        begin = time.perf_counter()
        call(target, "stop", *names)
        call(target, "rm", *names)
        away.add(target.name, 1000 * (time.perf_counter() - begin) / len(names))

        eights.add(target.name, _start(target, names, AT_ONCE))
        call(target, "rm", "-f", *names)
    return [serial, eights, away, private, proportional, listing, restart]


def _start(target: Target, names: list[str], at_once: int) -> float:
    """Start the containers, ``at_once`` at a time; return milliseconds per container."""
    remaining = itertools.chain(names)

    def work(_: int) -> None:
        for name in remaining:
            pid = spawn(target, "run", "-d", "--name", name, *IDLE)
            await_success(pid, f"{target.name}: run {name}")

    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(work, range(at_once)))
    return 1000 * (time.perf_counter() - begin) / len(names)
