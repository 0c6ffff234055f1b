"""What a container may not ask of the network, checked at create.

The texts are those of dockerd, on which clients match.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig
from barque.network.endpointoptions import check_options
from barque.network.files import parse_extra_host
from barque.network.modes import CONTAINER_PREFIX, PREDEFINED
from barque.network.ports import parse_bindings

_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")


def check_supported(
    host: HostConfig,
    config: ContainerConfig | None = None,
    networking: NetworkingConfig | None = None,
) -> None:
    """Refuse what contradicts itself (InvalidArgument).

    Publishing with mode host or none is discarded, as by dockerd, and not refused.
    """
    config = config or ContainerConfig()
    mode = host.network_mode
    for entry in host.extra_hosts or ():
        parse_extra_host(entry)
    if mode.startswith(CONTAINER_PREFIX):
        _check_shared(config, host)
    check_mac(config.mac_address)
    if mode == "host" and host.links:
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    parse_bindings(host.port_bindings, config.exposed_ports or ())
    endpoints = (networking.endpoints_config if networking else None) or {}
    for name, endpoint in endpoints.items():
        if endpoint is not None:
            check_endpoint(name, endpoint)


def check_endpoint(network: str, endpoint: EndpointSettings) -> None:
    """Refuse what predefined networks do not give (InvalidArgument), and broken addresses."""
    check_mac(endpoint.mac_address)
    ipam = endpoint.ipam_config
    if ipam:
        _check_address(ipam.ipv4_address, 4)
        _check_address(ipam.ipv6_address, 6)
        for text in ipam.link_local_ips or ():
            _check_link_local(text)
    check_options(endpoint.driver_opts)
    if network not in PREDEFINED:
        return
    if ipam and (ipam.ipv4_address or ipam.ipv6_address):
        raise InvalidArgument(
            "user-specified IP address is supported on user-defined networks only"
        )
    if endpoint.aliases:
        raise InvalidArgument(
            "network-scoped alias is supported only for containers in user defined networks"
        )


def _check_address(text: str, version: int) -> None:
    if not text:
        return
    try:
        fits = ip_address(text).version == version
    except ValueError:
        fits = False
    if not fits:
        raise InvalidArgument(f"invalid endpoint settings:\ninvalid IPv{version} address: {text}")


def _check_link_local(text: str) -> None:
    """Refuse what is no address; that it is a link-local one, dockerd does not ask either."""
    try:
        fits = not ip_address(text).is_unspecified and "%" not in text
    except ValueError:
        fits = False
    if not fits:
        raise InvalidArgument(f"invalid endpoint settings:\ninvalid link-local IP address: {text}")


def check_mac(mac: str) -> None:
    """Refuse what is no MAC address, or is one of a group (InvalidArgument)."""
    if not mac:
        return
    if not _MAC.fullmatch(mac):
        raise InvalidArgument(
            f"invalid MAC address: {mac}: six pairs of hexadecimal digits are needed"
        )
    if int(mac[:2], 16) & 1:
        raise InvalidArgument(f"invalid MAC address: {mac} is a group's (multicast) address")


def _check_shared(config: ContainerConfig, host: HostConfig) -> None:
    conflicts = (
        (config.hostname, "hostname and the network mode"),
        (
            host.links,
            "container type network can't be used with links. "  # noqa: ISC004
            "This would result in undefined behavior",
        ),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (config.mac_address, "mac-address and the network mode"),
        (
            host.port_bindings or host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
    )
    for given, text in conflicts:
        if given:
            raise InvalidArgument(f"conflicting options: {text}")
