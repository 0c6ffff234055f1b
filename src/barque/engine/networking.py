"""Networks as users change them: create, remove, prune, connect, disconnect.

Source: Engine API, section Network.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from barque.engine.background import Background
from barque.engine.clock import Clock, parse_time
from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import NetworkService, TaskHost
from barque.engine.events import EventBus
from barque.engine.filters import Filters, get_until, match_labels
from barque.engine.handle import Handle
from barque.engine.layout import Layout
from barque.engine.registry import Registry
from barque.engine.tasks import Tasks
from barque.errors import BarqueError, FailedPrecondition, InvalidArgument, NotFound
from barque.models.api import EndpointSettings, NetworkRequest
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord
from barque.network.attachment import Attachment
from barque.network.endpoints import check_joinable
from barque.network.modes import PREDEFINED
from barque.network.refusals import check_endpoint

_SHARED = "container:"
_AT_ONCE = 8
"""Containers that get their resolvers back at a time."""

_log = logging.getLogger("barque.engine")


@dataclass(frozen=True)
class Networking:
    """The use cases. Those that change a container hold its lock.

    Those that change something go on to their end even if the caller goes away.
    """

    networks: NetworkService
    registry: Registry
    tasks: Tasks
    shims: TaskHost
    events: ContainerEvents
    bus: EventBus
    layout: Layout
    background: Background
    clock: Clock

    @property
    def obstacles(self) -> Sequence[str]:
        """Warnings about other firewalls of this host that stop our traffic."""
        return self.networks.obstacles

    def list(self) -> Sequence[NetworkRecord]:
        """Return all networks, by name."""
        return self.networks.list()

    def get(self, ref: str) -> NetworkRecord:
        """Return a network by id, name or prefix. Raises NotFound, InvalidArgument."""
        return self.networks.get(ref)

    async def create(self, request: NetworkRequest) -> NetworkRecord:
        """Make a network. Raises what makes it impossible, with docker's texts."""
        work = self.networks.create(request)
        record = await self.background.complete(work, f"create network {request.name}")
        self._publish(record, "create")
        return record

    async def remove(self, ref: str) -> None:
        """Remove a network that no running container is on.

        Containers that do not run keep the wish to be on it, and do not start without it.
        """
        work = self.networks.remove(ref)
        record = await self.background.complete(work, f"remove network {ref}")
        self._publish(record, "destroy")

    async def prune(self, filters: Filters) -> Sequence[str]:
        """Remove the user's networks that no container, running or not, is on; return names.

        Filters ``label``, ``label!``, ``until``.
        """
        until_ns = get_until(filters, self.clock.now_ns())
        used = {name for record in self.registry.records() for name in record.networks}
        removed = []
        for network in list(self.networks.list()):
            if network.name in PREDEFINED or network.name in used or network.config_only:
                continue
            if not match_labels(network.labels, filters):
                continue
            if until_ns is not None and parse_time(network.created) >= until_ns:
                continue
            try:
                await self.remove(network.id)
            except BarqueError as error:
                _log.warning("network %s was not pruned: %s", network.name, error)
                continue
            removed.append(network.name)
        self.bus.publish("network", "prune", "", {"reclaimed": "0"})
        return removed

    async def connect(self, ref: str, container: str, asked: EndpointSettings) -> None:
        """Put a container on a network: at once if it runs, else from its next start on.

        Raises NotFound, InvalidArgument, PermissionDenied with docker's texts.
        """
        work = self._connect(ref, self.registry.get(container), asked)
        await self.background.complete(work, f"connect {container} to {ref}")

    async def _connect(self, ref: str, handle: Handle, asked: EndpointSettings) -> None:
        async with self.tasks.locked(handle) as record:
            network = self.networks.get(ref)
            _check_changeable(record, network)
            check_joinable(network)
            for name in record.networks:
                check_joinable(self.networks.get(name))
            if not record.state.running or record.state.restarting:
                check_endpoint(network.name, asked)
                if network.name not in record.networks:
                    asked.network_id = network.id
                    self.registry.replace(handle, networks={**record.networks, network.name: asked})
                return
            namespace_fd = await self._open_namespace(record)
            attachment = await self.networks.connect(record, network.id, asked, namespace_fd)
            self._keep(handle, attachment, network, "connect")

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """Take a container off a network; with ``force`` one that does not exist (any more).

        Raises NotFound, InvalidArgument, FailedPrecondition with docker's texts.
        """
        try:
            handle = self.registry.get(container)
        except NotFound:
            if force:
                return
            raise
        work = self._disconnect(ref, handle)
        await self.background.complete(work, f"disconnect {container} from {ref}")

    async def _disconnect(self, ref: str, handle: Handle) -> None:
        async with self.tasks.locked(handle) as record:
            network, name = self._find_joined(record, ref)
            if network is not None:
                _check_changeable(record, network, leaving=True)
            running = record.state.running and not record.state.restarting
            if name not in record.networks:
                where = "network" if running else "the network"
                raise FailedPrecondition(f"container {record.id} is not connected to {where} {ref}")
            if network is None or not running:
                kept = {key: value for key, value in record.networks.items() if key != name}
                self.registry.replace(handle, networks=kept)
                return
            namespace_fd = await self._open_namespace(record)

            def keep(now: Attachment) -> None:
                self.registry.replace(handle, networks=now.networks, ports=now.ports)

            attachment = await self.networks.disconnect(record, name, namespace_fd, keep)
            self._keep(handle, attachment, network, "disconnect")

    def _find_joined(self, record: ContainerRecord, ref: str) -> tuple[NetworkRecord | None, str]:
        """Return the network and its name; a removed network still has its name in records."""
        try:
            network = self.networks.get(ref)
        except NotFound:
            if ref in record.networks:
                return None, ref
            raise
        return network, network.name

    async def _open_namespace(self, record: ContainerRecord) -> int:
        return (await self.shims.open_namespaces(record.id, ["network"]))["network"]

    def _keep(
        self, handle: Handle, attachment: Attachment, network: NetworkRecord, action: str
    ) -> None:
        """Record what a running container has from now on, and tell of it."""
        record = self.registry.replace(handle, networks=attachment.networks, ports=attachment.ports)
        self.networks.update_files(record, attachment, self.layout.container(record.id))
        self.events.network(record, action, network.id, network.name, network.driver)

    def rename(self, handle: Handle) -> None:
        """A container has got another name: let others find it by that."""
        if handle.record.state.running:
            endpoints = self.networks.rename(handle.record)
            if endpoints != handle.record.networks:
                self.registry.replace(handle, networks=endpoints)

    async def resume(self) -> None:
        """Resolve names again for containers that an earlier engine started."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def resume(handle: Handle) -> None:
            async with room:
                run = handle.run
                if run is None or not self.networks.needs_namespace(handle.id):
                    return
                try:
                    namespace_fd = await self._open_namespace(handle.record)
                    if handle.run is not run:
                        os.close(namespace_fd)
                        return
                    await self.networks.resume(handle.record, namespace_fd)
                except (BarqueError, OSError) as error:
                    _log.error("container %s resolves no names: %s", handle.id[:12], error)

        async with asyncio.TaskGroup() as group:
            for handle in list(self.registry):
                group.create_task(resume(handle))

    def _publish(self, network: NetworkRecord, action: str) -> None:
        attributes = {"name": network.name, "type": network.driver}
        self.bus.publish("network", action, network.id, attributes)


def _check_changeable(
    record: ContainerRecord, network: NetworkRecord, *, leaving: bool = False
) -> None:
    """Refuse what a container's network mode fixes (InvalidArgument)."""
    mode = record.host_config.network_mode
    if mode.startswith(_SHARED):
        raise InvalidArgument(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if leaving and network.driver == "host":
        raise InvalidArgument(
            "cannot disconnect container from host network - container was created in host "
            "network mode"
        )
    if mode == "host" and not leaving:
        raise InvalidArgument(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
