"""Requests a second."""

from __future__ import annotations

import subprocess

from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import EngineTarget

CONNECTIONS = 16
SECONDS = 2
ROUNDS = 3


def answers_per_second(subjects: Subjects, target: EngineTarget, path: str) -> float:
    """Return how many times a second ``target`` answers GET ``path`` on kept connections."""
    done = subprocess.run(
        [subjects.load, target.engine.socket, path, str(CONNECTIONS), str(SECONDS)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def measure(subjects: Subjects) -> list[Measurement]:
    """Count answers to ``/_ping``."""
    measurement = Measurement("GET /_ping", "answers/s", "higher", goal=Goal("dockerd", 1 / 3))

    def sample(target: EngineTarget) -> float:
        return answers_per_second(subjects, target, "/_ping")

    return [interleave(subjects.sample_engines(sample), measurement, ROUNDS)]
