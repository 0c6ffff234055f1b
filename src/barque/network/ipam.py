"""Addresses of one subnet, and the choice of a subnet."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

from barque.errors import FailedPrecondition, PermissionDenied
from barque.network.config import AddressPool

AnyAddress = IPv4Address | IPv6Address
AnyNetwork = IPv4Network | IPv6Network

_ALL_HOSTS_PREFIX = {4: 31, 6: 127}
"""From this prefix length on there is no network or broadcast address (RFC 3021, RFC 6164)."""


class AddressesExhausted(FailedPrecondition):
    """Every address of the subnet is held."""


class Addresses:
    """The addresses of a subnet, handed out next-fit.

    Rising from the one given last and wrapping round, so that a freed address is not used
    again at once: neighbours may still have it in their ARP caches, and a name that was just
    resolved should rather lead to nobody than to somebody else.
    """

    def __init__(
        self,
        subnet: AnyNetwork,
        *,
        ip_range: AnyNetwork | None = None,
        reserved: Iterable[AnyAddress] = (),
        taken: Iterable[AnyAddress] = (),
    ) -> None:
        """Hand out what lies in ``ip_range`` (default: all of ``subnet``) but ``reserved``.

        ``taken`` addresses are held from the start.
        """
        self.subnet = subnet
        self._make = IPv4Address if subnet.version == 4 else IPv6Address
        within = ip_range or subnet
        self._first = int(within.network_address)
        self._last = int(within.broadcast_address)
        if subnet.prefixlen < _ALL_HOSTS_PREFIX[subnet.version]:
            self._first = max(self._first, int(subnet.network_address) + 1)
            if subnet.version == 4:  # IPv6 has no broadcast
                self._last = min(self._last, int(subnet.broadcast_address) - 1)
        self._reserved = frozenset(int(address) for address in reserved)
        self._taken = {int(address) for address in taken}
        ours = (held for held in self._taken if self._first <= held <= self._last)
        self._next = max(ours, default=self._first - 1) + 1

    def allocate(self) -> AnyAddress:
        """Take the next free address. Raises AddressesExhausted."""
        size = self._last - self._first + 1
        start = self._next if self._first <= self._next <= self._last else self._first
        for step in range(max(size, 0)):
            candidate = self._first + (start - self._first + step) % size
            if candidate not in self._taken and candidate not in self._reserved:
                self._taken.add(candidate)
                self._next = candidate + 1
                return self._make(candidate)
        raise AddressesExhausted("no available addresses on this pool")

    def hold(self, address: AnyAddress) -> None:
        """Take this address. Raises PermissionDenied, with docker's text, if it is held."""
        if int(address) in self._taken or int(address) in self._reserved:
            raise PermissionDenied("Address already in use")
        self._taken.add(int(address))

    def free(self, address: AnyAddress) -> None:
        """Give an address back; nothing happens if it is not held, or not of this subnet."""
        if address in self.subnet:
            self._taken.discard(int(address))


def choose_subnet(
    pools: Iterable[AddressPool], occupied: Iterable[AnyNetwork], version: int = 4
) -> AnyNetwork | None:
    """Return the first subnet of ``pools`` that overlaps none of ``occupied``, if any.

    Pools of the other IP version are passed over.
    """
    busy = [network for network in occupied if network.version == version]
    for pool in pools:
        base = ip_network(pool.base)
        if base.version != version:
            continue
        step = 1 << (base.max_prefixlen - pool.size)
        start, end = int(base.network_address), int(base.broadcast_address)
        while start <= end:
            subnet = ip_network((start, pool.size))
            blocking = next((other for other in busy if _overlap(subnet, other)), None)
            if blocking is None:
                return subnet
            # Whatever lies within the blocking network need not be looked at one by one.
            behind = max(int(blocking.broadcast_address) + 1, start + step)
            start = -(-behind // step) * step
    return None


def find_overlap(subnet: AnyNetwork, others: Iterable[AnyNetwork]) -> AnyNetwork | None:
    """Return the first of ``others`` that shares an address with ``subnet``."""
    return next((other for other in others if _overlap(subnet, other)), None)


def _overlap(one: AnyNetwork, other: AnyNetwork) -> bool:
    return (
        one.version == other.version
        and int(one.network_address) <= int(other.broadcast_address)
        and int(other.network_address) <= int(one.broadcast_address)
    )


def first_host(subnet: AnyNetwork) -> AnyAddress:
    """Return the address that the gateway has unless another is given: the first usable."""
    if subnet.prefixlen >= _ALL_HOSTS_PREFIX[subnet.version]:
        return subnet.network_address
    return subnet.network_address + 1
