"""The composition root: which part is made of which, once, in one place."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import signal
from pathlib import Path

from barque.api.server import serve
from barque.content.store import ContentStore
from barque.daemon.config import DEFAULT_EXEC_ROOT, Config
from barque.daemon.locks import hold_directories, pid_file
from barque.daemon.sockets import open_listeners
from barque.engine.engine import Engine, EngineConfig, build_engine
from barque.engine.facts import HostFacts
from barque.engine.registry import Registry
from barque.engine.seccomp import SeccompProfiles
from barque.engine.shims import ShimHost
from barque.images.service import ImageService
from barque.network.service import Networks
from barque.shim.launcher import Spawner
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from barque.store.containers import ContainerStore
from barque.store.database import Database

_SNAPSHOTTERS = {
    "": OverlaySnapshotter,
    "overlay": OverlaySnapshotter,
    "overlay2": OverlaySnapshotter,
    "vfs": VfsSnapshotter,
}
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}

_log = logging.getLogger("barque.daemon")


def run(config: Config, spawner: Spawner) -> None:
    """Run the engine until SIGTERM or SIGINT. Containers outlive it.

    Raises BarqueError for what keeps it from starting.
    """
    logging.basicConfig(
        level=logging.DEBUG if config.debug else _LEVELS[config.log_level],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with (
        hold_directories(config.data_root, config.exec_root),
        pid_file(config.pidfile),
    ):
        asyncio.run(_serve(config, spawner))


async def _serve(config: Config, spawner: Spawner) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listeners = open_listeners(config)  # clients may connect from here on, and wait
    database = Database(config.data_root / "barque.db")
    try:
        spawner.wait_ready()
        engine = _build(config, spawner, database)
        async with engine.running():
            server = await serve(listeners, engine, config)
            _settle_heap()
            _log.info("barque listens on %s", ", ".join(config.hosts))
            await stop.wait()
            _log.info("stopping; containers go on")
            await server.close()
    finally:
        database.close()


def _build(config: Config, spawner: Spawner, database: Database) -> Engine:
    facts = HostFacts.gather()
    trash = config.data_root / "trash"
    snapshotter = _SNAPSHOTTERS[config.storage_driver]
    snapshots = snapshotter(config.data_root / "snapshots" / snapshotter.driver, database, trash)
    registry = Registry(ContainerStore(database))
    return build_engine(
        config=EngineConfig(
            data_root=config.data_root,
            storage_driver=snapshotter.driver,
            cgroup_parent=config.cgroup_parent or cgroup_parent(config.exec_root),
        ),
        database=database,
        registry=registry,
        images=ImageService(database, ContentStore(config.data_root / "content"), snapshots),
        networks=Networks(database, config.network, lambda ref: registry.get(ref).record),
        snapshots=snapshots,
        shims=ShimHost(spawner, config.exec_root, None),
        seccomp=SeccompProfiles(config.data_root / "seccomp", facts),
        facts=facts,
    )


def cgroup_parent(exec_root: Path) -> str:
    """The parent of an engine's control groups: a name of its own for each exec-root."""
    if exec_root == DEFAULT_EXEC_ROOT:
        return "/barque"
    return f"/barque-{hashlib.sha256(bytes(exec_root)).hexdigest()[:12]}"


def _settle_heap() -> None:
    """What start-up made stays for good: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
