"""What networks cost: a published port, a network of one's own, joining while running."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from bench.http import Connection
from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import IMAGE, EngineTarget

ROUNDS = 15
PORT = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
NETWORK = "bench"
SLEEP = {"Image": IMAGE, "Cmd": ["sleep", "60"]}


def _start(target: EngineTarget, host: dict[str, Any]) -> float:
    """Return the milliseconds that the start of one container takes."""
    connection = Connection(target.engine.socket)
    try:
        body = {**SLEEP, "HostConfig": host}
        container = connection.request("POST", "/containers/create", body)["Id"]
        begin = time.perf_counter()
        connection.request("POST", f"/containers/{container}/start")
        elapsed = time.perf_counter() - begin
        connection.request("DELETE", f"/containers/{container}?force=true")
    finally:
        connection.close()
    return 1000 * elapsed


def _connect(target: EngineTarget) -> float:
    """Return the milliseconds in which a running container joins a network."""
    connection = Connection(target.engine.socket)
    try:
        container = connection.request("POST", "/containers/create", SLEEP)["Id"]
        connection.request("POST", f"/containers/{container}/start")
        begin = time.perf_counter()
        connection.request("POST", f"/networks/{NETWORK}/connect", {"Container": container})
        elapsed = time.perf_counter() - begin
        connection.request("DELETE", f"/containers/{container}?force=true")
    finally:
        connection.close()
    return 1000 * elapsed


def measure(subjects: Subjects) -> list[Measurement]:
    """Time starts by what they have of the network, and a connect."""
    for target in subjects.engines:
        target.engine.docker("network", "create", NETWORK)
    hosts = {
        "start on the default network": {"NetworkMode": "bridge"},
        "start with a published port": {"NetworkMode": "bridge", "PortBindings": PORT},
        "start on a network of one's own": {"NetworkMode": NETWORK},
    }
    measurements = []
    for name, host in hosts.items():
        measurement = Measurement(name, "ms", goal=Goal("dockerd", 10))
        interleave(subjects.sample_engines(partial(_start, host=host)), measurement, ROUNDS)
        measurements.append(measurement)
    joining = Measurement("join a network while running", "ms", goal=Goal("dockerd", 5))
    interleave(subjects.sample_engines(_connect), joining, ROUNDS)
    for target in subjects.engines:
        target.engine.docker("network", "rm", NETWORK)
    return [*measurements, joining]
