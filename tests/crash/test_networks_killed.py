"""Endpoints come and go at random while the engine is killed: nothing is left, nothing doubled."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support import census
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.rootfs import busybox_is_here, write_busybox_tar
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


def step(engine: Engine, chance: random.Random) -> None:
    container = f"c{chance.randrange(CONTAINERS)}"
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
    endpoints = 0
    for container in listed:
        for endpoint in container["NetworkSettings"]["Networks"].values():
            if endpoint["IPAddress"]:
                addresses[endpoint["IPAddress"]] += 1
                endpoints += 1
        published |= {port["PublicPort"] for port in container["Ports"] if "PublicPort" in port}
    assert all(count == 1 for count in addresses.values()), addresses
    table = f"barque-{engine.bridge}"
    rules = subprocess.run(
        ["nft", "-j", "list", "map", "inet", table, "any4"], capture_output=True, check=True
    )
    elements = json.loads(rules.stdout)["nftables"][1]["map"].get("elem", [])
    assert {key["concat"][1] for key, _ in elements} == published
    mine = set(_bridges(engine))
    ports = [
        link
        for link in Path("/sys/class/net").iterdir()
        if (link / "master").exists() and (link / "master").resolve().name in mine
    ]
    assert len(ports) == endpoints


def _bridges(engine: Engine) -> list[str]:
    _, networks = call(engine.socket, "GET", "/networks")
    found = [engine.bridge]
    return found + [f"br-{network['Id'][:12]}" for network in networks]


def make(engine: Engine, number: int) -> None:
    body: dict[str, Any] = {
        "Image": "busybox",
        "Cmd": ["sleep", "1000"],
        "HostConfig": {
            "NetworkMode": NETWORKS[number % len(NETWORKS)],
            "PortBindings": {"80/tcp": [{"HostPort": ""}]},
        },
    }
    status, answer = call(engine.socket, "POST", f"/containers/create?name=c{number}", body)
    assert status == 201, answer
    status, answer = call(engine.socket, "POST", f"/containers/c{number}/start")
    assert status == 204, answer


def test_endpoints_at_random_with_the_engine_killed(tmp_path: Path) -> None:
    archive = write_busybox_tar(tmp_path / "busybox.tar")
    chance = random.Random(20261127)
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        engine.docker("run", "--rm", "busybox", "true")
        before = census.take(engine)
        for name in NETWORKS:
            engine.docker("network", "create", name)
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
        engine.remove_containers()
        for name in NETWORKS:
            engine.docker("network", "rm", name)
        engine.restart()
        engine.docker("run", "--rm", "busybox", "true")
        assert not census.settle(before, engine)
