"""``run --rm`` and ``exec``, as a person at a terminal waits for them."""

from __future__ import annotations

from functools import partial

from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import IMAGE, Target, call, time_command

ROUNDS = 11


def measure_run(subjects: Subjects) -> list[Measurement]:
    """Time ``run --rm IMAGE true`` without a network, and on the default bridge."""
    measurements = []
    for label, network in (("no network", ["--network", "none"]), ("bridge", [])):

        def sample(target: Target, network: list[str] = network) -> float:
            return 1000 * time_command(target, "run", "--rm", *network, IMAGE, "true")

        samplers = subjects.sample(sample)
        if subjects.bare:
            samplers[subjects.bare.name] = partial(subjects.bare.run, bridge=label == "bridge")
        measurement = Measurement(f"run --rm, {label}", "ms", goal=Goal("dockerd", 6))
        interleave(samplers, measurement, ROUNDS)
        measurements.append(measurement)
    return measurements


def measure_exec(subjects: Subjects) -> list[Measurement]:
    """Time ``exec CONTAINER true`` in a running container."""
    for target in subjects.targets:
        call(target, "run", "-d", "--name", "bench-exec", IMAGE, "sleep", "1000000")

    def sample(target: Target) -> float:
        return 1000 * time_command(target, "exec", "bench-exec", "true")

    measurement = Measurement("exec", "ms", goal=Goal("dockerd", 3))
    try:
        interleave(subjects.sample(sample), measurement, ROUNDS)
    finally:
        for target in subjects.targets:
            call(target, "rm", "-f", "bench-exec")
    return [measurement]
