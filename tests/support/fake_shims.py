"""Tasks without a kernel: a machine of states in memory that behaves as shims do.

``World`` is what outlives an engine: the tasks. ``FakeHost`` is one engine's connection to
it. A program is told by its name what to do:

=========== ==========================================================
``sleep``   runs until a signal ends it
``stubborn`` as sleep, but only SIGKILL ends it
``exit``    ends at once with the code in its argument, while starting
``missing`` does not start: code 127
=========== ==========================================================
"""

from __future__ import annotations

import asyncio
import os
import secrets
import select
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from barque.cgroups.contract import Cgroup
from barque.engine.clock import SystemClock, format_time
from barque.engine.engine import Engine, EngineConfig, build_engine
from barque.engine.events import Event
from barque.engine.registry import Registry
from barque.engine.shims import Client, ShimListener, ShimState, StartFailure, Wiring
from barque.errors import BarqueError, Conflict, NotFound
from barque.images.service import ImageService
from barque.models import oci
from barque.models.api import ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId, ExecId, ImageId
from barque.models.image import ImageConfig, RootFS, RunConfig
from barque.models.launch import ContainerLaunch, ExecLaunch, ExitRecord, LogTarget
from barque.network.attachment import Attachment
from barque.network.service import Networks
from barque.shim.protocol import ExecState, Started
from barque.snapshots.overlay import OverlaySnapshotter
from barque.store.containers import ContainerStore
from barque.store.database import Database
from support.spec import make_facts


class FakeClock(SystemClock):
    """Wall time is the machine's; ``monotonic`` and ``sleep`` are the test's."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Task:
    args: list[str]
    pid: int
    exited: ExitRecord | None = None
    frozen: bool = False
    pending: list[int] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    execs: dict[ExecId, ExecState] = field(default_factory=dict)
    oom_kills: int = 0
    notices: list[int] = field(default_factory=list)


class World:
    """The machine: all tasks, whichever engine started them."""

    def __init__(self) -> None:
        self.tasks: dict[ContainerId, Task] = {}
        self.host: FakeHost | None = None
        self.updates: list[oci.Resources] = []
        self.refusal: BarqueError | None = None
        """What the kernel says to new limits."""
        self._pid = 100

    def next_pid(self) -> int:
        self._pid += 1
        return self._pid

    def end(self, id_: ContainerId, code: int, *, oom: bool = False) -> None:
        """End a task; the engine, if there is one, hears of it on its loop."""
        task = self.tasks[id_]
        if task.exited is not None:
            return
        task.exited = ExitRecord(
            code=code, exited_at=format_time(SystemClock().now_ns()), oom_killed=oom
        )
        for client in task.clients:
            os.close(client.fd)
        task.clients.clear()
        for notice in task.notices:
            os.close(notice)
        task.notices.clear()
        if self.host is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.host.tell, id_, task.exited)

    def run_out_of_memory(self, id_: ContainerId, *, killed: bool = True) -> None:
        """Give notice, and kill a process that is not the init."""
        task = self.tasks[id_]
        task.oom_kills += killed
        for notice in task.notices:
            os.eventfd_write(notice, 1)

    def signal(self, id_: ContainerId, signum: int) -> None:
        task = self.tasks[id_]
        if task.exited is not None:
            raise Conflict(f"container {id_} is not running")
        if task.frozen:
            task.pending.append(signum)
        elif signum == 9 or (task.args[0] != "stubborn" and signum in (1, 2, 15)):
            self.end(id_, 128 + signum)

    def running(self) -> set[ContainerId]:
        return {id_ for id_, task in self.tasks.items() if task.exited is None}


class FakeCgroup:
    """The control group of one task."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self._world = world
        self._loop = loop
        self._id = ContainerId(path.rsplit("/", 1)[1])

    def freeze(self, timeout_s: float) -> None:
        del timeout_s
        self._world.tasks[self._id].frozen = True

    def thaw(self) -> None:
        task = self._world.tasks[self._id]
        task.frozen = False
        pending, task.pending = task.pending, []
        for signum in pending:
            self._loop.call_soon_threadsafe(self._deliver, signum)

    def _deliver(self, signum: int) -> None:
        if self._world.tasks[self._id].exited is None:
            self._world.signal(self._id, signum)

    def kill(self) -> None:
        self._loop.call_soon_threadsafe(self._world.end, self._id, 137)

    def exists(self) -> bool:
        return self._id in self._world.running()

    def remove(self) -> None:
        self._world.tasks.pop(self._id, None)

    def pids(self) -> list[int]:
        return [os.getpid()]

    def update(self, resources: oci.Resources) -> None:
        if self._world.refusal is not None:
            raise self._world.refusal
        self._world.updates.append(resources)

    def open_oom_notice(self) -> tuple[int, int]:
        notice = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        task = self._world.tasks[self._id]
        task.notices.append(os.dup(notice))
        return notice, select.EPOLLIN

    def oom_kills(self) -> int:
        return self._world.tasks[self._id].oom_kills


class FakeHost:
    """One engine's TaskHost on the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.listener: ShimListener | None = None
        self.logs: dict[ContainerId, LogTarget | None] = {}
        world.host = self

    def tell(self, id_: ContainerId, record: ExitRecord) -> None:
        if self.world.host is self and self.listener is not None:
            self.listener.container_exited(id_, record)

    async def start(
        self,
        id_: ContainerId,
        launch: ContainerLaunch,
        /,
        *,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        console_size: tuple[int, int] | None,
        log: LogTarget | None,
        clients: list[Client],
        namespace_fds: list[int],
        wire: Wiring | None = None,
    ) -> Started:
        del tty, open_stdin, stdin_once, console_size, namespace_fds, wire
        assert id_ not in self.world.running(), "started twice"
        assert launch.spec.process is not None
        args = launch.spec.process.args
        self.logs[id_] = log
        await asyncio.sleep(0)
        if args[0] == "missing":
            for client in clients:
                os.close(client.fd)
            raise StartFailure('exec: "missing": executable file not found in $PATH', 127)
        task = self.world.tasks[id_] = Task(args, self.world.next_pid(), clients=clients)
        if args[0] == "exit":
            # Ends before the engine has recorded the start.
            self.world.end(id_, int(args[1]))
            await asyncio.sleep(0)
        return Started(task.pid)

    def _task(self, id_: ContainerId) -> Task:
        task = self.world.tasks.get(id_)
        if task is None or task.exited is not None:
            raise Conflict(f"container {id_} is not running")
        return task

    async def reconnect(self, id_: ContainerId, /) -> ShimState | None:
        await asyncio.sleep(0)
        task = self.world.tasks.get(id_)
        if task is None or task.exited is not None:
            return None
        return ShimState(task.pid, {str(key): state for key, state in task.execs.items()})

    def find_exit(self, id_: ContainerId, /) -> ExitRecord | None:
        task = self.world.tasks.get(id_)
        return task.exited if task else None

    def known(self) -> list[ContainerId]:
        return list(self.world.tasks)

    async def attach(self, id_: ContainerId, client: Client, /) -> None:
        try:
            self._task(id_).clients.append(client)
        except Conflict:
            os.close(client.fd)
            raise

    async def exec(
        self,
        id_: ContainerId,
        exec_id: ExecId,
        launch: ExecLaunch,
        /,
        *,
        tty: bool,
        open_stdin: bool,
        console_size: tuple[int, int] | None,
        client: Client | None,
    ) -> int:
        del tty, open_stdin, console_size
        task = self._task(id_)
        if launch.process.args[0] == "missing":
            raise StartFailure('exec: "missing": executable file not found in $PATH', 127)
        state = task.execs[exec_id] = ExecState(self.world.next_pid())
        if client is not None:
            task.clients.append(client)
        return state.pid

    def end_exec(self, id_: ContainerId, exec_id: ExecId, code: int) -> None:
        self.world.tasks[id_].execs[exec_id].exit_code = code
        assert self.listener is not None
        self.listener.exec_exited(id_, exec_id, code)

    async def signal(self, id_: ContainerId, signum: int, /) -> None:
        self._task(id_)
        self.world.signal(id_, signum)

    async def signal_exec(self, id_: ContainerId, exec_id: ExecId, signum: int, /) -> None:
        self._task(id_)
        self.end_exec(id_, exec_id, 128 + signum)

    async def resize(
        self, id_: ContainerId, exec_id: ExecId | None, height: int, width: int, /
    ) -> None:
        del exec_id, height, width
        self._task(id_)

    async def open_namespaces(self, id_: ContainerId, types: list[str], /) -> dict[str, int]:
        self._task(id_)
        return {kind: os.open("/dev/null", os.O_RDONLY) for kind in types}

    def forget(self, id_: ContainerId, /) -> None:
        assert id_ not in self.world.running(), "a running task was forgotten"
        self.world.tasks.pop(id_, None)

    def close(self) -> None:
        self.listener = None


@dataclass(frozen=True)
class FakeImage:
    id: ImageId
    config: ImageConfig
    chain_id: str = ""
    size: int = 1000


class FakeImages:
    """One image, ``box``."""

    def on_trash(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def __init__(self) -> None:
        self.listener: Callable[..., None] | None = None
        config = ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFS(),
            config=RunConfig(cmd=["sleep", "9"], env=["A=1"], labels={"from": "image"}),
        )
        self.image = FakeImage(ImageId("sha256:" + "ab" * 32), config)

    def find(self, ref: str) -> FakeImage | None:
        return self.image if ref in ("box", "box:latest", self.image.id) else None

    def get(self, ref: str) -> FakeImage:
        image = self.find(ref)
        if image is None:
            raise NotFound(f"No such image: {ref}:latest")
        return image

    def list(self) -> list[FakeImage]:
        return [self.image]

    def recover(self) -> None:
        pass

    def sweep(self) -> None:
        pass


@dataclass(frozen=True)
class FakeNetwork:
    id: str
    name: str
    driver: str


class FakeNetworks:
    """Gives each container one address; asserts that none is taken twice."""

    def __init__(self) -> None:
        self.held: dict[ContainerId, str] = {}
        self.full = False

    obstacles: Sequence[str] = ()

    async def setup(self, records: Iterable[ContainerRecord]) -> None:
        pass

    def close(self) -> None:
        pass

    async def look_for_obstacles(self) -> None:
        pass

    async def open_namespace(self, record: ContainerRecord, attachment: Attachment) -> None:
        return None

    def advertise(self, container_id: ContainerId) -> None:
        pass

    def needs_namespace(self, container_id: ContainerId) -> bool:
        return False

    def rename(self, record: ContainerRecord) -> dict[str, EndpointSettings]:
        return record.networks

    def get(self, ref: str) -> FakeNetwork:
        if ref not in ("bridge", "none", "host"):
            raise NotFound(f"network {ref} not found")
        return FakeNetwork(f"id-of-{ref}", ref, {"none": "null"}.get(ref, ref))

    def attach(self, record: ContainerRecord) -> Attachment:
        if self.full:
            raise Conflict("no address is free")
        assert record.id not in self.held
        mode = record.host_config.network_mode
        if mode.startswith("container:"):
            return Attachment(join=ContainerId(mode.removeprefix("container:")))
        self.held[record.id] = secrets.token_hex(2)
        endpoint = EndpointSettings(network_id=f"id-of-{mode}", ip_address="192.0.2.1")
        return Attachment(networks={mode: endpoint}, sandbox_id="5a" * 32)

    def release(self, container_id: ContainerId) -> None:
        self.held.pop(container_id, None)

    def holders(self) -> frozenset[ContainerId]:
        return frozenset(self.held)

    def write_files(self, record: ContainerRecord, attachment: Attachment, directory: Path) -> None:
        del record, attachment
        for name in ("hosts", "hostname", "resolv.conf"):
            (directory / name).write_text("")

    def files_directory(self, record: ContainerRecord, containers: Path) -> Path:
        return containers / record.id


class NoSeccomp:
    def profile_for(self, record: ContainerRecord, /) -> oci.Seccomp | None:
        del record
        return None

    async def path_for(self, record: ContainerRecord, /) -> str:
        del record
        return ""


@dataclass
class Bench:
    """An engine on a fake world."""

    engine: Engine
    host: FakeHost
    networks: FakeNetworks
    clock: FakeClock
    seen: list[str] = field(default_factory=list)
    """Events, as ``type action``."""

    def hear(self, event: Event) -> bool:
        self.seen.append(f"{event.type} {event.action}")
        return False

    async def make(
        self,
        *command: str,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        **host: Any,
    ) -> ContainerId:
        created = await self.engine.containers.create(
            name,
            ContainerConfig(image="box", cmd=list(command) or None, **(config or {})),
            HostConfig(**{"network_mode": "none", **host}),
            NetworkingConfig(),
            None,
        )
        return created.id

    async def run(self, *command: str, **options: Any) -> ContainerId:
        id_ = await self.make(*command, **options)
        await self.engine.containers.start(id_)
        return id_

    def status(self, ref: str) -> str:
        return self.engine.containers.get(ref).state.status

    def exists(self, ref: str) -> bool:
        return any(record.id == ref for record in self.engine.containers.list())


async def settle() -> None:
    """Let what was set going by callbacks and threads come to an end."""
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.005)


@asynccontextmanager
async def running_engine(
    root: Path, world: World | None = None, networks: FakeNetworks | None = None
) -> AsyncIterator[Bench]:
    """Run an engine below ``root``; on leaving it is gone, the world stays."""
    world = world or World()
    networks = networks or FakeNetworks()
    clock = FakeClock()
    root.mkdir(exist_ok=True)
    database = Database(root / "barque.db")
    host = FakeHost(world)
    loop = asyncio.get_running_loop()
    engine = build_engine(
        config=EngineConfig(data_root=root),
        database=database,
        registry=Registry(ContainerStore(database)),
        images=cast("ImageService", FakeImages()),
        networks=cast("Networks", networks),
        snapshots=OverlaySnapshotter(root / "snapshots", database, root / "trash"),
        shims=host,
        seccomp=NoSeccomp(),
        facts=make_facts(),
        clock=clock,
        cgroups=lambda path: cast("Cgroup", FakeCgroup(world, loop, path)),
    )
    bench = Bench(engine, host, networks, clock)
    heard = engine.events.subscribe(match=bench.hear)
    try:
        async with engine.running():
            yield bench
    finally:
        heard.close()
        world.host = None
        database.close()
