"""The engine: its services, wired together, and its life.

The daemon makes the parts below (database, images, networks, snapshotter, shims) and the
front doors above; here are the use cases between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from barque.cgroups import open_cgroup
from barque.cgroups.contract import Cgroup
from barque.engine.attaching import Attaching
from barque.engine.background import Background
from barque.engine.checking import Checking
from barque.engine.clock import Clock, SystemClock
from barque.engine.container_events import ContainerEvents
from barque.engine.containers import Containers
from barque.engine.contracts import TaskHost
from barque.engine.creation import Creation
from barque.engine.defaults import ContainerDefaults
from barque.engine.events import EventBus
from barque.engine.execs import Execs
from barque.engine.facts import HostFacts
from barque.engine.files import ContainerFiles
from barque.engine.health import HealthMonitors
from barque.engine.launching import Launcher, SeccompFilters
from barque.engine.layout import Layout
from barque.engine.logs import Logs
from barque.engine.networking import Networking
from barque.engine.probing import ExecProber
from barque.engine.reconcile import Reconciliation
from barque.engine.registry import Registry
from barque.engine.removal import Removal
from barque.engine.system import SystemInfo
from barque.engine.tasks import Tasks
from barque.engine.trash import TrashReaper
from barque.engine.updating import Updating
from barque.engine.userns import DEFAULT_POOL, UserNamespaces
from barque.engine.volumes import Volumes
from barque.engine.watching import Watcher
from barque.images.service import ImageService
from barque.models.idmap import IdMap
from barque.models.ids import ContainerId, ExecId, ImageId
from barque.models.launch import ExitRecord
from barque.network.service import Networks
from barque.snapshots.contract import Snapshotter
from barque.store.database import Database
from barque.store.settings import SettingStore
from barque.store.volumes import VolumeStore

CHECKPOINT_S = 5.0


@dataclass(frozen=True)
class EngineConfig:
    """What the daemon's configuration says to the engine. ``data_root`` is absolute."""

    data_root: Path
    storage_driver: str = "overlay"
    cgroup_parent: str = "/barque"
    defaults: ContainerDefaults = field(default_factory=ContainerDefaults)
    userns_remap: IdMap | None = None
    userns_auto_pool: str = DEFAULT_POOL


@dataclass
class Listener:
    """Hears of what happens in the shims."""

    tasks: Tasks
    execs: Execs
    registry: Registry
    events: ContainerEvents

    def container_exited(self, id_: ContainerId, record: ExitRecord, /) -> None:
        """A container has ended, its execs with it."""
        self.execs.container_ended(id_)
        self.tasks.container_exited(id_, record)

    def exec_exited(self, id_: ContainerId, exec_id: ExecId, code: int, /) -> None:
        """An exec has ended."""
        self.execs.exec_exited(id_, exec_id, code)

    def client_detached(self, id_: ContainerId, exec_id: ExecId | None, /) -> None:
        """A client typed its detach keys."""
        handle = self.registry.find(id_)
        if handle is None:
            return
        if exec_id is None:
            self.events.publish(handle.record, "detach")
        else:
            self.events.publish(handle.record, "exec_detach", execID=exec_id)


@dataclass
class Engine:
    """The services that a front door calls; they may be used while ``running``."""

    containers: Containers
    files: ContainerFiles
    execs: Execs
    images: ImageService
    volumes: Volumes
    networks: Networking
    events: EventBus
    system: SystemInfo
    checking: Checking
    registry: Registry
    database: Database
    snapshots: Snapshotter
    shims: TaskHost
    reconciliation: Reconciliation
    reaper: TrashReaper
    watcher: Watcher
    background: Background

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Recover, then serve until the block is left. Containers outlive it.

        Raises what recovery of snapshots, images or networks raises: without them nothing
        can be served.
        """
        self.snapshots.recover()
        self.images.recover()
        self.volumes.recover()
        await self.networks.networks.setup(self.registry.records())
        await self.reconciliation.run()
        await self.files.recover()
        self.background.start(self.networks.resume(), "resolvers")
        self.background.start(self.networks.networks.look_for_obstacles(), "other firewalls")
        self.background.start(self.reaper.run(), "trash reaper")
        self.background.start(self._checkpoint(), "database checkpoint")
        self.background.start(self.reconciliation.start_by_policy(), "restart policies")
        try:
            yield
        finally:
            await self._close()

    async def _checkpoint(self) -> None:
        """Fold the write-ahead log back now and then, away from the loop."""
        folded = -1
        while True:
            changes = self.database.connection.total_changes
            if changes != folded:
                await asyncio.to_thread(self.database.checkpoint)
                folded = changes
            await asyncio.sleep(CHECKPOINT_S)

    async def _close(self) -> None:
        self.shims.close()
        self.containers.tasks.close()
        await self.background.close()
        self.networks.networks.close()
        self.execs.close()
        self.events.close()
        self.watcher.close()
        for handle in self.registry:
            handle.close_clients()


def build_engine(
    *,
    config: EngineConfig,
    database: Database,
    registry: Registry,
    images: ImageService,
    networks: Networks,
    snapshots: Snapshotter,
    shims: TaskHost,
    seccomp: SeccompFilters,
    facts: HostFacts,
    clock: Clock | None = None,
    cgroups: Callable[[str], Cgroup] = open_cgroup,
) -> Engine:
    """Wire the use cases to the parts. Becomes the listener of ``shims`` and ``images``.

    ``registry`` comes from outside because the networks look containers up in it.
    """
    clock = clock or SystemClock()
    layout = Layout(config.data_root)
    layout.make()
    bus = EventBus(clock)
    events = ContainerEvents(bus)
    background = Background()
    watcher = Watcher()
    reaper = TrashReaper(layout.trash, snapshots)
    volumes = Volumes(
        store=VolumeStore(database),
        registry=registry,
        root=layout.volumes,
        trash=layout.trash,
        events=bus,
        clock=clock,
    )
    userns = UserNamespaces(
        facts, config.storage_driver, config.userns_remap, config.userns_auto_pool
    )
    launcher = Launcher(
        registry=registry,
        shims=shims,
        networks=networks,
        snapshots=snapshots,
        seccomp=seccomp,
        facts=facts,
        defaults=config.defaults,
        cgroup_parent=config.cgroup_parent,
        events=events,
        layout=layout,
        runtimes=config.defaults.runtimes,
        userns=userns,
    )
    removal = Removal(
        registry=registry,
        images=images,
        snapshots=snapshots,
        volumes=volumes,
        shims=shims,
        events=events,
        layout=layout,
        reaper=reaper,
    )
    execs = Execs(registry, shims, launcher, events)
    tasks = Tasks(
        registry=registry,
        shims=shims,
        launcher=launcher,
        removal=removal,
        events=events,
        background=background,
        health=HealthMonitors(registry, ExecProber(execs, shims), events, background, clock),
        clock=clock,
        open_cgroup=cgroups,
    )
    networking = Networking(
        networks=networks,
        registry=registry,
        tasks=tasks,
        shims=shims,
        events=events,
        bus=bus,
        layout=layout,
        background=background,
        clock=clock,
    )
    logs = Logs(watcher, clock)
    containers = Containers(
        registry=registry,
        creation=Creation(
            registry=registry,
            images=images,
            networks=networks,
            snapshots=snapshots,
            storage_driver=config.storage_driver,
            volumes=volumes,
            facts=facts,
            events=events,
            layout=layout,
            clock=clock,
            defaults=config.defaults,
            userns=userns,
        ),
        tasks=tasks,
        networking=networking,
        removal=removal,
        attaching=Attaching(shims, tasks, logs, events),
        log_reader=logs,
        updating=Updating(registry, tasks, events, facts, config.defaults),
        shims=shims,
        images=images,
        snapshots=snapshots,
        events=events,
        bus=bus,
        background=background,
        clock=clock,
    )
    shims.listener = Listener(tasks, execs, registry, events)
    images.listener = _image_events(bus, images)
    images.on_trash(reaper.wake)
    return Engine(
        containers=containers,
        files=ContainerFiles(
            registry=registry,
            tasks=tasks,
            images=images,
            snapshots=snapshots,
            events=events,
            background=background,
            shims=shims,
            layout=layout,
        ),
        execs=execs,
        images=images,
        volumes=volumes,
        networks=networking,
        events=bus,
        system=SystemInfo(
            SettingStore(database),
            facts,
            config.storage_driver,
            config.data_root,
            config.defaults,
            userns=config.userns_remap is not None,
        ),
        checking=Checking(
            registry=registry,
            images=images,
            networks=networks,
            snapshots=snapshots,
            volumes=volumes,
            layout=layout,
            reaper=reaper,
        ),
        registry=registry,
        database=database,
        snapshots=snapshots,
        shims=shims,
        reconciliation=Reconciliation(
            registry=registry,
            shims=shims,
            tasks=tasks,
            execs=execs,
            removal=removal,
            networks=networks,
            snapshots=snapshots,
            layout=layout,
            clock=clock,
            open_cgroup=cgroups,
            cgroup_parent=config.cgroup_parent,
        ),
        reaper=reaper,
        watcher=watcher,
        background=background,
    )


def _image_events(bus: EventBus, images: ImageService) -> Callable[[str, ImageId, str], None]:
    """Return a listener that publishes what happens to images, with their labels."""

    def publish(action: str, image_id: ImageId, name: str) -> None:
        image = images.find(image_id)
        labels = (image.config.config.labels or {}) if image is not None else {}
        actor = name if action in ("pull", "push") else image_id  # as docker does
        bus.publish("image", action, actor, {**labels, "name": name})

    return publish
