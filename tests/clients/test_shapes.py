"""Every field that dockerd shows is there in barque's answers, with the same type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.engine import Engine

UNLIKE = {
    "container": {
        "GraphDriver.Data",  # paths of another store
        "HostConfig.ConsoleSize",  # null or a pair, as the client's terminal has it
        "HostConfig.KernelMemory",  # gone since API 1.42
        "HostConfig.KernelMemoryTCP",
        "State.Health",
    },
    "image": {
        "GraphDriver.Data",
        "ContainerConfig",  # gone since API 1.45
        "Container",
        "VirtualSize",  # gone since API 1.44
    },
    "network": {"Options"},  # labels of libnetwork
    "info": {
        "ContainerdCommit",
        "InitCommit",
        "RuncCommit",
        "Runtimes",
        "DriverStatus",
        "SystemStatus",
        "RegistryConfig",
        "ClientInfo",
        "Swarm",
        "Plugins",
        "KernelMemory",
        "KernelMemoryTCP",
        "ClusterStore",
        "ClusterAdvertise",
        "BridgeNfIptables",
        "BridgeNfIp6tables",
    },
}
QUESTIONS = {
    "container": ("inspect", "c1"),
    "image": ("inspect", "--type", "image", "busybox"),
    "network": ("network", "inspect", "bridge"),
    "info": ("info", "--format", "[{{json .}}]"),
}
NOTHING: tuple[Any, ...] = (None, [], {}, "")


def _differences(theirs: Any, ours: Any, unlike: set[str], path: str = "") -> Iterator[str]:
    if path in unlike or theirs in NOTHING or (theirs is not None and ours in NOTHING):
        return
    if type(theirs) is not type(ours):
        yield f"{path}: {theirs!r} in dockerd, {ours!r} in barque"
    elif isinstance(theirs, dict):
        for key, value in theirs.items():
            inner = f"{path}.{key}".lstrip(".")
            if inner in unlike or path.endswith(("Networks", "Labels", "Containers")):
                continue
            if key not in ours:
                yield f"{inner}: missing in barque, {value!r} in dockerd"
            else:
                yield from _differences(value, ours[key], unlike, inner)
    elif isinstance(theirs, list) and theirs and ours:
        yield from _differences(theirs[0], ours[0], unlike, f"{path}[]")


@pytest.mark.parametrize("what", QUESTIONS)
def test_shape(what: str, dockerd: Engine, barqued: Engine) -> None:
    answers = []
    for engine in (dockerd, barqued):
        engine.docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
        try:
            answers.append(json.loads(engine.docker(*QUESTIONS[what]))[0])
        finally:
            engine.remove_containers()
    theirs, ours = answers
    assert list(_differences(theirs, ours, UNLIKE[what])) == []
