"""The bridge device of a network: made, or adopted if it is there already."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, ip_interface, ip_network
from pathlib import Path

from barque.errors import FailedPrecondition, KernelError
from barque.kernel.netlink import (
    Netlink,
    add_address,
    add_bridge,
    delete_address,
    delete_link,
    isolate_port,
    reflect_port,
    set_link,
)
from barque.network.config import AddressPool
from barque.network.ipam import AnyNetwork, choose_subnet, find_overlap

_SYS_NET = Path("/proc/sys/net")
_ATTEMPTS = 16
_NEIGHBOURS = (("gc_thresh3", 65536), ("gc_thresh2", 49152))
"""What dockerd sets for overlay networks: how many at most, and from where on it forgets."""
_CONTAINERS_END = re.compile(r"veth[0-9a-f]{7}")
_EXHAUSTED = (
    "all predefined address pools have been fully subnetted: every one overlaps a route of this "
    "host or another network; give the subnet yourself, or other pools (default-address-pools)"
)


def make_mac() -> str:
    """Return a random, locally administered, unicast MAC address."""
    first, *rest = secrets.token_bytes(6)
    return bytes([first & 0xFC | 0x02, *rest]).hex(":")


def open_default_bridge(
    name: str,
    *,
    mtu: int,
    fixed: IPv4Interface | None,
    preferred: IPv4Interface | None,
    pools: Iterable[AddressPool],
    avoided: Iterable[AnyNetwork] = (),
) -> IPv4Interface:
    """Bring the default network's bridge up, creating it if it is missing; return its address.

    That is the gateway of its containers. It is, in this order: ``fixed`` (others are taken
    off the device); the one that an existing device has; ``preferred`` (that of the last run)
    if it is free on this host; the first of the first subnet of ``pools`` that overlaps no
    route of the host and none of ``avoided``. An existing device keeps its MTU.

    Raises FailedPrecondition if the name belongs to a device that is no bridge or if no
    subnet is free, KernelError.
    """
    with Netlink() as netlink:
        index = _find_or_add(netlink, name, mtu)
        _set_up(name, ipv6=False)
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
            address = _claim(netlink, index, preferred, list(pools), list(avoided))
        netlink.execute(set_link(index, up=True))
        return address


def open_bridge(name: str, *, mtu: int, addresses: Sequence[str], ipv6: bool) -> None:
    """Bring the bridge ``name`` up with exactly ``addresses`` (CIDR) of those given by us.

    Creates it if it is missing; what an existing device has besides stays. Idempotent. Raises
    FailedPrecondition if the name belongs to a device that is no bridge, KernelError.
    """
    with Netlink() as netlink:
        index = _find_or_add(netlink, name, mtu)
        _set_up(name, ipv6=ipv6)
        have = {
            str(ip_interface(address.cidr))
            for address in netlink.addresses()
            if address.ifindex == index
        }
        for cidr in addresses:
            if str(ip_interface(cidr)) not in have:
                netlink.execute(add_address(index, cidr))
        netlink.execute(set_link(index, up=True))


def has_device(name: str) -> bool:
    """Whether the host has a network interface of this name."""
    with Netlink() as netlink:
        return netlink.find_index(name) is not None


def list_container_ports(name: str) -> list[str]:
    """Return the interfaces of containers that are on the bridge ``name``, by their names here."""
    with Netlink() as netlink:
        index = netlink.find_index(name)
        return [
            link.name
            for link in netlink.links()
            if index is not None and link.master == index and _CONTAINERS_END.fullmatch(link.name)
        ]


def list_missing(names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that the host has no interface of."""
    with Netlink() as netlink:
        return [name for name in names if netlink.find_index(name) is None]


def plug(name: str, port: str, *, isolated: bool, reflected: bool) -> None:
    """Make ``port``, a container's end in the host, a port of the bridge again.

    Nothing happens where there is no such interface any more.
    """
    with Netlink() as netlink:
        index = netlink.find_index(port)
        if index is None:
            return
        netlink.execute(set_link(index, up=True, master=netlink.index(name)))
        if isolated:
            netlink.execute(isolate_port(index))
        if reflected:
            netlink.execute(reflect_port(index))


def delete_bridge(name: str, *, leaving: bool = False) -> bool:
    """Remove the bridge ``name`` unless it still has ports; say whether it is gone.

    ``leaving``: no container is on it any more. The kernel takes interfaces of those that were
    away a while after their last process, and they do not count.
    """
    with Netlink() as netlink:
        index = netlink.find_index(name)
        if index is None:
            return True
        ports = [link.name for link in netlink.links() if link.master == index]
        if any(not (leaving and _CONTAINERS_END.fullmatch(port)) for port in ports):
            return False
        netlink.execute(delete_link(index))
        return True


def take_addresses(name: str, addresses: Sequence[str]) -> None:
    """Take from an adopted bridge what we gave it. A device that is gone has nothing."""
    with Netlink() as netlink:
        index = netlink.find_index(name)
        if index is None:
            return
        ours = {str(ip_interface(cidr)) for cidr in addresses}
        for address in netlink.addresses():
            if address.ifindex == index and str(ip_interface(address.cidr)) in ours:
                netlink.execute(delete_address(index, address.cidr))


def pick_subnet(
    pools: Iterable[AddressPool], occupied: Iterable[AnyNetwork], version: int
) -> AnyNetwork:
    """Return a subnet of ``pools`` that neither the host nor ``occupied`` uses.

    Raises FailedPrecondition when there is none.
    """
    with Netlink() as netlink:
        busy = [*_occupied(netlink, 0), *occupied]
    subnet = choose_subnet(pools, busy, version)
    if subnet is None:
        raise FailedPrecondition(_EXHAUSTED)
    return subnet


def find_conflict(subnet: AnyNetwork, device: str) -> str:
    """Return the device whose addresses overlap ``subnet``, "" if none but ``device`` has any."""
    with Netlink() as netlink:
        names = {link.ifindex: link.name for link in netlink.links()}
        for address in netlink.addresses():
            owner = names.get(address.ifindex, "")
            if owner != device and find_overlap(subnet, [ip_interface(address.cidr).network]):
                return owner
    return ""


def list_addresses() -> list[str]:
    """Return the addresses that this host has."""
    with Netlink() as netlink:
        return [address.cidr.partition("/")[0] for address in netlink.addresses()]


def enable_forwarding(*, ipv6: bool = False) -> None:
    """Let the host forward packets between its interfaces."""
    if ipv6:
        _write(_SYS_NET / "ipv6/conf/default/forwarding", "1")
        _write(_SYS_NET / "ipv6/conf/all/forwarding", "1")
    else:
        _write(_SYS_NET / "ipv4/ip_forward", "1")


def raise_neighbour_limits() -> None:
    """Let the kernel know more neighbours than its default of 1024, at no cost while there are few.

    It counts those of all network namespaces together: some hundred containers that talk to each
    other fill it, and then packets are dropped. Limits that are higher already stay; in a
    namespace other than the host's there are none to be seen, and nothing happens.
    """
    for family in ("ipv4", "ipv6"):
        for key, least in _NEIGHBOURS:
            path = _SYS_NET / family / "neigh/default" / key
            try:
                enough = int(path.read_text()) >= least
            except FileNotFoundError:
                continue
            if not enough:
                _write(path, str(least))


def has_ipv6() -> bool:
    """Whether this host has IPv6 switched on."""
    try:
        return (_SYS_NET / "ipv6/conf/lo/disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False


def route_loopback(name: str) -> None:
    """Let packets from 127.0.0.0/8 of the host leave by the bridge, and their answers in.

    To be called when our table is in force: it drops what others on the bridge send to
    127.0.0.0/8, which this would let in as well.
    """
    _write(_SYS_NET / f"ipv4/conf/{name}/route_localnet", "1")


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
    avoided: list[AnyNetwork],
) -> IPv4Interface:
    """Give the bridge the address of a free subnet.

    Another engine may choose at the same moment: whoever finds after its choice that the
    subnet is used by another device withdraws and looks again.
    """
    for _ in range(_ATTEMPTS):
        occupied = [*_occupied(netlink, index), *avoided]
        if preferred and find_overlap(preferred.network, occupied) is None:
            address = preferred
        else:
            subnet = choose_subnet(pools, occupied)
            if subnet is None:
                raise FailedPrecondition(_EXHAUSTED)
            address = IPv4Interface((int(subnet.network_address) + 1, subnet.prefixlen))
        netlink.execute(add_address(index, str(address)))
        others = [
            ip_interface(other.cidr).network
            for other in netlink.addresses()
            if other.ifindex != index
        ]
        if find_overlap(address.network, others) is None:
            return address
        netlink.execute(delete_address(index, str(address)))
    raise FailedPrecondition("no subnet could be claimed: others take addresses at the same time")


def _occupied(netlink: Netlink, index: int) -> list[AnyNetwork]:
    """Return what the host's routes and addresses cover, those of the device ``index`` apart."""
    networks: list[AnyNetwork] = [
        ip_network(route.destination) for route in netlink.routes() if route.ifindex != index
    ]
    networks += [
        ip_interface(address.cidr).network
        for address in netlink.addresses()
        if address.ifindex != index
    ]
    return [network for network in networks if network.prefixlen]


def _set_up(name: str, *, ipv6: bool) -> None:
    """Believe no router advertisements of containers (CVE-2020-13401); IPv6 as asked."""
    _write_ipv6(name, "accept_ra", "0")
    if ipv6:
        _write_ipv6(name, "disable_ipv6", "0")


def _write_ipv6(name: str, key: str, value: str) -> None:
    try:
        _write(_SYS_NET / f"ipv6/conf/{name}/{key}", value)
    except KernelError as error:
        if not isinstance(error.__cause__, FileNotFoundError):  # a kernel without IPv6
            raise


def _write(path: Path, value: str) -> None:
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise KernelError("write", error.errno or 0, str(path)) from error
