"""Published ports as lists and inspect show them."""

from __future__ import annotations

import pytest

from barque.api.ports import map_ports, summarise_ports
from barque.models.api import ContainerConfig, HostConfig, PortBinding
from barque.models.container import ContainerState
from support.api_engine import make_record

PUBLISHED = {
    "80/tcp": [
        PortBinding(host_ip="0.0.0.0", host_port="8080"),
        PortBinding(host_ip="::", host_port="8080"),
    ]
}
CONFIG = ContainerConfig(image="busybox", exposed_ports={"53/udp": {}})


def test_a_running_container() -> None:
    record = make_record(
        1,
        config=CONFIG,
        host_config=HostConfig(
            network_mode="bridge", port_bindings={"80/tcp": [PortBinding(host_port="8080")]}
        ),
        state=ContainerState(running=True),
        ports=PUBLISHED,
    )
    assert summarise_ports(record) == [
        {"PrivatePort": 53, "Type": "udp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    ]
    assert map_ports(record) == {
        "53/udp": None,
        "80/tcp": [
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
            {"HostIp": "::", "HostPort": "8080"},
        ],
    }


@pytest.mark.parametrize(
    ("mode", "running"), [("host", True), ("none", True), ("container:x", True), ("bridge", False)]
)
def test_nothing_is_published(mode: str, running: bool) -> None:
    record = make_record(
        1,
        config=CONFIG,
        host_config=HostConfig(network_mode=mode),
        state=ContainerState(running=running),
    )
    assert summarise_ports(record) == []
    assert map_ports(record) == {}
