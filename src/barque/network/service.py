"""Networks: those there are, and the containers on them.

========= ====== ==============================================================
name      driver a container on it
========= ====== ==============================================================
bridge    bridge has a namespace of its own, an address, a way out through NAT
host      host   is in the host's namespace
none      null   has a namespace of its own with nothing but ``lo``
others    bridge as on ``bridge``, and names of containers are resolved
========= ====== ==============================================================

What a container has (addresses, ports, names) it has from ``attach`` to ``release``. Holders of
addresses are in the database and ports in the container's record, so that an engine that was
killed knows them when it comes back; everything in the kernel is either made again by ``setup``
and ``resume`` or goes with the container's namespace.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from msgspec import structs

from barque.errors import Conflict, FailedPrecondition, PermissionDenied
from barque.models.api import EndpointSettings, NetworkRequest
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.models.network import NetworkRecord
from barque.network.advertise import Advertiser
from barque.network.attachment import Attachment
from barque.network.catalog import Catalog
from barque.network.config import NetworkConfig
from barque.network.connecting import Connector, not_connected
from barque.network.containerfiles import ContainerFiles
from barque.network.endpoints import BRIDGE, Asked, check_usable, list_asked, list_dns_names
from barque.network.firewall import Firewall, table_name
from barque.network.host import Host
from barque.network.joining import Joiner, new_id
from barque.network.modes import CONTAINER_PREFIX, DEFAULT_MODES, PREDEFINED
from barque.network.names import Names
from barque.network.place import Place
from barque.network.publishing import Publisher
from barque.network.refusals import check_endpoint
from barque.network.sandboxes import Sandboxes
from barque.store.database import Database
from barque.store.networks import NetworkStore


class Networks:
    """The networks of this engine. Used from the event loop's thread only."""

    def __init__(
        self,
        database: Database,
        config: NetworkConfig,
        containers: Callable[[str], ContainerRecord],
        takes_big_tcp: Callable[[ContainerRecord], bool] = lambda _: True,
    ) -> None:
        """Take settings as they are in daemon.json. ``containers`` looks a container up by
        id, name or prefix, and raises NotFound; ``takes_big_tcp`` says which of them may be
        given packets of more than 64 KiB. Raises InvalidArgument for bad settings.
        """
        config.validate()
        self._config = config
        self._containers = containers
        self._places: dict[ContainerId, Place] = {}
        self._changing = asyncio.Lock()
        self._names = Names()
        self._advertiser = Advertiser()
        self._catalog = Catalog(NetworkStore(database), config)
        own = config.device or hashlib.sha256(os.fsencode(database.path)).hexdigest()[:12]
        self._firewall = Firewall(table_name(own), self._catalog.list)
        self._host = Host(self._catalog, self._firewall, self._places, forward=config.ip_forward)
        self._joiner = Joiner(self._catalog, self._host, self._names, takes_big_tcp)
        self._publisher = Publisher(self._firewall)
        self._sandboxes = Sandboxes(self._catalog, config, self._names)
        self._connector = Connector(
            self._catalog, self._joiner, self._publisher, self._sandboxes, self._advertiser
        )
        self._files = ContainerFiles(config, self._catalog.find, containers)

    # The engine's life

    async def setup(self, records: Iterable[ContainerRecord] = ()) -> None:
        """Make what the networks need on the host: records, bridges, sysctls, rules.

        ``records`` are the containers of the last engine: the ports of those that have endpoints
        stay published all the while. Those that turn out not to run, though a start was under way
        when the engine was killed, are to be released. Idempotent: run at every start of the
        engine, it repairs what a crash or somebody else left half done, and keeps subnets as long
        as it can.

        Raises FailedPrecondition (no nft, no free subnet, name taken by another kind of
        device), InvalidArgument (settings that contradict each other), KernelError.
        """
        records = list(records)
        self._catalog.open_predefined()
        self._catalog.restore()
        self._host.unplug_strangers(records)
        for record in sorted(records, key=lambda record: not record.state.running):
            if record.id not in self._places:
                self._retake(record)
        if not any(network.driver == "bridge" for network in self._catalog.list()):
            return
        await self._host.enforce()
        self._watch()

    def _retake(self, record: ContainerRecord) -> None:
        """Know again what a container of the last engine has, from its record."""
        place = Place([])
        for name, endpoint in record.networks.items():
            network = self._catalog.find(name)
            if network is not None and network.wired and endpoint.endpoint_id:
                place.asked.append(Asked(network, endpoint))
                self._joiner.publish_names(record, network, endpoint)
        if place.asked:
            self._places[record.id] = place
            self._publisher.retake(record, place)

    def _watch(self) -> None:
        """Mend what others take away, and be ready to announce. Idempotent."""
        self._host.watch()
        self._advertiser.open()

    @property
    def obstacles(self) -> Sequence[str]:
        """Warnings about other firewalls of this host that stop our traffic."""
        return self._host.obstacles

    async def look_for_obstacles(self) -> None:
        """Bring ``obstacles`` up to date; log what is new."""
        await self._host.look_for_obstacles()

    def close(self) -> None:
        """Let go of sockets. Networks and containers go on, resolvers wait for the next engine."""
        self._host.close()
        self._publisher.close()
        self._advertiser.close()
        for place in self._places.values():
            place.held.close()
            self._sandboxes.close(place)

    async def teardown(self) -> bool:
        """Remove the devices that we made, and our rules; say whether all is gone.

        For uninstalling. Nothing is removed while a container is on a bridge. A stopping
        engine does not call this: containers outlive it.
        """
        return await self._host.teardown()

    # Networks

    def list(self) -> list[NetworkRecord]:
        """Return all networks, by name."""
        return self._catalog.list()

    def get(self, ref: str) -> NetworkRecord:
        """Return the network with this id, else this name, else this prefix of its id.

        Raises NotFound, or InvalidArgument for a prefix of several.
        """
        return self._catalog.get(ref)

    async def create(self, request: NetworkRequest) -> NetworkRecord:
        """Make a network. Raises what ``Catalog.make`` raises; nothing is left then."""
        async with self._changing:
            record = self._catalog.make(request)
            try:
                await self._host.enforce()
            except BaseException:
                self._catalog.discard(record)
                raise
            self._watch()
            await self._host.look_for_obstacles()
        return record

    async def remove(self, ref: str) -> NetworkRecord:
        """Remove a network that no running container is on; return what it was.

        Raises NotFound, PermissionDenied with docker's texts, FailedPrecondition.
        """
        async with self._changing:
            record = self._catalog.get(ref)
            if record.name in PREDEFINED:
                raise PermissionDenied(
                    f"{record.name} is a pre-defined network and cannot be removed"
                )
            if members := self._list_members(record.name):
                shown = ", ".join(f'name:"{name}" id:"{id_[:12]}"' for name, id_ in members)
                raise PermissionDenied(
                    f"error while removing network: network {record.name} has active endpoints "
                    f"({shown})"
                )
            self._catalog.discard(record)
            await self._firewall.apply()
        return record

    def _list_members(self, network: str) -> Sequence[tuple[str, str]]:
        """Return (container's name, endpoint's id) of who is on a network now."""
        return [
            (self._containers(holder).name, asked.endpoint.endpoint_id)
            for holder, place in self._places.items()
            for asked in place.asked
            if asked.network.name == network
        ]

    # Runs of containers

    def attach(self, record: ContainerRecord) -> Attachment:
        """Give a container that is about to start its place on its networks.

        Takes addresses and ports, to be given back with ``release`` when the run ends or the
        start fails. Attaching anew gives back what the container still holds.

        Raises NotFound (no such network or container), Conflict (the container to share with
        does not run), FailedPrecondition (no address or port is free), InvalidArgument,
        PermissionDenied (the address is taken).
        """
        self.release(record.id)
        mode = record.host_config.network_mode
        if mode.startswith(CONTAINER_PREFIX):
            return Attachment(join=self._sharer(record, mode.removeprefix(CONTAINER_PREFIX)))
        sandbox_id = new_id()
        disabled = mode in DEFAULT_MODES and not self._config.device
        if record.config.network_disabled or (disabled and len(record.networks) < 2):
            return Attachment(sandbox_id=sandbox_id)
        asked = list_asked(record, self._catalog.get)
        for network, endpoint in asked:
            check_usable(network)
            check_endpoint(network.name, endpoint)
        main = asked[0].network
        if not main.wired:
            endpoint = structs.replace(asked[0].endpoint, network_id=main.id, endpoint_id=new_id())
            return Attachment(
                networks={main.name: endpoint}, sandbox_id=sandbox_id, host=main.driver == "host"
            )
        with ExitStack() as undo:
            undo.callback(self.release, record.id)
            attachment = self._attach_wired(record, asked, sandbox_id)
            undo.pop_all()
        return attachment

    def _sharer(self, record: ContainerRecord, ref: str) -> ContainerId:
        other = self._containers(ref)
        if other.id == record.id:
            raise FailedPrecondition("cannot join own network namespace")
        if other.state.restarting:
            raise Conflict(
                f"cannot join network namespace of container {ref}: it is restarting, wait "
                "until it is running"
            )
        if not other.state.running:
            raise Conflict(
                "cannot join network namespace of a non running container: "
                f"container {ref} is {other.state.status}"
            )
        return other.id

    def _attach_wired(
        self, record: ContainerRecord, asked: Sequence[Asked], sandbox_id: str
    ) -> Attachment:
        place = self._places[record.id] = Place([])
        interfaces = self._joiner.join_all(record, asked, place)
        self._publisher.publish(record, place)
        for interface in interfaces:
            interface.reflected = bool(interface.bridge and place.held.ports)
        for network, endpoint in place.asked:
            self._joiner.publish_names(record, network, endpoint)
        return place.attachment(sandbox_id, interfaces)

    def rename(self, record: ContainerRecord) -> dict[str, EndpointSettings]:
        """A container has another name: let it be found by it; return its endpoints anew."""
        place = self._places.get(record.id)
        if place is None:
            return record.networks
        endpoints = dict(record.networks)
        for number, (network, endpoint) in enumerate(place.asked):
            if network.name == BRIDGE:
                continue
            named = structs.replace(endpoint, dns_names=list_dns_names(record, endpoint))
            place.asked[number] = Asked(network, named)
            endpoints[network.name] = named
            self._joiner.publish_names(record, network, named)
        return endpoints

    def release(self, id: ContainerId) -> None:  # noqa: A002 - the Engine API's word
        """Give back what the container holds. Idempotent."""
        place = self._places.pop(id, None)
        if place is not None:
            place.ended = True
            self._publisher.withdraw(place)
            self._sandboxes.close(place)
            for network, _ in place.asked:
                self._names.remove(network.name, id)
        self._catalog.free(id)

    def holders(self) -> frozenset[ContainerId]:
        """Return who holds an address: after a crash, release those that do not run."""
        return self._catalog.holders() | frozenset(self._places)

    # Sandboxes of containers

    async def open_namespace(self, record: ContainerRecord, attachment: Attachment) -> int | None:
        """Return a descriptor of a namespace made ready for the container, or None.

        It is made for containers with a resolver, which has to answer before their program
        runs; the others' init makes it. The descriptor stays ours. Not for user namespaces, which
        have to make it themselves: see ``wire``. Raises Conflict if the container is no more,
        KernelError.
        """
        if not attachment.named:
            return None
        return await self._sandboxes.make(record, self._places.get(record.id), attachment)

    async def wire(
        self, record: ContainerRecord, attachment: Attachment, namespace_fd: int
    ) -> None:
        """Make ready the namespace that the container, which waits, has made itself.

        Takes the descriptor. Raises Conflict if the container is no more, KernelError.
        """
        place = self._places.get(record.id)
        await self._sandboxes.wire(record, place, attachment, namespace_fd)

    def advertise(self, id: ContainerId) -> None:  # noqa: A002 - the Engine API's word
        """Tell neighbours of the addresses of a container that has just been started."""
        place = self._places.get(id)
        if place is not None:
            for network, endpoint in place.asked:
                self._advertiser.tell(network, endpoint, partial(place.has, endpoint))

    def needs_namespace(self, id: ContainerId) -> bool:  # noqa: A002 - the Engine API's word
        """Whether ``resume`` has something to do in a container that was taken over."""
        place = self._places.get(id)
        return place is not None and self._sandboxes.needs_namespace(place)

    async def resume(self, record: ContainerRecord, namespace_fd: int) -> None:
        """Resolve names again for a container that an earlier engine started.

        An interface that the earlier engine made, but did not come to record, is removed. Takes
        the descriptor of its network namespace.
        """
        try:
            place = self._places.get(record.id)
            if place is not None:
                await self._sandboxes.resume(record, place, namespace_fd)
        finally:
            os.close(namespace_fd)

    async def connect(
        self, record: ContainerRecord, ref: str, asked: EndpointSettings, namespace_fd: int
    ) -> Attachment:
        """Put a running container on one more network, at once.

        Takes the descriptor of its network namespace. Returns what it has from now on; on
        failure it has what it had. Raises as ``attach``, and PermissionDenied if it is on the
        network already.
        """
        try:
            network = self._catalog.get(ref)
            place = self._places.get(record.id)
            if place is None:
                raise Conflict(f"container {record.id[:12]} has no network to be added to")
            return await self._connector.connect(record, place, network, asked, namespace_fd)
        finally:
            os.close(namespace_fd)

    async def disconnect(
        self,
        record: ContainerRecord,
        name: str,
        namespace_fd: int,
        keep: Callable[[Attachment], object],
    ) -> Attachment:
        """Take a running container off a network, at once. Takes the descriptor.

        ``keep`` records that it is off before anything is done: what an engine that is killed
        right then leaves, ``setup`` of the next one takes away. Returns what the container has
        from now on. Raises FailedPrecondition if it is not on the network.
        """
        try:
            place = self._places.get(record.id)
            if place is None:
                raise not_connected(record, name)
            return await self._connector.disconnect(record, place, name, namespace_fd, keep)
        finally:
            os.close(namespace_fd)

    # Files of containers

    def files_directory(self, record: ContainerRecord, containers: Path) -> Path:
        """Return where the container's files are; see ``ContainerFiles``."""
        return self._files.directory(record, containers)

    def write_files(self, record: ContainerRecord, attachment: Attachment, directory: Path) -> None:
        """Write hosts, hostname and resolv.conf for a start; see ``ContainerFiles``."""
        self._files.write(record, attachment, directory)

    def update_files(
        self, record: ContainerRecord, attachment: Attachment, directory: Path
    ) -> None:
        """Bring the files of a running container up to date; see ``ContainerFiles``."""
        self._files.update(record, attachment, directory)
