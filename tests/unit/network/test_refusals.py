from __future__ import annotations

import re

import pytest

from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.api import (
    ContainerConfig,
    EndpointIpamConfig,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
    PortBinding,
)
from barque.network.config import AddressPool, NetworkConfig
from barque.network.refusals import check_supported

SHARED = "container:other"


@pytest.mark.parametrize(
    ("host", "config", "text"),
    [
        ({}, {"hostname": "h"}, "hostname and the network mode"),
        ({"dns": ["9.9.9.9"]}, {}, "dns and the network mode"),
        ({"extra_hosts": ["a:1.2.3.4"]}, {}, "custom host-to-IP mapping and the network mode"),
        ({}, {"mac_address": "02:00:00:00:00:01"}, "mac-address and the network mode"),
        (
            {"port_bindings": {"80/tcp": [PortBinding()]}},
            {},
            "port publishing and the container type network mode",
        ),
        ({"publish_all_ports": True}, {}, "port publishing and the container type network mode"),
        ({}, {"exposed_ports": {"80/tcp": {}}}, "port exposing and the container type network"),
        ({"links": ["a"]}, {}, "container type network can't be used with links."),
    ],
)
def test_conflicts_of_a_shared_network(
    host: dict[str, object], config: dict[str, object], text: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(f"conflicting options: {text}")):
        check_supported(
            HostConfig(network_mode=SHARED, **host),  # type: ignore[arg-type]
            ContainerConfig(**config),  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("port", "binding"),
    [
        ("80/quic", PortBinding()),
        ("http", PortBinding()),
        ("70000", PortBinding()),
        ("80", PortBinding(host_port="x")),
        ("80", PortBinding(host_port="90-80")),
        ("80", PortBinding(host_ip="example.com")),
    ],
)
def test_ports_that_are_none(port: str, binding: PortBinding) -> None:
    with pytest.raises(InvalidArgument, match="invalid"):
        check_supported(HostConfig(port_bindings={port: [binding]}))


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (
            EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="10.77.8.9")),
            "user-specified IP address is supported on user-defined networks only",
        ),
        (
            EndpointSettings(aliases=["db"]),
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        (EndpointSettings(mac_address="01:00:00:00:00:00"), "multicast"),
        (EndpointSettings(mac_address="zz"), "invalid MAC address"),
    ],
)
def test_endpoints_on_the_default_network(endpoint: EndpointSettings, text: str) -> None:
    networking = NetworkingConfig(endpoints_config={"bridge": endpoint})
    with pytest.raises(InvalidArgument, match=text):
        check_supported(HostConfig(), networking=networking)


def test_what_is_not_built_is_refused() -> None:
    endpoint = EndpointSettings(driver_opts={"com.docker.network.endpoint.unheard": "of"})
    networking = NetworkingConfig(endpoints_config={"net": endpoint})
    with pytest.raises(NotImplementedHere):
        check_supported(HostConfig(), networking=networking)


@pytest.mark.parametrize("text", ["baz", "", "0.0.0.0", "::", "fe80::1%eth0", "169.254.1.1/16"])
def test_link_local_addresses_that_are_none(text: str) -> None:
    endpoint = EndpointSettings(ipam_config=EndpointIpamConfig(link_local_ips=[text]))
    networking = NetworkingConfig(endpoints_config={"net": endpoint})
    with pytest.raises(InvalidArgument, match="invalid link-local IP address"):
        check_supported(HostConfig(), networking=networking)


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(bridge="../x"),
        NetworkConfig(bridge='a"b'),
        NetworkConfig(bridge="b" * 16),
        NetworkConfig(bip="10.0.0.1/99"),
        NetworkConfig(fixed_cidr="10.0.0.1/24"),
        NetworkConfig(mtu=3),
        NetworkConfig(dns=["dns.example"]),
        NetworkConfig(default_address_pools=[AddressPool(base="10.0.0.0/24", size=16)]),
    ],
)
def test_settings_that_make_no_sense(config: NetworkConfig) -> None:
    with pytest.raises(InvalidArgument):
        config.validate()
