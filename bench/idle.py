"""An engine with nothing to do: its memory, and how soon it answers."""

from __future__ import annotations

import time

from bench.measure import Goal, Measurement
from bench.memory import memory_of
from bench.subjects import Subjects
from bench.targets import IMAGE, call

ROUNDS = 3
SETTLE_S = 1.0


def measure(subjects: Subjects) -> list[Measurement]:
    """Restart each engine a few times, then look at its memory after one container."""
    start = Measurement("engine start to first ping, no containers", "ms")
    proportional = Measurement("engine memory, idle (PSS)", "MB", goal=Goal(limit=80))
    private = Measurement("engine memory, idle (private)", "MB")
    for number in range(ROUNDS):
        for target in subjects.engines:
            start.add(target.name, 1000 * target.engine.restart())
            call(target, "run", "--rm", IMAGE, "true")
            time.sleep(SETTLE_S)
            if number == ROUNDS - 1:
                memory = memory_of(target.engine_pids())
                proportional.add(target.name, memory.proportional)
                private.add(target.name, memory.private)
    return [start, proportional, private]
