"""One container over the API, with no command line in the way."""

from __future__ import annotations

import time
from functools import partial

from bench.http import Connection
from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import IMAGE, LIVES, EngineTarget

ROUNDS = 15
CONFIG = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}


def _live(target: EngineTarget) -> float:
    """Run containers one after the other and return the milliseconds of the last."""
    connection = Connection(target.engine.socket)
    try:
        for _ in range(LIVES):
            elapsed = _live_once(connection)
    finally:
        connection.close()
    return 1000 * elapsed


def _live_once(connection: Connection) -> float:
    begin = time.perf_counter()
    container = connection.request("POST", "/containers/create", CONFIG)["Id"]
    connection.request("POST", f"/containers/{container}/start")
    result = connection.request("POST", f"/containers/{container}/wait")
    connection.request("DELETE", f"/containers/{container}")
    elapsed = time.perf_counter() - begin
    if result["StatusCode"]:
        raise RuntimeError(f"the container failed: {result}")
    return elapsed


def measure(subjects: Subjects) -> list[Measurement]:
    """Time create, start, wait, remove; network none."""
    samplers = subjects.sample_engines(_live)
    if subjects.bare:
        samplers[subjects.bare.name] = partial(subjects.bare.run, bridge=False)
    name = "one container over the API"
    measurement = Measurement(f"{name}, against dockerd", "ms", goal=Goal("dockerd", 10))
    interleave(samplers, measurement, ROUNDS)
    floor = Measurement(f"{name}, against bare C", "ms", goal=Goal("bare C", 1 / 4))
    floor.samples = measurement.samples
    return [measurement, floor]
