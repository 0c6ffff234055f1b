"""The composition root: which part is made of which, once, in one place."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import signal
from pathlib import Path

from barque.api.server import serve
from barque.cgroups import open_cgroup
from barque.content.store import ContentStore
from barque.daemon.config import DEFAULT_EXEC_ROOT, Config
from barque.daemon.locks import hold_directories, pid_file
from barque.daemon.logline import LineFormatter
from barque.daemon.remap import load_remap
from barque.daemon.sockets import open_listeners
from barque.engine.defaults import ContainerDefaults, own_ulimits
from barque.engine.engine import Engine, EngineConfig, build_engine
from barque.engine.facts import HostFacts
from barque.engine.logconfig import parse_log_config
from barque.engine.registry import Registry
from barque.engine.seccomp import SeccompProfiles, check_profile
from barque.engine.security import BUILTIN, UNCONFINED
from barque.engine.shims import ShimHost
from barque.errors import InvalidArgument, KernelError
from barque.images.service import ImageService
from barque.models.api import LogConfig
from barque.network.service import Networks
from barque.shim.launcher import Spawner
from barque.snapshots.choice import choose_snapshotter
from barque.store.containers import ContainerStore
from barque.store.database import Database

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}

_LAST_STOP_S = 7.0
"""For containers to stop in, before the 10 s are over after which clients kill a container."""

_log = logging.getLogger("barque.daemon")


def run(config: Config, spawner: Spawner, *, alone: bool = False) -> None:
    """Run the engine until SIGTERM or SIGINT. Containers outlive it.

    ``alone``: the container that we are in ends with us. Then ours are stopped before.

    Raises BarqueError for what keeps it from starting.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(
        level=logging.DEBUG if config.debug else _LEVELS[config.log_level], handlers=[handler]
    )
    with (
        hold_directories(config.data_root, config.exec_root),
        pid_file(config.pidfile),
    ):
        asyncio.run(_serve(config, spawner, alone=alone))


async def _serve(config: Config, spawner: Spawner, *, alone: bool) -> None:
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
            if alone:
                _log.info("stopping, and the containers with us")
                await engine.containers.tasks.stop_all(_LAST_STOP_S)
            else:
                _log.info("stopping; containers go on")
            await server.close()
        if not config.cgroup_parent:
            _give_back(cgroup_parent(config.exec_root))
    finally:
        database.close()


def _build(config: Config, spawner: Spawner, database: Database) -> Engine:
    facts = HostFacts.gather()
    defaults = _container_defaults(config, facts)
    trash = config.data_root / "trash"
    snapshotter = choose_snapshotter(config.storage_driver, config.data_root)
    snapshots = snapshotter(config.data_root / "snapshots" / snapshotter.driver, database, trash)
    registry = Registry(ContainerStore(database))
    return build_engine(
        config=EngineConfig(
            data_root=config.data_root,
            storage_driver=snapshotter.driver,
            cgroup_parent=config.cgroup_parent or cgroup_parent(config.exec_root),
            defaults=defaults,
            userns_remap=load_remap(config.userns_remap),
            userns_auto_pool=config.userns_auto_pool,
        ),
        database=database,
        registry=registry,
        images=ImageService(
            database,
            ContentStore(config.data_root / "content"),
            snapshots,
            registries=config.registries,
        ),
        networks=Networks(
            database,
            config.network,
            lambda ref: registry.get(ref).record,
            # Others may read packets by themselves (gVisor): big ones have no length in IPv4.
            lambda record: defaults.runtimes.is_own(record.host_config.runtime),
        ),
        snapshots=snapshots,
        shims=ShimHost(spawner, config.exec_root, None),
        seccomp=SeccompProfiles(config.data_root / "seccomp", facts, defaults),
        facts=facts,
    )


def _container_defaults(config: Config, facts: HostFacts) -> ContainerDefaults:
    """Raises InvalidArgument for a seccomp profile or log options that no container could have."""
    profile = config.seccomp_profile
    if profile not in {BUILTIN, UNCONFINED}:
        try:
            profile = Path(profile).read_text()
        except OSError as error:
            raise InvalidArgument(f"seccomp-profile {profile}: {error.strerror}") from None
        check_profile(profile, facts)
    parse_log_config(LogConfig(type=config.log_driver, config=dict(config.log_opts)))
    named = {limit.name for limit in config.default_ulimits}
    own = [limit for limit in own_ulimits(facts.max_open_files) if limit.name not in named]
    return ContainerDefaults(
        shm_size_bytes=config.default_shm_size_bytes,
        log_driver=config.log_driver,
        log_opts=config.log_opts,
        ulimits=(*config.default_ulimits, *own),
        pids_limit=config.default_pids_limit,
        capabilities=config.default_capabilities,
        ipc_mode=config.default_ipc_mode,
        cgroupns_mode=config.default_cgroupns_mode,
        no_new_privileges=config.no_new_privileges,
        init=config.init,
        seccomp_profile=profile,
        runtimes=config.runtimes,
        seccomp_name=config.seccomp_profile,
    )


def cgroup_parent(exec_root: Path) -> str:
    """The parent of an engine's control groups: a name of its own for each exec-root."""
    if exec_root == DEFAULT_EXEC_ROOT:
        return "/barque"
    return f"/barque-{hashlib.sha256(bytes(exec_root)).hexdigest()[:12]}"


def _give_back(path: str) -> None:
    """Remove the engine's own control group, unless a container is in it."""
    group = open_cgroup(path)
    if group.exists() and not group.children():
        try:
            group.remove()
        except KernelError as error:
            _log.warning("the control group %s stays: %s", path, error)


def _settle_heap() -> None:
    """What start-up made stays for good: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
