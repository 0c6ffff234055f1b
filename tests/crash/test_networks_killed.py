"""Endpoints come and go at random while the engine is killed: nothing is left, nothing doubled.

With many containers: ``BARQUE_TEST_SCALE=10`` makes them 300, of which each reaches 20 others by
name, and 500 changes.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dnslib import DNSRecord

from support import census
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.network import entered
from support.rootfs import busybox_is_here, write_busybox_tar
from support.scale import scaled
from support.wire import call

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="starts containers: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]

NETWORKS = ("n0", "n1", "n2")
CONTAINERS = 12
STEPS = 100
KILLS = frozenset({20, 45, 70, 90})
FINE = frozenset({200, 201, 204, 304, 403, 404, 500})
"""What a step may answer: it is random, so what it asks for may be so already."""


def step(engine: Engine, chance: random.Random, containers: int = CONTAINERS) -> None:
    container = f"c{chance.randrange(containers)}"
    network = chance.choice(NETWORKS)
    match chance.randrange(6):
        case 0:
            answer = call(engine.socket, "POST", f"/containers/{container}/restart?t=0")
        case 1:
            answer = call(engine.socket, "POST", f"/containers/{container}/kill")
        case 2 | 3:
            body: dict[str, Any] = {
                "Container": container,
                "EndpointConfig": {"Aliases": ["all"]},
            }
            answer = call(engine.socket, "POST", f"/networks/{network}/connect", body)
        case _:
            body = {"Container": container, "Force": True}
            answer = call(engine.socket, "POST", f"/networks/{network}/disconnect", body)
    assert answer[0] in FINE | {409}, answer


def check(engine: Engine) -> None:
    """No address twice, rules for exactly what runs, an interface for each endpoint."""
    _, listed = call(engine.socket, "GET", "/containers/json")
    addresses: Counter[str] = Counter()
    published: set[int] = set()
    endpoints: dict[str, str] = {}
    for container in listed:
        for endpoint in container["NetworkSettings"]["Networks"].values():
            if endpoint["IPAddress"]:
                addresses[endpoint["IPAddress"]] += 1
                endpoints[f"veth{endpoint['EndpointID'][:7]}"] = container["Names"][0]
        published |= {port["PublicPort"] for port in container["Ports"] if "PublicPort" in port}
    assert all(count == 1 for count in addresses.values()), addresses
    table = f"barque-{engine.bridge}"
    rules = subprocess.run(
        ["nft", "-j", "list", "map", "inet", table, "any4"], capture_output=True, check=True
    )
    elements = json.loads(rules.stdout)["nftables"][1]["map"].get("elem", [])
    assert {key["concat"][1] for key, _ in elements} == published
    mine = set(_bridges(engine))
    until = time.monotonic() + 60
    # The kernel takes interfaces of those that are gone away a while after their last process.
    while (found := _list_ports(mine)) != set(endpoints):
        missing = {port: endpoints[port] for port in set(endpoints) - found}
        assert time.monotonic() < until, f"surplus {found - set(endpoints)}, missing {missing}"
        time.sleep(0.05)


def _list_ports(bridges: set[str]) -> set[str]:
    return {
        link.name
        for link in Path("/sys/class/net").iterdir()
        if (link / "master").exists() and (link / "master").resolve().name in bridges
    }


def _bridges(engine: Engine) -> list[str]:
    _, networks = call(engine.socket, "GET", "/networks")
    found = [engine.bridge]
    return found + [f"br-{network['Id'][:12]}" for network in networks]


def make(engine: Engine, number: int, *command: str) -> None:
    body: dict[str, Any] = {
        "Image": "busybox",
        "Cmd": command or ["sleep", "1000"],
        "HostConfig": {
            "NetworkMode": NETWORKS[number % len(NETWORKS)],
            "PortBindings": {"80/tcp": [{"HostPort": ""}]},
        },
    }
    status, answer = call(engine.socket, "POST", f"/containers/create?name=c{number}", body)
    assert status == 201, answer
    status, answer = call(engine.socket, "POST", f"/containers/c{number}/start")
    assert status == 204, answer


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with the networks, of which nothing may be left but what was there before."""
    archive = write_busybox_tar(tmp_path / "busybox.tar")
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        engine.docker("run", "--rm", "busybox", "true")
        before = census.take_at_rest(engine)
        for name in NETWORKS:
            engine.docker("network", "create", name)
        yield engine
        engine.remove_containers()
        for name in NETWORKS:
            engine.docker("network", "rm", name)
        engine.restart()
        engine.docker("run", "--rm", "busybox", "true")
        assert census.settle(before, engine) == []


def test_endpoints_at_random_with_the_engine_killed(engine: Engine) -> None:
    chance = random.Random(20261127)
    for number in range(CONTAINERS):
        make(engine, number)
    for number in range(STEPS):
        if number in KILLS:
            engine.kill()
            engine.start()
            check(engine)
        try:
            step(engine, chance)
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"step {number}: {error}") from error
    check(engine)


MANY = scaled(30)
CHANGES = scaled(50)
PEERS = min(20, MANY // len(NETWORKS) - 1)


def test_many_containers_find_each_other(engine: Engine) -> None:
    chance = random.Random(20261128)
    with timed(engine, f"start of {MANY} containers"):
        for number in range(MANY):
            make(engine, number, "httpd", "-f", "-p", "80")
    with timed(engine, f"{PEERS} others found and reached by each"):
        meet(engine, chance)
    with timed(engine, f"{CHANGES} changes"):
        change(engine, chance)
    check(engine)
    with timed(engine, "all that are left found and reached again"):
        meet(engine, chance)
    with timed(engine, "removal"):
        engine.remove_containers()


@contextmanager
def timed(engine: Engine, what: str) -> Iterator[None]:
    """Tell (``pytest -s``) how long something took, and the engine's memory after it."""
    begin = time.monotonic()
    yield
    status = Path(f"/proc/{engine.pid}/status").read_text().splitlines()
    memory = next(line.split(None, 1)[1] for line in status if line.startswith("VmRSS"))
    sys.stderr.write(f"{what}: {time.monotonic() - begin:.1f} s, engine {memory}\n")


def change(engine: Engine, chance: random.Random) -> None:
    """Endpoints come and go; the engine is killed now and then, between changes and in them."""
    for number in range(CHANGES):
        killing = None
        if chance.random() < 0.04:
            process = engine.process
            assert process is not None
            killing = threading.Timer(chance.random() * 0.05, process.kill)
            killing.start()
        try:
            step(engine, chance, MANY)
        except (OSError, http.client.HTTPException) as error:
            if killing is None:
                raise AssertionError(f"step {number}: {error}") from error
        if killing is not None:
            killing.join()
            engine.kill()
            engine.start()
            check(engine)


def meet(engine: Engine, chance: random.Random) -> None:
    """From inside of each container, ask for names on its networks and reach who has them."""
    _, listed = call(engine.socket, "GET", "/containers/json")
    homes: dict[str, dict[str, str]] = {}
    for container in listed:
        for network, endpoint in container["NetworkSettings"]["Networks"].items():
            name = container["Names"][0].removeprefix("/")
            homes.setdefault(network, {})[name] = endpoint["IPAddress"]
    for container in listed:
        _, shown = call(engine.socket, "GET", f"/containers/{container['Id']}/json")
        if shown["HostConfig"]["NetworkMode"] not in shown["NetworkSettings"]["Networks"]:
            continue
        network = shown["HostConfig"]["NetworkMode"]
        others = sorted(homes[network])
        namespace = os.open(f"/proc/{shown['State']['Pid']}/ns/net", os.O_RDONLY)
        try:
            with entered(namespace):
                for name in chance.sample(others, min(PEERS, len(others))):
                    reach(f"{name}.{network}", homes[network][name])
        finally:
            os.close(namespace)


def reach(name: str, address: str) -> None:
    """Resolve a name as a program in a container does, and connect to a server there.

    In a network namespace the engine cannot raise the kernel's limit of 1024 neighbours (of all
    containers together): where it is reached, packets are dropped until the oldest are forgotten.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        answer = None
        until = time.monotonic() + 60  # the engine may be making the resolvers again
        while answer is None:
            asking.sendto(DNSRecord.question(name).pack(), ("127.0.0.11", 53))
            try:
                answer = DNSRecord.parse(asking.recv(1500))
            except TimeoutError as error:
                if time.monotonic() > until:
                    raise AssertionError(f"nobody resolves {name}") from error
    assert [str(entry.rdata) for entry in answer.rr] == [address], name
    until = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection((address, 80), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > until:
                raise AssertionError(f"{name} at {address}: {error}") from error
            time.sleep(1)
