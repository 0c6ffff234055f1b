"""Starting up is recovery: make the records true again after whatever happened.

Nothing but the database, the exec-root and the kernel is asked:

=============================  =====================================================
a record, and                  what is done
=============================  =====================================================
its shim answers               the task is taken over, with its execs
its shim left an exit record   the exit is recorded, with its true code and time
neither, but it was running    it is recorded as exited with 255
its removal was begun          the removal is finished
its restart policy says so     it is started
=============================  =====================================================

What has no record (shims, cgroups, snapshots, directories) is removed, and addresses of
containers that do not run are given back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from barque.cgroups.contract import Cgroup
from barque.engine.clock import Clock, format_time
from barque.engine.contracts import NetworkService, TaskHost
from barque.engine.execs import Execs
from barque.engine.handle import Handle
from barque.engine.layout import Layout
from barque.engine.registry import Registry
from barque.engine.removal import Removal
from barque.engine.restart import wants_start_with_engine
from barque.engine.tasks import Tasks
from barque.errors import BarqueError
from barque.models.ids import ContainerId
from barque.models.launch import ExitRecord
from barque.network.attachment import clear_endpoints
from barque.snapshots.contract import Snapshotter
from barque.snapshots.trash import discard

LOST = 255
AT_ONCE = 8
_ID = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger("barque.engine")


@dataclass
class Reconciliation:
    """Done once, before the engine serves anybody."""

    registry: Registry
    shims: TaskHost
    tasks: Tasks
    execs: Execs
    removal: Removal
    networks: NetworkService
    snapshots: Snapshotter
    layout: Layout
    clock: Clock
    open_cgroup: Callable[[str], Cgroup]
    cgroup_parent: str

    async def run(self) -> None:
        """Make everything true. A failure with one container is logged and ends nothing."""
        known = set(self.shims.known())
        handles = list(self.registry)
        await asyncio.gather(*(self._recover(h, known=h.id in known) for h in handles))
        for container_id in known:
            if container_id not in self.registry:
                await self._remove_orphan(container_id)
        self._remove_leftovers()
        for container_id in self.networks.holders():
            handle = self.registry.find(container_id)
            if handle is None or handle.run is None:
                self._try(container_id, partial(self.networks.release, container_id))
        for handle in handles:
            if handle.run is None and handle.id in self.registry:
                self._try(handle.id, partial(self._forget_places, handle))

    @staticmethod
    def _try(container_id: ContainerId, work: Callable[[], object]) -> None:
        """Do ``work``; what fails now (the disk is full) is tried again by the next engine."""
        try:
            work()
        except (BarqueError, OSError) as error:
            _log.error("container %s keeps its addresses: %s", container_id[:12], error)

    def _forget_places(self, handle: Handle) -> None:
        """Take from the record what a start that the last engine did not finish had been given.

        Others get those addresses and ports from now on.
        """
        record = handle.record
        networks = clear_endpoints(record.networks)
        if record.ports or record.sandbox_id or networks != record.networks:
            self.registry.replace(handle, networks=networks, ports={}, sandbox_id="")

    async def _recover(self, handle: Handle, *, known: bool) -> None:
        try:
            await self._find_truth(handle, known=known)
            if handle.id in self.registry:
                await self._finish(handle)
        except (BarqueError, OSError) as error:
            _log.error("container %s could not be recovered: %s", handle.id[:12], error)

    async def _find_truth(self, handle: Handle, *, known: bool) -> None:
        record = handle.record
        found = await self.shims.reconnect(handle.id) if known else None
        if found is not None:
            self.tasks.take_over(handle, found.pid)
            self.execs.take_over(handle, found)
            return
        left = self.shims.find_exit(handle.id) if known else None
        was_running = record.state.running and not record.state.restarting
        if left is None:
            await self._end_unseen(handle)
            if known:
                self.shims.forget(handle.id)  # of a start that came to nothing
        if left is None and was_running:
            left = ExitRecord(code=LOST, exited_at=format_time(self.clock.now_ns()))
        if left is not None:
            self.tasks.record_lost_run(handle, left)
        elif record.state.restarting:
            self.tasks.restart_later(handle, 0.0)

    async def _end_unseen(self, handle: Handle) -> None:
        """End what runs although nobody is its parent any more: its shim was killed."""
        cgroup = self.tasks.cgroup(handle)
        if cgroup.exists():
            _log.warning("ending processes of %s, whose shim is gone", handle.id[:12])
            await asyncio.to_thread(cgroup.kill)
            await asyncio.to_thread(cgroup.remove)

    async def _finish(self, handle: Handle) -> None:
        """Finish what was begun: a removal, or the automatic one of a container that ran."""
        record = handle.record
        over = not record.state.running and record.started_once
        if record.state.removing:
            if record.state.running:
                await self.tasks.kill_for_removal(handle)
            self.removal.remove(handle, volumes=record.host_config.auto_remove)
        elif record.host_config.auto_remove and over:
            self.removal.remove(handle, volumes=True)

    async def _remove_orphan(self, container_id: ContainerId) -> None:
        _log.warning("removing the task of %s, which is not recorded", container_id[:12])
        await self.shims.reconnect(container_id)  # one that is still starting is ended, too
        cgroup = self.open_cgroup(f"{self.cgroup_parent}/{container_id}")
        try:
            if await asyncio.to_thread(cgroup.exists):
                await asyncio.to_thread(cgroup.kill)
                await asyncio.to_thread(cgroup.remove)
        except BarqueError as error:
            _log.error("its cgroup stays: %s", error)
            return
        self.shims.forget(container_id)

    def _remove_leftovers(self) -> None:
        for name in os.listdir(self.layout.containers):
            if name not in self.registry:
                discard(self.layout.containers / name, self.layout.trash)
        for snapshot in self.snapshots.walk():
            of_container = snapshot.kind != "committed" and _ID.fullmatch(snapshot.key)
            if of_container and snapshot.key not in self.registry:
                self.snapshots.remove(snapshot.key)

    async def start_by_policy(self) -> None:
        """Start what the restart policies want running, those that others join first."""
        wanted = [
            handle
            for handle in self.registry
            if not handle.record.state.running and wants_start_with_engine(handle.record)
        ]
        limit = asyncio.Semaphore(AT_ONCE)

        async def start(handle: Handle) -> None:
            async with limit:
                await self.tasks.start_with_engine(handle)

        for joining in (False, True):
            group = [handle for handle in wanted if _joins(handle) is joining]
            await asyncio.gather(*(start(handle) for handle in group))


def _joins(handle: Handle) -> bool:
    host = handle.record.host_config
    modes = (host.network_mode, host.ipc_mode, host.pid_mode)
    return any(mode.startswith("container:") for mode in modes)
