"""What networks need on the host: their devices, the rules, the kernel's settings.

All of it is made again when somebody takes it away, the rules by ``Firewall``, the rest here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from barque.errors import BarqueError, KernelError
from barque.kernel.netlink import LinkMonitor
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.models.network import NetworkRecord
from barque.network import bridge, parents
from barque.network.catalog import Catalog
from barque.network.endpoints import host_interface
from barque.network.firewall import Firewall, delete_table, find_obstacles
from barque.network.namespaces import remove_interface
from barque.network.place import Place

_log = logging.getLogger("barque.network")


class Host:
    """The host's side of the networks of one engine. Use on the loop's thread."""

    def __init__(
        self,
        catalog: Catalog,
        firewall: Firewall,
        places: Mapping[ContainerId, Place],
        *,
        forward: bool,
    ) -> None:
        """``places`` are those of containers that run; ``forward`` switches forwarding on."""
        self._catalog = catalog
        self._firewall = firewall
        self._places = places
        self._forward = forward
        self._links: LinkMonitor | None = None
        self.obstacles: list[str] = []
        """Warnings about other firewalls of this host that stop our traffic."""

    def unplug_strangers(self, records: Iterable[ContainerRecord]) -> None:
        """Take interfaces off our bridges that none of ``records`` speaks of.

        They are of a container that was just being connected or disconnected when the last
        engine was killed.
        """
        known = {
            host_interface(endpoint)
            for record in records
            for endpoint in record.networks.values()
            if endpoint.endpoint_id
        }
        for network in self._catalog.list():
            if network.bridge:
                for port in bridge.list_container_ports(network.bridge):
                    if port not in known:
                        _log.warning("network %s: removing the leftover %s", network.name, port)
                        remove_interface(port)

    async def enforce(self) -> None:
        """Put the rules in force, then what is safe under them only.

        Raises FailedPrecondition (no nft), KernelError.
        """
        await self._firewall.apply()
        bridges = [network for network in self._catalog.list() if network.driver == "bridge"]
        for network in bridges:
            if bridge.has_device(network.bridge):
                bridge.route_loopback(network.bridge)
        if bridges:
            try:
                bridge.raise_neighbour_limits()
            except KernelError as error:
                _log.warning("hundreds of containers may be too many for this kernel: %s", error)
        if self._forward and bridges:
            bridge.enable_forwarding()
            if any(network.enable_ipv6 for network in bridges):
                bridge.enable_forwarding(ipv6=True)

    async def look_for_obstacles(self) -> None:
        """Bring ``obstacles`` up to date; log what is new."""
        bridges = [network.bridge for network in self._catalog.list() if network.bridge]
        found = await find_obstacles(bridges, self._firewall.table)
        for text in found:
            if text not in self.obstacles:
                _log.warning("%s", text)
        self.obstacles = found

    def watch(self) -> None:
        """Mend from now on what others take away: rules, bridges. Idempotent."""
        self._firewall.watch()
        if self._links is None:
            self._links = LinkMonitor()
            asyncio.get_running_loop().add_reader(self._links.fileno(), self._on_removals)

    def close(self) -> None:
        """Watch no more. Everything stays as it is. Idempotent."""
        self._firewall.close()
        if self._links is not None:
            asyncio.get_running_loop().remove_reader(self._links.fileno())
            self._links.close()
            self._links = None

    async def teardown(self) -> bool:
        """Remove the devices that we made, and our rules; say whether all is gone.

        Nothing more is removed once a bridge is found that a container is on.
        """
        self.close()
        for network in self._catalog.list():
            if network.adopted:
                continue
            if network.parent:
                parents.delete_parent(network.parent)
            elif network.bridge and not bridge.delete_bridge(network.bridge):
                return False
        await delete_table(self._firewall.table)
        return True

    def ensure(self, network: NetworkRecord) -> None:
        """Make the device of a network again if it is gone, which may not have been heard yet."""
        if not bridge.has_device(network.device):
            self._reopen(network)

    def _on_removals(self) -> None:
        if self._links is None or not self._links.read_removals():
            return
        bridges = {network.bridge: network for network in self._catalog.list() if network.bridge}
        for name in bridge.list_missing(bridges):
            try:
                self._reopen(bridges[name])
            except BarqueError as error:
                _log.error("network %s: %s", bridges[name].name, error)

    def _reopen(self, network: NetworkRecord) -> None:
        """Make the device again; a bridge with the containers that are on it."""
        self._catalog.open_device(network)
        _log.warning("%s of network %s was gone: made again", network.device, network.name)
        if not network.bridge:
            return
        bridge.route_loopback(network.bridge)
        for place in self._places.values():
            for joined, endpoint in place.asked:
                if joined.name == network.name:
                    bridge.plug(
                        network.bridge,
                        host_interface(endpoint),
                        isolated=not network.icc,
                        reflected=bool(place.held.ports),
                    )
