"""The bridge device of a network: made, or adopted if it is there already."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from barque.errors import FailedPrecondition, KernelError
from barque.kernel.netlink import (
    Netlink,
    add_address,
    add_bridge,
    delete_address,
    delete_link,
    set_link,
)
from barque.network.config import AddressPool
from barque.network.ipam import choose_subnet

_SYS_NET = Path("/proc/sys/net")
_ATTEMPTS = 16


def make_mac() -> str:
    """Return a random, locally administered, unicast MAC address."""
    first, *rest = secrets.token_bytes(6)
    return bytes([first & 0xFC | 0x02, *rest]).hex(":")


def open_bridge(
    name: str,
    *,
    mtu: int,
    fixed: IPv4Interface | None,
    preferred: IPv4Interface | None,
    pools: Iterable[AddressPool],
    nameservers: Iterable[IPv4Address] = (),
) -> IPv4Interface:
    """Bring the bridge ``name`` up, creating it if it is missing, and return its address.

    That is the gateway of its containers. It is, in this order: ``fixed`` (others are taken
    off the device); the one that an existing device has; ``preferred`` (that of the last run)
    if it is free on this host; the first of the first subnet of ``pools`` that overlaps no
    route of the host and none of ``nameservers``. An existing device keeps its MTU.

    Raises FailedPrecondition if the name belongs to a device that is no bridge or if no
    subnet is free, KernelError.
    """
    with Netlink() as netlink:
        index = _find_or_add(netlink, name, mtu)
        _silence_ipv6(name)
        current = [
            IPv4Interface(address.cidr)
            for address in netlink.addresses()
            if address.ifindex == index and ":" not in address.cidr
        ]
        if fixed is not None:
            for surplus in current:
                if surplus != fixed:
                    netlink.execute(delete_address(index, str(surplus)))
            if fixed not in current:
                netlink.execute(add_address(index, str(fixed)))
            address = fixed
        elif current:
            address = current[0]
        else:
            address = _claim(netlink, index, preferred, list(pools), list(nameservers))
        netlink.execute(set_link(index, up=True))
        return address


def has_device(name: str) -> bool:
    """Whether the host has a network interface of this name."""
    with Netlink() as netlink:
        return netlink.find_index(name) is not None


def delete_bridge(name: str) -> bool:
    """Remove the bridge ``name`` unless it still has ports; say whether it is gone."""
    with Netlink() as netlink:
        index = netlink.find_index(name)
        if index is None:
            return True
        if any(link.master == index for link in netlink.links()):
            return False
        netlink.execute(delete_link(index))
        return True


def enable_forwarding() -> None:
    """Let the host forward IPv4 packets between its interfaces."""
    _write(_SYS_NET / "ipv4/ip_forward", "1")


def _find_or_add(netlink: Netlink, name: str, mtu: int) -> int:
    for link in netlink.links():
        if link.name == name:
            if link.kind != "bridge":
                raise FailedPrecondition(
                    f"{name} is a {link.kind or 'hardware'} device and no bridge: choose another "
                    "name (--bridge)"
                )
            return link.ifindex
    # A given MAC address keeps the bridge from taking over that of its lowest port, which
    # would change with the containers and upset their ARP caches.
    netlink.execute(add_bridge(name, mac=make_mac(), mtu=mtu))
    return netlink.index(name)


def _claim(
    netlink: Netlink,
    index: int,
    preferred: IPv4Interface | None,
    pools: list[AddressPool],
    nameservers: list[IPv4Address],
) -> IPv4Interface:
    """Give the bridge the address of a free subnet.

    Another engine may choose at the same moment: whoever finds after its choice that the
    subnet is used by another device withdraws and looks again.
    """
    for _ in range(_ATTEMPTS):
        occupied = _occupied(netlink, index) + [IPv4Network(server) for server in nameservers]
        if preferred and not any(preferred.network.overlaps(other) for other in occupied):
            address = preferred
        else:
            subnet = choose_subnet(pools, occupied)
            if subnet is None:
                raise FailedPrecondition(
                    "all predefined address pools have been fully subnetted: every one overlaps "
                    "a route of this host; give the bridge an address (bip) or other pools "
                    "(default-address-pools)"
                )
            address = IPv4Interface((subnet.network_address + 1, subnet.prefixlen))
        netlink.execute(add_address(index, str(address)))
        others = [
            IPv4Interface(other.cidr).network
            for other in netlink.addresses()
            if other.ifindex != index and ":" not in other.cidr
        ]
        if not any(address.network.overlaps(other) for other in others):
            return address
        netlink.execute(delete_address(index, str(address)))
    raise FailedPrecondition("no subnet could be claimed: others take addresses at the same time")


def _occupied(netlink: Netlink, index: int) -> list[IPv4Network]:
    networks = [
        IPv4Network(route.destination)
        for route in netlink.routes()
        if ":" not in route.destination and route.ifindex != index
    ]
    networks += [
        IPv4Interface(address.cidr).network
        for address in netlink.addresses()
        if ":" not in address.cidr and address.ifindex != index
    ]
    return [network for network in networks if network.prefixlen]


def _silence_ipv6(name: str) -> None:
    """Believe no router advertisements of containers (CVE-2020-13401)."""
    try:
        _write(_SYS_NET / f"ipv6/conf/{name}/accept_ra", "0")
    except KernelError as error:
        if not isinstance(error.__cause__, FileNotFoundError):  # a kernel without IPv6
            raise


def _write(path: Path, value: str) -> None:
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise KernelError("write", error.errno or 0, str(path)) from error
