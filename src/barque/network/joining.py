"""How a container comes on a network: MAC address, addresses, interface, names."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from msgspec import structs

from barque.errors import InvalidArgument
from barque.models.api import EndpointSettings
from barque.models.container import ContainerRecord
from barque.models.launch import Interface
from barque.models.network import NetworkRecord
from barque.network import bridge
from barque.network.catalog import Catalog
from barque.network.endpointoptions import get_name
from barque.network.endpoints import (
    BRIDGE,
    Asked,
    choose_gateway,
    list_dns_names,
    make_interface,
)
from barque.network.host import Host
from barque.network.names import Named, Names
from barque.network.place import Place
from barque.network.refusals import check_mac

_ID_BYTES = 32


def new_id() -> str:
    """Return an id for an endpoint, or for a sandbox."""
    return secrets.token_hex(_ID_BYTES)


class Joiner:
    """Puts containers on networks, and takes them off. Use on the loop's thread.

    What a container gets here it has until ``leave``, or until the catalog frees all of it.
    """

    def __init__(
        self,
        catalog: Catalog,
        host: Host,
        names: Names,
        takes_big_tcp: Callable[[ContainerRecord], bool],
    ) -> None:
        """``takes_big_tcp`` says who may be given packets of more than 64 KiB."""
        self._catalog = catalog
        self._host = host
        self._names = names
        self._takes_big_tcp = takes_big_tcp

    def join_all(
        self, record: ContainerRecord, asked: Sequence[Asked], place: Place
    ) -> list[Interface]:
        """Take addresses on all networks that are ``asked``, into ``place``.

        Returns the interfaces to be made, with the default routes. On failure ``place`` has what
        has been taken so far. Raises as ``join``.
        """
        interfaces = []
        for number, (network, endpoint) in enumerate(asked):
            mac = endpoint.mac_address or (record.config.mac_address if not number else "")
            joined = self.join(record, network, structs.replace(endpoint, mac_address=mac))
            place.asked.append(Asked(network, joined))
            name = get_name(joined.driver_opts) or f"{network.interface_prefix}{number}"
            interfaces.append(self.make_interface(record, network, joined, name))
        for version in (4, 6):
            way = choose_gateway(place.asked, version)
            for (network, endpoint), interface in zip(place.asked, interfaces, strict=True):
                if network.name == way and version == 4:
                    interface.gateway = network.route_gateway(4, endpoint.ip_address)
                elif network.name == way:
                    interface.gateway6 = network.route_gateway(6, endpoint.global_ipv6_address)
        return interfaces

    def join(
        self, record: ContainerRecord, network: NetworkRecord, endpoint: EndpointSettings
    ) -> EndpointSettings:
        """Take the addresses of one endpoint; return it as it is from now on.

        Raises InvalidArgument, FailedPrecondition (no address is free), PermissionDenied (the
        address is taken).
        """
        mac = _choose_mac(network, endpoint.mac_address)
        self._host.ensure(network)
        wanted = endpoint.ipam_config
        asked = {
            4: wanted.ipv4_address if wanted else "",
            6: wanted.ipv6_address if wanted else "",
        }
        found: dict[int, str] = {}
        for version in (4, 6):
            if network.find_pool(version) is None:
                if asked[version]:
                    raise InvalidArgument(_outside(asked[version]))
                continue
            _check_within(asked[version], network, version)
            found[version] = self._catalog.hold(record.id, network, version, asked[version])
        ip, ip6 = found.get(4, ""), found.get(6, "")
        four, six = network.find_pool(4, ip), network.find_pool(6, ip6)
        return structs.replace(
            endpoint,
            mac_address=mac,
            network_id=network.id,
            endpoint_id=new_id(),
            ip_address=ip,
            ip_prefix_len=four.prefix_length if four else 0,
            gateway=_shown_gateway(network, 4, ip),
            global_ipv6_address=ip6,
            global_ipv6_prefix_len=six.prefix_length if six else 0,
            ipv6_gateway=_shown_gateway(network, 6, ip6),
            dns_names=list_dns_names(record, endpoint) if network.name != BRIDGE else None,
        )

    def make_interface(
        self, record: ContainerRecord, network: NetworkRecord, joined: EndpointSettings, name: str
    ) -> Interface:
        """Describe the interface of an endpoint, without a default route."""
        return make_interface(network, joined, name, big_tcp=self._takes_big_tcp(record))

    def publish_names(
        self, record: ContainerRecord, network: NetworkRecord, joined: EndpointSettings
    ) -> None:
        """Let the container be found there; on the default network nobody is, by name."""
        if network.name != BRIDGE:
            names = joined.dns_names or list_dns_names(record, joined)
            self._names.put(network.name, record.id, Named(tuple(names), joined.addresses))

    def leave(self, record: ContainerRecord, place: Place, network: NetworkRecord) -> None:
        """Give back what the container has on one network. Idempotent."""
        place.asked = [asked for asked in place.asked if asked.network.name != network.name]
        self._names.remove(network.name, record.id)
        self._catalog.free(record.id, network.id)


def _choose_mac(network: NetworkRecord, asked: str) -> str:
    """Return the MAC address of an endpoint, "" where it is the parent's."""
    if network.driver == "ipvlan":
        if asked:
            raise InvalidArgument("ipvlan interfaces do not support custom mac address assignment")
        return ""
    if network.driver == "macvlan" and network.link_mode == "passthru" and not asked:
        return ""
    mac = asked or bridge.make_mac()
    check_mac(mac)
    return mac


def _shown_gateway(network: NetworkRecord, version: int, address: str) -> str:
    gateway = network.route_gateway(version, address)
    return gateway if gateway and any(ip_address(gateway).packed) else ""


def _outside(address: str) -> str:
    return f"invalid endpoint settings:\nno configured subnet contains IP address {address}"


def _check_within(address: str, network: NetworkRecord, version: int) -> None:
    try:
        inside = network.find_pool(version, address)
    except ValueError:
        raise InvalidArgument(
            f"invalid endpoint settings:\ninvalid IP address: {address}"
        ) from None
    if not inside:
        raise InvalidArgument(_outside(address))
