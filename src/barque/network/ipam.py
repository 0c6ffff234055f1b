"""Addresses of one subnet, and the choice of a subnet."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from barque.errors import FailedPrecondition
from barque.network.config import AddressPool

_ALL_HOSTS_PREFIX = 31
"""From this prefix length on there is no network or broadcast address (RFC 3021)."""


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
        subnet: IPv4Network,
        *,
        ip_range: IPv4Network | None = None,
        reserved: Iterable[IPv4Address] = (),
        taken: Iterable[IPv4Address] = (),
    ) -> None:
        """Hand out what lies in ``ip_range`` (default: all of ``subnet``) but ``reserved``.

        ``taken`` addresses are held from the start.
        """
        within = ip_range or subnet
        self._first = int(within.network_address)
        self._last = int(within.broadcast_address)
        if subnet.prefixlen < _ALL_HOSTS_PREFIX:
            self._first = max(self._first, int(subnet.network_address) + 1)
            self._last = min(self._last, int(subnet.broadcast_address) - 1)
        self._reserved = frozenset(int(address) for address in reserved)
        self._taken = {int(address) for address in taken}
        self._next = max(self._taken, default=self._first - 1) + 1

    def allocate(self) -> IPv4Address:
        """Take the next free address. Raises AddressesExhausted."""
        size = self._last - self._first + 1
        start = self._next if self._first <= self._next <= self._last else self._first
        for step in range(size):
            candidate = self._first + (start - self._first + step) % size
            if candidate not in self._taken and candidate not in self._reserved:
                self._taken.add(candidate)
                self._next = candidate + 1
                return IPv4Address(candidate)
        raise AddressesExhausted("no available addresses on this pool")

    def free(self, address: IPv4Address) -> None:
        """Give an address back; nothing happens if it is not held."""
        self._taken.discard(int(address))


def choose_subnet(
    pools: Iterable[AddressPool], occupied: Iterable[IPv4Network]
) -> IPv4Network | None:
    """Return the first subnet of ``pools`` that overlaps none of ``occupied``, if any."""
    busy = list(occupied)
    for pool in pools:
        for subnet in IPv4Network(pool.base).subnets(new_prefix=pool.size):
            if not any(subnet.overlaps(other) for other in busy):
                return subnet
    return None
