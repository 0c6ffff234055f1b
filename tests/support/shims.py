"""Containers started straight through a spawner, without an engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from barque.cgroups import open_cgroup
from barque.engine.shims import Client, ShimHost
from barque.models import oci
from barque.models.ids import ContainerId, ExecId
from barque.models.launch import (
    ContainerLaunch,
    ExecLaunch,
    ExitRecord,
    LogTarget,
    RootfsMount,
    UserNames,
)
from barque.runtime.capabilities import DOCKER
from barque.shim.launcher import Spawner, start_spawner
from support.scale import patient

CGROUP_PARENT = "/barque-test-shims"

_NOSUID = ["nosuid", "noexec", "nodev"]
MOUNTS = [
    oci.Mount(destination="/proc", type="proc", source="proc", options=_NOSUID),
    oci.Mount(destination="/dev", type="tmpfs", source="tmpfs", options=["nosuid", "mode=755"]),
    oci.Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    oci.Mount(destination="/sys", type="sysfs", source="sysfs", options=[*_NOSUID, "ro"]),
    oci.Mount(
        destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=[*_NOSUID, "ro"]
    ),
    oci.Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_NOSUID),
    oci.Mount(destination="/dev/shm", type="tmpfs", source="shm", options=[*_NOSUID, "mode=1777"]),
]
MASKED = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


class Harness:
    """One spawner and host with a BusyBox root; listener of its own events."""

    def __init__(
        self, directory: Path, lower: Path, start: Callable[[], Spawner] = start_spawner
    ) -> None:
        self.directory = directory
        self.lower = lower
        self._spawner = start()
        self._spawner.wait_ready()
        self.spawner_pid = self._spawner.pid
        self._exits: dict[str, asyncio.Future[ExitRecord]] = {}
        self._exec_exits: dict[str, asyncio.Future[int]] = {}
        self.detached: list[str] = []
        self.host = self.new_host()

    def new_host(self) -> ShimHost:
        """An engine's side anew, as after a restart of the engine."""
        return ShimHost(self._spawner, self.directory / "exec", self)

    def container_exited(self, id_: ContainerId, record: ExitRecord) -> None:
        self._exit(id_).set_result(record)

    def exec_exited(self, id_: ContainerId, exec_id: ExecId, code: int) -> None:
        self._exec_exit(exec_id).set_result(code)

    def client_detached(self, id_: ContainerId, exec_id: ExecId | None) -> None:
        self.detached.append(exec_id or id_)

    def _exit(self, id_: str) -> asyncio.Future[ExitRecord]:
        return self._exits.setdefault(id_, asyncio.get_running_loop().create_future())

    def _exec_exit(self, id_: str) -> asyncio.Future[int]:
        return self._exec_exits.setdefault(id_, asyncio.get_running_loop().create_future())

    async def exit(self, id_: str) -> ExitRecord:
        """The container's end, within 20 s."""
        return await asyncio.wait_for(self._exit(id_), 20)

    async def exec_exit(self, exec_id: str) -> int:
        """The exec's exit code, within 20 s."""
        return await asyncio.wait_for(self._exec_exit(exec_id), 20)

    def process(
        self, args: list[str], *, tty: bool = False, env: list[str] | None = None
    ) -> oci.Process:
        caps = list(DOCKER)
        return oci.Process(
            terminal=tty,
            args=args,
            env=["PATH=/bin:/usr/bin", *(env or [])],
            capabilities=oci.Capabilities(bounding=caps, effective=caps, permitted=caps),
        )

    def launch(
        self,
        id_: str,
        args: list[str],
        *,
        tty: bool = False,
        user: str = "",
        init: bool = False,
        readonly: bool = False,
        resources: oci.Resources | None = None,
    ) -> ContainerLaunch:
        snapshot = self.directory / "snapshots" / id_
        for name in ("fs", "work"):
            (snapshot / name).mkdir(parents=True, exist_ok=True)
        kinds = ("pid", "network", "mount", "ipc", "uts", "cgroup")
        return ContainerLaunch(
            spec=oci.Spec(
                hostname=id_,
                root=oci.Root(readonly=readonly),
                mounts=MOUNTS,
                process=self.process(args, tty=tty),
                linux=oci.Linux(
                    namespaces=[oci.Namespace(type=kind) for kind in kinds],
                    cgroups_path=f"{CGROUP_PARENT}/{id_}",
                    masked_paths=MASKED,
                    readonly_paths=READONLY,
                    resources=resources or oci.Resources(devices=[oci.DeviceRule(allow=False)]),
                ),
            ),
            rootfs=RootfsMount(
                type="overlay",
                lower=[str(self.lower)],
                upper=str(snapshot / "fs"),
                work=str(snapshot / "work"),
            ),
            names=UserNames(user=user),
            init=init,
        )

    async def start(
        self,
        id_: str,
        launch: ContainerLaunch,
        *clients: Client,
        open_stdin: bool = False,
        stdin_once: bool = False,
        size: tuple[int, int] | None = None,
        log: LogTarget | None = None,
    ) -> int:
        process = launch.spec.process
        assert process is not None
        started = await self.host.start(
            ContainerId(id_),
            launch,
            tty=process.terminal,
            open_stdin=open_stdin,
            stdin_once=stdin_once,
            console_size=size,
            log=log,
            clients=list(clients),
            namespace_fds=[],
        )
        return started.pid

    async def exec(
        self,
        id_: str,
        exec_id: str,
        args: list[str],
        client: Client | None = None,
        *,
        tty: bool = False,
    ) -> int:
        return await self.host.exec(
            ContainerId(id_),
            ExecId(exec_id),
            ExecLaunch(
                process=self.process(args, tty=tty),
                names=UserNames(),
                cgroups_path=f"{CGROUP_PARENT}/{id_}",
            ),
            tty=tty,
            open_stdin=client is not None and client.stdin,
            console_size=None,
            client=client,
        )

    def cgroup_exists(self, id_: str) -> bool:
        return open_cgroup(f"{CGROUP_PARENT}/{id_}").exists()

    def close(self) -> None:
        self._spawner.close()
        parent = open_cgroup(CGROUP_PARENT)
        parent.kill()
        parent.remove(5)


def client(
    *, stdin: bool = False, multiplexed: bool = False, detach_keys: bytes = b""
) -> tuple[socket.socket, Client]:
    """A connected pair: our end, and the client to pass on."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    passed = Client(
        fd=theirs.detach(),
        stdin=stdin,
        stdout=True,
        stderr=True,
        multiplexed=multiplexed,
        detach_keys=detach_keys,
    )
    return ours, passed


async def read_all(end: socket.socket, timeout_s: float = 60) -> bytes:
    """Everything to the end of the stream."""
    loop = asyncio.get_running_loop()
    chunks = []

    async def read() -> None:
        while data := await loop.sock_recv(end, 1 << 20):
            chunks.append(data)

    await asyncio.wait_for(read(), patient(timeout_s))
    end.close()
    return b"".join(chunks)


async def read_until(end: socket.socket, text: bytes, timeout_s: float = 20) -> bytes:
    """What comes until ``text`` has come."""
    loop = asyncio.get_running_loop()
    data = b""

    async def read() -> None:
        nonlocal data
        while text not in data:
            chunk = await loop.sock_recv(end, 65536)
            assert chunk, f"the stream ended after {data!r}"
            data += chunk

    await asyncio.wait_for(read(), patient(timeout_s))
    return data


def make_root(target: Path, archive: Path) -> Path:
    """Unpack a root file system archive."""
    target.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", target], check=True)
    return target


def run(
    body: Callable[[Harness], Awaitable[None]],
    directory: Path,
    lower: Path,
    start: Callable[[], Spawner] = start_spawner,
) -> None:
    """Run a test's coroutine with a harness that leaves nothing behind."""
    harness = Harness(directory, lower, start)
    try:
        asyncio.run(_body(body, harness))
    finally:
        harness.close()
        shutil.rmtree(directory / "snapshots", ignore_errors=True)
    assert not os.path.exists(f"/proc/{harness.spawner_pid}")


async def _body(body: Callable[[Harness], Awaitable[None]], harness: Harness) -> None:
    try:
        await body(harness)
    finally:
        harness.host.close()
