"""Containers: the use cases, by what a user calls them. Source: Engine API, section Container.

This is the front of what the modules beside it do: ``creation``, ``tasks``, ``removal``,
``attaching``, ``logs``, ``updating``, ``stats``, ``top``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from barque.engine.attaching import Attaching, check_attachable
from barque.engine.background import Background
from barque.engine.clock import Clock, parse_time
from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import Images, TaskHost
from barque.engine.creation import Created, Creation
from barque.engine.events import EventBus
from barque.engine.filters import Filters, get_until, match_labels
from barque.engine.handle import Handle, WaitResult, parse_condition
from barque.engine.logs import Batch, LogQuery, Logs
from barque.engine.names import validate_container_name
from barque.engine.networking import Networking
from barque.engine.registry import Registry
from barque.engine.removal import Removal
from barque.engine.shims import Client
from barque.engine.stats import Sample, take_sample
from barque.engine.tasks import Tasks, check_running
from barque.engine.top import Processes, list_container_processes
from barque.engine.updating import Updating
from barque.errors import Conflict, InvalidArgument, NotFound
from barque.models.api import ContainerConfig, HostConfig, NetworkingConfig
from barque.models.container import ContainerRecord
from barque.snapshots.contract import Snapshotter

Ids = list[str]
Pruned = tuple[Ids, int]
Warnings = list[str]


@dataclass
class Containers:
    """All containers. ``ref`` is an id, a name (with or without slash) or an id prefix.

    Every method raises NotFound for an unknown ``ref`` and InvalidArgument for an ambiguous
    one. Those that change something go on to their end even if the caller goes away.
    """

    registry: Registry
    creation: Creation
    tasks: Tasks
    networking: Networking
    removal: Removal
    attaching: Attaching
    log_reader: Logs
    updating: Updating
    shims: TaskHost
    images: Images
    snapshots: Snapshotter
    events: ContainerEvents
    bus: EventBus
    background: Background
    clock: Clock
    _pruning: bool = False

    async def create(
        self,
        name: str | None,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str | None,
    ) -> Created:
        """Make a container; see ``Creation.create``."""
        work = self.creation.create(name, config, host, networking, platform)
        return await self.background.complete(work, "create")

    def list(self) -> list[ContainerRecord]:
        """Return all containers, newest first."""
        return self.registry.records()

    def get(self, ref: str) -> ContainerRecord:
        """Return the container as it is now."""
        return self.registry.get(ref).record

    async def start(self, ref: str) -> None:
        """Start the container; see ``Tasks.start``."""
        handle = self.registry.get(ref)
        await self.background.complete(self.tasks.start(handle), f"start {ref}")

    async def stop(self, ref: str, signal: str | None, timeout_s: int | None) -> None:
        """Stop the container; see ``Tasks.stop``."""
        work = self.tasks.stop(self.registry.get(ref), signal, timeout_s)
        await self.background.complete(work, f"stop {ref}")

    async def restart(self, ref: str, signal: str | None, timeout_s: int | None) -> None:
        """Stop and start the container; see ``Tasks.restart``."""
        work = self.tasks.restart(self.registry.get(ref), signal, timeout_s)
        await self.background.complete(work, f"restart {ref}")

    async def kill(self, ref: str, signal: str) -> None:
        """Signal the container; see ``Tasks.kill``."""
        work = self.tasks.kill(self.registry.get(ref), signal)
        await self.background.complete(work, f"kill {ref}")

    async def pause(self, ref: str) -> None:
        """Freeze the container; see ``Tasks.pause``."""
        await self.background.complete(self.tasks.pause(self.registry.get(ref)), f"pause {ref}")

    async def unpause(self, ref: str) -> None:
        """Thaw the container; see ``Tasks.unpause``."""
        work = self.tasks.unpause(self.registry.get(ref))
        await self.background.complete(work, f"unpause {ref}")

    async def rename(self, ref: str, new_name: str) -> None:
        """Give the container another name.

        Raises InvalidArgument for a bad name or its own, AlreadyExists for a taken one.
        """
        handle = self.registry.get(ref)
        if not new_name:
            raise InvalidArgument("Neither old nor new names may be empty")
        name = validate_container_name(new_name)
        async with self.tasks.locked(handle) as record:
            if name == record.name:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            self.registry.rename(handle, name)
            self.networking.rename(handle)
            self.events.publish(handle.record, "rename", oldName=f"/{record.name}")

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        """Remove the container, with ``force`` even if it runs, with its anonymous volumes.

        Raises Conflict if it runs, is paused, or is being removed already.
        """
        work = self._remove(self.registry.get(ref), force=force, volumes=volumes)
        await self.background.complete(work, f"remove {ref}")

    async def _remove(self, handle: Handle, *, force: bool, volumes: bool) -> None:
        async with self.tasks.locked(handle) as record:
            _check_removable(record, force=force)
            self.registry.replace_state(handle, removing=True)
            if not record.state.running:
                self.removal.remove(handle, volumes=volumes)
                return
        try:
            await self.tasks.kill_for_removal(handle)
        except BaseException:
            self.registry.replace_state(handle, removing=False)
            raise
        async with self.tasks.locked(handle):
            self.removal.remove(handle, volumes=volumes)

    def wait(self, ref: str, condition: str) -> asyncio.Future[WaitResult]:
        """Return a future for ``not-running``, ``next-exit`` or ``removed``, listening already.

        Raises InvalidArgument for another condition.
        """
        return self.registry.get(ref).wait(parse_condition(condition))

    async def attach(self, ref: str, *, client: Client, logs: bool, stream: bool) -> None:
        """Attach a client, whose descriptor is taken; see ``Attaching.attach``."""
        try:
            handle = self.registry.get(ref)
        except BaseException:
            os.close(client.fd)
            raise
        await self.attaching.attach(handle, client, logs=logs, stream=stream)

    def attachable(self, ref: str) -> ContainerRecord:
        """Return the container if a client can attach now. Raises Conflict."""
        record = self.registry.get(ref).record
        check_attachable(record)
        return record

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Resize the terminal, in characters. Raises Conflict if it does not run."""
        handle = self.registry.get(ref)
        check_running(handle.record, handle)
        await self.shims.resize(handle.id, None, height, width)
        self.events.publish(handle.record, "resize", height=str(height), width=str(width))

    async def top(self, ref: str, ps_args: str) -> Processes:
        """Return the processes as ps would show them. Raises Conflict if it does not run."""
        handle = self.registry.get(ref)
        check_running(handle.record, handle)
        processes = await list_container_processes(self.tasks.cgroup(handle), ps_args)
        self.events.publish(handle.record, "top")
        return processes

    def logs(self, ref: str, query: LogQuery) -> AsyncIterator[Batch]:
        """Return batches of log entries; see ``Logs.read``."""
        return self.log_reader.read(self.registry.get(ref), query)

    async def update(self, ref: str, changes: HostConfig) -> Warnings:
        """Change limits and restart policy; see ``Updating.update``."""
        work = self.updating.update(self.registry.get(ref), changes)
        return await self.background.complete(work, f"update {ref}")

    async def sample(self, ref: str) -> Sample:
        """Return what the container uses now; see ``take_sample``."""
        handle = self.registry.get(ref)
        return await asyncio.to_thread(take_sample, handle.record, self.tasks.cgroup(handle))

    def knows(self, container_id: str) -> bool:
        """Whether there is, still, a container of this id."""
        return container_id in self.registry

    async def prune(self, filters: Filters) -> Pruned:
        """Remove all containers that do not run and match; return ids and bytes given back.

        Filters ``label``, ``label!``, ``until``. Raises Conflict if a prune runs already.
        """
        if self._pruning:
            raise Conflict("a prune operation is already running")
        until_ns = get_until(filters, self.clock.now_ns())
        self._pruning = True
        try:
            removed: Ids = []
            reclaimed = 0
            for handle in self.registry:
                record = handle.record
                if record.state.running or not match_labels(record.config.labels, filters):
                    continue
                if until_ns is not None and parse_time(record.created) >= until_ns:
                    continue
                try:
                    size, _ = await self.size(record.id)
                    await self.remove(record.id, force=False, volumes=False)
                except (Conflict, NotFound):
                    continue  # started or removed by somebody else meanwhile
                removed.append(record.id)
                reclaimed += size
        finally:
            self._pruning = False
        self.bus.publish("container", "prune", "", {"reclaimed": str(reclaimed)})
        return removed, reclaimed

    async def size(self, ref: str) -> tuple[int, int]:
        """Return the bytes of the writable layer, and those of it and the image together."""
        record = self.registry.get(ref).record
        writable = await asyncio.to_thread(self.snapshots.usage, record.snapshot)
        image = 0
        if record.image_id:
            try:
                image = self.images.get(record.image_id).size
            except NotFound:
                image = 0  # the image was removed by force; its layers stay while in use
        return writable, writable + image


def _check_removable(record: ContainerRecord, *, force: bool) -> None:
    state = record.state
    if state.removing:
        raise Conflict(f"removal of container {record.id} is already in progress")
    if force or not state.running:
        return
    shown = f'cannot remove container "/{record.name}": container is'
    match state.status:
        case "paused":
            raise Conflict(f"{shown} paused and must be unpaused first")
        case word:
            raise Conflict(f"{shown} {word}: stop the container before removing or force remove")
