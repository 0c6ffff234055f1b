"""Starting a container's task: everything that is taken for it, and given back if it fails.

::

    addresses ── files ── seccomp filter ── namespaces of others ── shim
        ▲           undone in reverse order when a later step fails
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self

from barque.engine import sources
from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import NetworkService, TaskHost
from barque.engine.defaults import ContainerDefaults
from barque.engine.facts import HostFacts
from barque.engine.handle import Handle
from barque.engine.layout import Layout
from barque.engine.logattributes import get_log_attributes
from barque.engine.logconfig import parse_log_config
from barque.engine.registry import Registry
from barque.engine.runtimes import BUILTIN, Runtimes
from barque.engine.shims import Client
from barque.engine.spec import build_launch, cgroups_path
from barque.engine.userns import UserNamespaces, join_ids
from barque.errors import Conflict, NotFound, NotImplementedHere
from barque.models import oci
from barque.models.api import EndpointSettings
from barque.models.container import ContainerRecord
from barque.models.idmap import IdMap
from barque.models.ids import ContainerId
from barque.models.launch import SHM_OF, LogTarget, RootfsMount
from barque.network.attachment import Attachment, clear_endpoints
from barque.shim.protocol import Started
from barque.snapshots.contract import Snapshotter


class SeccompFilters(Protocol):
    """Where compiled system call filters come from."""

    async def path_for(self, record: ContainerRecord, /) -> str:
        """Return the host path of the filter, "" for none."""
        ...

    def profile_for(self, record: ContainerRecord, /) -> oci.Seccomp | None:
        """Return the profile that the filter is made of, None for none."""
        ...


@dataclass(frozen=True)
class Launcher:
    """Puts together what the parts below give, and hands it to a shim."""

    registry: Registry
    shims: TaskHost
    networks: NetworkService
    snapshots: Snapshotter
    seccomp: SeccompFilters
    facts: HostFacts
    defaults: ContainerDefaults
    cgroup_parent: str
    events: ContainerEvents
    layout: Layout
    runtimes: Runtimes
    userns: UserNamespaces

    async def launch(self, handle: Handle, clients: list[Client]) -> Started:
        """Start the task; the addresses are in the record before anything runs.

        Takes the clients' descriptors. On failure nothing is left of the attempt and the error
        is raised: StartFailure if the program did not start, else what the part says.
        """
        with ExitStack() as undo:
            kept = undo.enter_context(_Kept(clients))
            attachment = self.networks.attach(handle.record)
            undo.callback(self._undo, handle, handle.record)
            wanted = self._find_targets(handle.record, attachment)
            ids, owner = self._choose_ids(handle.record, wanted)
            record = self.registry.replace(
                handle,
                networks=attachment.networks,
                ports=attachment.ports,
                sandbox_id=attachment.sandbox_id,
                ids=ids,
            )
            self._publish_networks(record, "connect")
            self.events.volumes_mounted(record)
            self.networks.write_files(record, attachment, self.layout.container(record.id))
            runtime = self.runtimes.find(record.host_config.runtime)
            seccomp_path = await self.seccomp_path(record)
            propagation = await sources.look_before_start(record.mounts)
            with ExitStack() as namespaces:
                if owner is not None:
                    wanted[owner].append("user")
                joins, fds = await self._open_joined(wanted, namespaces)
                ready = wire = None
                if ids is None:
                    ready = await self.networks.open_namespace(record, attachment)
                elif attachment.named:
                    wire = partial(self.networks.wire, record, attachment)
                if ready is not None:
                    joins["network"] = len(fds)
                    fds.append(ready)
                launch = build_launch(
                    record,
                    rootfs=self._rootfs(record),
                    files=self.networks.files_directory(record, self.layout.containers),
                    interfaces=attachment.interfaces if ready is None and wire is None else [],
                    joins=joins,
                    propagation=propagation,
                    seccomp_path=seccomp_path,
                    facts=self.facts,
                    defaults=self.defaults,
                    cgroups_path=self.cgroup_path(record),
                )
                if runtime is not None:
                    if ids is not None:
                        raise NotImplementedHere(
                            f"user namespaces with --runtime {record.host_config.runtime}: only "
                            f"barque's own runtime maps layers; use --runtime {BUILTIN}, or "
                            "--userns=host"
                        )
                    launch.runtime = runtime
                    launch.spec.linux.seccomp = self.seccomp.profile_for(record)
                size = record.host_config.console_size
                kept.clear()
                try:
                    started = await self.shims.start(
                        record.id,
                        launch,
                        tty=record.config.tty,
                        open_stdin=record.config.open_stdin,
                        stdin_once=record.config.stdin_once,
                        console_size=(size[0], size[1]) if size and any(size) else None,
                        log=self._log_target(record),
                        clients=clients,
                        namespace_fds=fds,
                        wire=wire,
                    )
                except asyncio.CancelledError:
                    undo.pop_all()  # the engine stops, the task goes on: it needs its addresses
                    raise
            undo.pop_all()
        self.networks.advertise(record.id)
        return started

    async def seccomp_path(self, record: ContainerRecord) -> str:
        """Return the host path of the container's filter, "" where we apply none."""
        if self.runtimes.find(record.host_config.runtime) is not None:
            return ""  # it makes its own, of the profile
        return await self.seccomp.path_for(record)

    def _rootfs(self, record: ContainerRecord) -> RootfsMount:
        """How to mount the writable layer; see docs/adr/0006 on ``volatile``."""
        rootfs = self.snapshots.mounts(record.snapshot)
        rootfs.volatile = record.host_config.auto_remove
        rootfs.mapped = record.ids is not None
        return rootfs

    def _undo(self, handle: Handle, before: ContainerRecord) -> None:
        """Give back what a start took that failed."""
        self.networks.release(handle.id)
        self.publish_release(handle.record)
        self.registry.replace(handle, networks=before.networks, ports={}, sandbox_id="")

    def release(self, record: ContainerRecord) -> dict[str, EndpointSettings]:
        """Give back the addresses of a run that has ended; return the settings without them."""
        self.networks.release(record.id)
        return clear_endpoints(record.networks)

    def publish_release(self, record: ContainerRecord) -> None:
        """Tell that the run which ``record`` describes has left its networks and volumes."""
        self._publish_networks(record, "disconnect")
        self.events.volumes_unmounted(record)

    def cgroup_path(self, record: ContainerRecord) -> str:
        """The container's cgroup, from the hierarchies' roots."""
        return cgroups_path(record.host_config, record.id, self.cgroup_parent)

    def _publish_networks(self, record: ContainerRecord, action: str) -> None:
        for name in record.networks:
            try:
                network = self.networks.get(name)
            except NotFound:
                continue  # a network that was removed meanwhile has nothing to tell
            self.events.network(record, action, network.id, network.name, network.driver)

    def _log_target(self, record: ContainerRecord) -> LogTarget | None:
        if record.host_config.log_config.type == "none":
            return None
        options = parse_log_config(record.host_config.log_config)
        return LogTarget(
            path=record.log_path,
            max_size_bytes=options.max_size_bytes,
            max_files=options.max_files,
            compress=options.compress,
            attrs=get_log_attributes(record),
        )

    def _find_targets(
        self, record: ContainerRecord, attachment: Attachment
    ) -> dict[ContainerId, list[str]]:
        """Return whose namespaces are shared, and which."""
        wanted: dict[ContainerId, list[str]] = {}
        if attachment.join is not None:
            wanted.setdefault(attachment.join, []).append("network")
        host = record.host_config
        for kind, mode in (("ipc", host.ipc_mode), ("pid", host.pid_mode)):
            if mode.startswith("container:"):
                target = self.registry.get(mode.removeprefix("container:")).id
                wanted.setdefault(target, []).append(kind)
                if kind == "ipc":
                    check_shareable(self.registry.get(target).record)
                    wanted[target].append("mount")  # where its /dev/shm is
        return wanted

    def _choose_ids(
        self, record: ContainerRecord, wanted: Iterable[ContainerId]
    ) -> tuple[IdMap | None, ContainerId | None]:
        """Return the ids of this run, and the container whose user namespace it joins."""
        own = self.userns.choose(record.host_config, record.ids, self.registry.records())
        ids, owner = join_ids(record, own, [self.registry.get(id_).record for id_ in wanted])
        return ids, owner.id if owner is not None else None

    async def _open_joined(
        self, wanted: Mapping[ContainerId, list[str]], namespaces: ExitStack
    ) -> tuple[dict[str, int], list[int]]:
        """Open the namespaces of other containers; ``namespaces`` closes them."""
        joins: dict[str, int] = {}
        fds: list[int] = []
        for target, kinds in wanted.items():
            self._check_joinable(target, kinds)
            for kind, fd in (await self.shims.open_namespaces(target, kinds)).items():
                namespaces.callback(os.close, fd)
                joins[SHM_OF if kind == "mount" else kind] = len(fds)
                fds.append(fd)
        return joins, fds

    def _check_joinable(self, target: ContainerId, kinds: list[str]) -> None:
        state = self.registry.get(target).record.state
        shown = ", ".join(kind for kind in kinds if kind != "mount")
        if not state.running:
            raise Conflict(
                f"cannot join {shown} namespace of a non running container: {target} is "
                f"{state.status}"
            )
        if state.restarting:
            raise Conflict(
                f"cannot join {shown} namespace: container {target} is restarting, wait until the "
                "container is running"
            )


def check_shareable(record: ContainerRecord) -> None:
    """Raise Conflict if the container's IPC namespace is its own."""
    if record.host_config.ipc_mode not in {"shareable", "host"}:
        raise Conflict(
            f"cannot join IPC namespace of container {record.id}: non-shareable IPC (hint: use "
            "IpcMode:shareable for the donor container)"
        )


class _Kept:
    """Clients that are closed when the block is left, unless somebody took them."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = list(clients)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            os.close(client.fd)

    def clear(self) -> None:
        """Somebody else owns them now."""
        self._clients = []
