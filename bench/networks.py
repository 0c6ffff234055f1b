"""What networks cost: a published port, a network of one's own, joining while running.

And what it costs to come to a network where many are already.
"""

from __future__ import annotations

import statistics
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
NEIGHBOURS = (10, 100, 500)
ATTACH_LIMIT_MS = 8.0
PORT_LIMIT = 1.3
LEAST_MS = 0.01
"""What is shown where the difference is lost in noise."""
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


def _port_factor(target: EngineTarget) -> float:
    """Return how many times longer a start takes with a published port than without.

    Of medians; who is first takes turns.
    """
    hosts = ({"NetworkMode": "bridge", "PortBindings": PORT}, {"NetworkMode": "bridge"})
    times: tuple[list[float], list[float]] = ([], [])
    order = [0, 1]
    for _ in range(2 * ROUNDS):
        for which in order:
            times[which].append(_start(target, hosts[which]))
        order.reverse()
    published, plain = (statistics.median(samples) for samples in times)
    return published / plain


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
    factor = Measurement(
        "start with a published port beside without", "times", goal=Goal(limit=PORT_LIMIT)
    )
    for target in subjects.engines:
        factor.add(target.name, _port_factor(target))
    joining = Measurement("join a network while running", "ms", goal=Goal("dockerd", 5))
    interleave(subjects.sample_engines(_connect), joining, ROUNDS)
    for target in subjects.engines:
        target.engine.docker("network", "rm", NETWORK)
    return [*measurements, factor, joining]


def measure_attach(subjects: Subjects) -> list[Measurement]:
    """Time what a network adds to a start, by how many containers are on its bridge.

    It is the median of starts there less that of starts without any network. Who is first takes
    turns, as each pays for what the kernel still takes away of the one before.
    """
    measurements = []
    for target in subjects.engines:
        if target.name != "barque":
            continue
        target.engine.docker("network", "create", "--subnet", "10.250.0.0/16", NETWORK)
        for count in NEIGHBOURS:
            _fill(target, count)
            goal = Goal(limit=ATTACH_LIMIT_MS)
            measurement = Measurement(f"attach beside {count} others", "ms", goal=goal)
            times: dict[str, list[float]] = {NETWORK: [], "none": []}
            order = list(times)
            for _ in range(2 * ROUNDS):
                for mode in order:
                    times[mode].append(_start(target, {"NetworkMode": mode}))
                order.reverse()
            there, nowhere = (statistics.median(samples) for samples in times.values())
            measurement.add(target.name, max(there - nowhere, LEAST_MS))
            measurements.append(measurement)
        target.engine.remove_containers()
        target.engine.docker("network", "rm", NETWORK)
    return measurements


def _fill(target: EngineTarget, count: int) -> None:
    """Start containers until there are ``count`` on the network."""
    connection = Connection(target.engine.socket)
    try:
        have = len(connection.request("GET", "/containers/json"))
        body = {**SLEEP, "Cmd": ["sleep", "36000"], "HostConfig": {"NetworkMode": NETWORK}}
        for _ in range(count - have):
            container = connection.request("POST", "/containers/create", body)["Id"]
            connection.request("POST", f"/containers/{container}/start")
    finally:
        connection.close()
