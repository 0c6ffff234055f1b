"""A container's endpoints: on which networks, in which order, by which way out. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from barque.errors import InvalidArgument, PermissionDenied
from barque.models.api import EndpointSettings
from barque.models.container import ContainerRecord
from barque.models.launch import Interface
from barque.models.network import OPTION_IPVLAN_FLAG, NetworkRecord
from barque.network.config import BIG_TCP_BYTES
from barque.network.endpointoptions import parse_sysctls
from barque.network.modes import DEFAULT_MODES

BRIDGE = "bridge"


class Asked(NamedTuple):
    """A network, and what the container asks of it."""

    network: NetworkRecord
    endpoint: EndpointSettings


class Target(NamedTuple):
    """Where published ports lead: the addresses on the networks of the way out, "" for none.

    Not translated is routed: the container's own port is opened.
    """

    ipv4: str
    ipv6: str
    translated_4: bool = True
    translated_6: bool = True


class Way(NamedTuple):
    """A default route: ``gateway`` by the interface that has ``address``."""

    address: str
    gateway: str


def list_asked(record: ContainerRecord, get: Callable[[str], NetworkRecord]) -> list[Asked]:
    """Return the container's networks, that of its network mode first, the others by name.

    A network that is named in two ways (name, id) counts once. ``get`` raises NotFound.
    Raises InvalidArgument for a mix that cannot be.
    """
    mode = record.host_config.network_mode
    main = get(BRIDGE if mode in DEFAULT_MODES else mode)
    found = {main.name: Asked(main, EndpointSettings())}
    named = set()
    for name in sorted(record.networks):
        network = get(BRIDGE if name == "default" else name)
        found[network.name] = Asked(network, record.networks[name])
        named.add(network.name)
    if named and main.name not in named:
        del found[main.name]  # it was taken off that network
    asked = list(found.values())
    if len(asked) > 1:
        for network, _ in asked:
            check_joinable(network)
    return asked


def check_usable(network: NetworkRecord) -> None:
    """Refuse to have anybody on a network that only holds settings (PermissionDenied)."""
    if network.config_only:
        raise PermissionDenied(
            f"cannot create endpoint on configuration-only network {network.name}"
        )


def check_joinable(network: NetworkRecord) -> None:
    """Refuse to have networks ``host`` and ``none`` beside others (InvalidArgument)."""
    check_usable(network)
    if network.driver == "host":
        raise InvalidArgument(
            "cannot connect container to host network - container must be created in host "
            "network mode"
        )
    if network.driver == "null":
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )


def choose_gateway(endpoints: Iterable[Asked], version: int) -> str:
    """Return the name of the network that gives the default route of IP ``version``, or "".

    The highest priority first, then networks with a way out, then dual-stack ones, then by
    name.
    """
    candidates = [
        (-endpoint.gw_priority, network.internal, not _is_dual(network), network.name)
        for network, endpoint in endpoints
        if network.route_gateway(version)
    ]
    return min(candidates)[-1] if candidates else ""


def _is_dual(network: NetworkRecord) -> bool:
    return {pool.version for pool in network.ipam} == {4, 6}


def order_for_names(endpoints: Iterable[Asked]) -> list[str]:
    """Return the networks in the order in which names are looked up: that of gateways."""
    return [
        name
        for *_, name in sorted(
            (-endpoint.gw_priority, network.internal, not _is_dual(network), network.name)
            for network, endpoint in endpoints
        )
    ]


def list_dns_names(record: ContainerRecord, endpoint: EndpointSettings) -> list[str]:
    """Return the names of an endpoint: container, aliases, short id, host name, each once."""
    names = [record.name, *(endpoint.aliases or ()), record.id[:12], record.config.hostname]
    return list(dict.fromkeys(filter(None, names)))


def next_interface(used: Iterable[str], prefix: str) -> str:
    """Return the first free of ``eth0``, ``eth1``, ... for a ``prefix`` of ``eth``."""
    taken = set(used)
    number = 0
    while f"{prefix}{number}" in taken:
        number += 1
    return f"{prefix}{number}"


def is_named(asked: Iterable[Asked]) -> bool:
    """Whether names are resolved there: on any network but the default one."""
    return any(network.name != BRIDGE for network, _ in asked)


def host_interface(endpoint: EndpointSettings) -> str:
    """Return the name of an endpoint's interface in the host."""
    return f"veth{endpoint.endpoint_id[:7]}"


def find_target(asked: Sequence[Asked]) -> tuple[Target, str]:
    """Return where published ports lead, and the id of the endpoint that errors name.

    By networks with a parent (macvlan, ipvlan) nothing is published: they have addresses there.
    """
    found: dict[int, tuple[str, bool]] = {4: ("", True), 6: ("", True)}
    who = ""
    for version in (6, 4):
        way = choose_gateway(asked, version)
        for network, endpoint in asked:
            if network.name == way and network.driver == "bridge":
                address = endpoint.ip_address if version == 4 else endpoint.global_ipv6_address
                found[version] = (address, network.gateway_mode(version) != "routed")
                who = endpoint.endpoint_id
    return Target(found[4][0], found[6][0], found[4][1], found[6][1]), who


def list_ways(asked: Sequence[Asked]) -> list[Way]:
    """Return the default routes of a container, one for each IP version that has one."""
    ways = []
    for version in (4, 6):
        name = choose_gateway(asked, version)
        for network, endpoint in asked:
            if network.name == name:
                address = endpoint.ip_address if version == 4 else endpoint.global_ipv6_address
                ways.append(Way(address, network.route_gateway(version, address)))
    return ways


def make_interface(
    network: NetworkRecord, endpoint: EndpointSettings, name: str, *, big_tcp: bool = True
) -> Interface:
    """Describe the interface of an endpoint, without a default route.

    ``big_tcp`` lets packets be of more than 64 KiB where that does good.
    """
    big = big_tcp and bool(network.bridge) and not network.adopted  # no NIC is a port of it
    addresses = []
    if endpoint.ip_address:
        addresses.append(f"{endpoint.ip_address}/{endpoint.ip_prefix_len}")
    if endpoint.global_ipv6_address:
        addresses.append(f"{endpoint.global_ipv6_address}/{endpoint.global_ipv6_prefix_len}")
    asked = (endpoint.ipam_config and endpoint.ipam_config.link_local_ips) or ()
    addresses += [f"{text}/{64 if ':' in text else 16}" for text in asked]  # as dockerd has it
    return Interface(
        name=name,
        # Not derived from the container: the kernel takes the interface of the last run
        # away in the background, and a restart may come earlier.
        host_name=host_interface(endpoint),
        bridge=network.bridge,
        mac=endpoint.mac_address,
        addresses=addresses,
        kind=network.driver if network.parent else "veth",
        parent=network.parent,
        mode=network.link_mode,
        flag=network.options.get(OPTION_IPVLAN_FLAG) or "bridge",
        mtu=network.mtu,
        gso_in_bytes=BIG_TCP_BYTES if big else 0,
        # What leads to a NIC would be cut in pieces by the processor where 64 KiB are not.
        gso_out_bytes=BIG_TCP_BYTES if big and network.internal else 0,
        isolated=bool(network.bridge) and not network.icc,
        sysctls=parse_sysctls(endpoint.driver_opts),
    )
