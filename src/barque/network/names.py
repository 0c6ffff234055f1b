"""Who is called what on which network: the data behind the resolver. No input or output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple


class Named(NamedTuple):
    """One endpoint: the first name is the one that a reverse look-up gives."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]


class Names:
    """The names of all networks. ``generation`` changes with every change."""

    def __init__(self) -> None:
        self._networks: dict[str, dict[str, Named]] = {}
        self._by_name: dict[str, dict[str, list[str]]] = {}
        self._by_address: dict[str, dict[str, str]] = {}
        self.generation = 0

    def put(self, network: str, container_id: str, named: Named) -> None:
        """Know an endpoint by these names, and by no others."""
        self.remove(network, container_id)
        self._networks.setdefault(network, {})[container_id] = named
        by_name = self._by_name.setdefault(network, {})
        for name in {name.lower() for name in named.names}:
            by_name.setdefault(name, []).append(container_id)
        by_address = self._by_address.setdefault(network, {})
        for address in named.addresses:
            by_address[address] = container_id
        self.generation += 1

    def remove(self, network: str, container_id: str) -> None:
        """Forget an endpoint. Idempotent."""
        named = self._networks.get(network, {}).pop(container_id, None)
        if named is None:
            return
        by_name = self._by_name[network]
        for name in {name.lower() for name in named.names}:
            by_name[name].remove(container_id)
            if not by_name[name]:
                del by_name[name]
        by_address = self._by_address[network]
        for address in named.addresses:
            if by_address.get(address) == container_id:
                del by_address[address]
        if not self._networks[network]:
            del self._networks[network], self._by_name[network], self._by_address[network]
        self.generation += 1

    def find(
        self, networks: Sequence[str], name: str, links: Mapping[str, Mapping[str, str]]
    ) -> list[str] | None:
        """Return the addresses of ``name`` as a container on ``networks`` sees it, or None.

        ``links`` are names that only this container has for others, by network. The whole name
        first, then ``a.b`` of ``a.b.c`` on the network ``c``, then ``a`` on ``b.c``. The first
        network that knows it counts.
        """
        wanted = name.lower().rstrip(".")
        for network in networks:
            if found := self._find_on(network, wanted, links):
                return found
        parts = wanted.split(".")
        lowered = {network.lower(): network for network in networks}
        for place in range(len(parts) - 1, 0, -1):
            network = lowered.get(".".join(parts[place:]), "")
            if network and (found := self._find_on(network, ".".join(parts[:place]), links)):
                return found
        return None

    def _find_on(
        self, network: str, name: str, links: Mapping[str, Mapping[str, str]]
    ) -> list[str] | None:
        target = links.get(network, {}).get(name, name)
        holders = self._by_name.get(network, {}).get(target.lower(), ())
        members = self._networks.get(network, {})
        return [address for holder in holders for address in members[holder].addresses] or None

    def find_name(self, networks: Sequence[str], address: str) -> str | None:
        """Return ``name.network`` of an address, or None if no endpoint has it."""
        for network in networks:
            holder = self._by_address.get(network, {}).get(address)
            if holder is not None:
                return f"{self._networks[network][holder].names[0]}.{network}"
        return None


def parse_reverse(name: str) -> str | None:
    """Return the address that ``4.3.2.1.in-addr.arpa`` or ``….ip6.arpa`` asks for, or None."""
    lowered = name.lower().rstrip(".")
    if lowered.endswith(".in-addr.arpa"):
        text = ".".join(reversed(lowered.removesuffix(".in-addr.arpa").split(".")))
    elif lowered.endswith(".ip6.arpa"):
        digits = "".join(reversed(lowered.removesuffix(".ip6.arpa").split(".")))
        text = ":".join(digits[place : place + 4] for place in range(0, len(digits), 4))
    else:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        return None
