"""barque's own command line beside the stock one, on the same socket."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measure import Goal, Measurement
from bench.subjects import Subjects
from bench.targets import time_command

ROUNDS = 15


def measure(subjects: Subjects) -> list[Measurement]:
    """Time ``docker ps`` and ``barque ps`` against barque."""
    measurement = Measurement(
        "ps by `barque`, and by `docker`, on one socket", "ms", goal=Goal("docker CLI", 1 / 2.5)
    )
    program = str(Path(sys.executable).with_name("barque"))
    for target in subjects.engines:
        if target.name != "barque":
            continue
        for _ in range(ROUNDS):
            measurement.add("docker CLI", 1000 * time_command(target, "ps"))
            measurement.add("barque", 1000 * time_command(target, "ps", program=program))
    return [measurement]
