"""An engine in memory, for the API's tests: records and streams, no kernel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from barque.api.server import ApiServer, Listener, serve
from barque.cgroups.usage import CpuUsage, Usage
from barque.engine.clock import SystemClock
from barque.engine.copying import PathStat
from barque.engine.creation import Created
from barque.engine.events import EventBus
from barque.engine.facts import CgroupFacts
from barque.engine.filters import Filters
from barque.engine.handle import WaitResult
from barque.engine.logfiles import LogEntry
from barque.engine.logs import LogQuery
from barque.engine.runtimes import Runtimes
from barque.engine.shims import Client, StartFailure
from barque.engine.stats import Sample
from barque.engine.system import SystemFacts
from barque.engine.top import Processes
from barque.engine.volumes import Pruned
from barque.errors import BarqueError, Conflict, NotFound, NotModified, PermissionDenied
from barque.images.record import HistoryLine, Image
from barque.models.api import (
    ContainerConfig,
    EndpointSettings,
    ExecConfig,
    HostConfig,
    NetworkingConfig,
    NetworkRequest,
)
from barque.models.container import ContainerRecord, ContainerState, ExecRecord, MountPoint
from barque.models.ids import ContainerId, Digest, ExecId, ImageId
from barque.models.image import HistoryEntry, ImageConfig, RootFS, RunConfig
from barque.models.network import IpamConfig, NetworkRecord
from barque.models.volume import VolumeRecord
from barque.registry.auth import Credentials
from barque.registry.config import RegistryConfig
from barque.snapshots.changes import Changes

IMAGE_ID = ImageId("sha256:" + "ab" * 32)


def make_record(number: int = 1, **changes: Any) -> ContainerRecord:
    """A running container of busybox on the bridge."""
    values: dict[str, Any] = {
        "id": ContainerId(f"{number:064x}"),
        "name": f"c{number}",
        "created": f"2026-01-02T03:04:{number % 60:02}.123456789Z",
        "image_id": IMAGE_ID,
        "config": ContainerConfig(
            hostname=f"{number:064x}"[:12],
            image="busybox:latest",
            cmd=["sleep", "1000"],
            labels={"number": str(number), "app": "test"},
            exposed_ports={"80/tcp": {}},
        ),
        "host_config": HostConfig(network_mode="bridge"),
        "path": "sleep",
        "args": ["1000", "a b"],
        "state": ContainerState(running=True, pid=4000 + number, started_at="2026-01-02T03:05:00Z"),
        "mounts": [
            MountPoint(
                type="volume",
                source="/v/data",
                destination="/data",
                name="data",
                driver="local",
            )
        ],
        "networks": {
            "bridge": EndpointSettings(
                network_id="9" * 64,
                endpoint_id="8" * 64,
                gateway="172.17.0.1",
                ip_address="172.17.0.2",
                ip_prefix_len=16,
                mac_address="02:42:ac:11:00:02",
            )
        },
        "started_once": True,
        "log_path": "/x/log",
    }
    return ContainerRecord(**(values | changes))


Batch = list[LogEntry]


class FakeContainers:
    """Containers. ``calls`` records what was asked for."""

    def __init__(self, events: EventBus) -> None:
        self.records: dict[str, ContainerRecord] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.events = events
        self.waits: dict[str, asyncio.Future[WaitResult]] = {}
        self.entries: list[LogEntry] = []
        self.clients: asyncio.Queue[Client] = asyncio.Queue()
        self.follow_closed = asyncio.Event()
        self.warnings: list[str] = []

    def add(self, record: ContainerRecord) -> ContainerRecord:
        self.records = {record.id: record} | {
            key: value for key, value in self.records.items() if key != record.id
        }
        return record

    def list(self) -> list[ContainerRecord]:
        return list(self.records.values())

    def get(self, ref: str) -> ContainerRecord:
        for record in self.records.values():
            if ref.lstrip("/") in {record.id, record.name, record.id[-12:]}:
                return record
        raise NotFound(f"No such container: {ref}")

    async def create(
        self,
        name: str | None,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str | None,
    ) -> Created:
        self.calls.append(("create", name, config, host, networking, platform))
        record = make_record(
            len(self.records) + 1,
            name=name or "generated_name",
            config=config,
            host_config=host,
            state=ContainerState(),
            started_once=False,
        )
        self.add(record)
        return Created(record.id, self.warnings)

    async def start(self, ref: str) -> None:
        self.calls.append(("start", ref))
        if self.get(ref).state.running:
            raise NotModified("already started")

    async def stop(self, ref: str, signal: str | None, timeout_s: int | None) -> None:
        self.calls.append(("stop", ref, signal, timeout_s))

    async def restart(self, ref: str, signal: str | None, timeout_s: int | None) -> None:
        self.calls.append(("restart", ref, signal, timeout_s))

    async def kill(self, ref: str, signal: str) -> None:
        self.calls.append(("kill", ref, signal))

    async def pause(self, ref: str) -> None:
        self.calls.append(("pause", ref))
        raise Conflict(f"container {ref} is not running")

    async def unpause(self, ref: str) -> None:
        self.calls.append(("unpause", ref))
        raise ZeroDivisionError("a defect")

    async def rename(self, ref: str, new_name: str) -> None:
        self.calls.append(("rename", ref, new_name))

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        self.calls.append(("remove", ref, force, volumes))
        del self.records[self.get(ref).id]

    def wait(self, ref: str, condition: str) -> asyncio.Future[WaitResult]:
        self.calls.append(("wait", ref, condition))
        self.get(ref)
        return self.waits.setdefault(ref, asyncio.get_running_loop().create_future())

    def attachable(self, ref: str) -> ContainerRecord:
        record = self.get(ref)
        if record.state.paused:
            raise Conflict(
                f"container {record.name} is paused, unpause the container before attach"
            )
        return record

    async def attach(self, ref: str, *, client: Client, logs: bool, stream: bool) -> None:
        self.calls.append(("attach", ref, logs, stream))
        await self.clients.put(client)

    async def resize(self, ref: str, height: int, width: int) -> None:
        self.calls.append(("resize", ref, height, width))

    async def top(self, ref: str, ps_args: str) -> Processes:
        self.calls.append(("top", ref, ps_args))
        return Processes(["PID", "CMD"], [["1", "sleep"]])

    async def _read(self, query: LogQuery) -> AsyncIterator[Batch]:
        try:
            yield self.entries
            if query.follow:
                await asyncio.Event().wait()
        finally:
            self.follow_closed.set()

    def logs(self, ref: str, query: LogQuery) -> AsyncIterator[Batch]:
        self.calls.append(("logs", ref, query))
        return self._read(query)

    async def prune(self, filters: Any) -> tuple[Sequence[str], int]:
        self.calls.append(("prune", filters))
        return [], 0

    async def update(self, ref: str, changes: HostConfig) -> Sequence[str]:
        self.get(ref)
        self.calls.append(("update", ref, changes))
        return ["a warning"]

    async def sample(self, ref: str) -> Sample:
        record = self.get(ref)
        if not record.state.running:
            return Sample(record.id, record.name)
        cpu = CpuUsage(total_ns=5_000, user_ns=2_000, system_ns=3_000)
        return Sample(record.id, record.name, 1, Usage(2, cpu, None, None, {}), 9_000, 2)

    def knows(self, ref: str) -> bool:
        return any(record.id == ref for record in self.list())

    async def size(self, ref: str) -> tuple[int, int]:
        self.calls.append(("size", ref))
        return 11, 22


class FakeFiles:
    """Containers' file systems."""

    def __init__(self) -> None:
        self.found: Changes = []
        self.calls: list[tuple[Any, ...]] = []
        self.failure: BarqueError | None = None

    async def changes(self, ref: str) -> Changes:
        self.calls.append(("changes", ref))
        return self.found

    async def export(self, ref: str) -> AsyncGenerator[bytes]:
        self.calls.append(("export", ref))
        if ref == "missing":
            raise NotFound(f"No such container: {ref}")
        yield b"first"
        if self.failure is not None:
            raise self.failure
        yield b"second"

    async def stat_path(self, ref: str, path: str) -> PathStat:
        self.calls.append(("stat", ref, path))
        if path == "/missing":
            raise NotFound(f"Could not find the file {path} in container {ref}")
        return PathStat("f\udcff", 5, 0o644, "2026-01-01T00:00:00Z", "/x")

    async def read_archive(
        self, ref: str, path: str
    ) -> AsyncGenerator[tuple[PathStat, AsyncGenerator[bytes]]]:
        yield await self.stat_path(ref, path), self.export(ref)

    async def write_archive(
        self, ref: str, path: str, stream: AsyncGenerator[bytes], **options: Any
    ) -> None:
        self.calls.append(("write", ref, path, b"".join([part async for part in stream]), options))

    async def commit(self, ref: str, **options: Any) -> ImageId:
        self.calls.append(("commit", ref, options))
        return IMAGE_ID


class FakeExecs:
    """Execs."""

    def __init__(self) -> None:
        self.records: dict[str, ExecRecord] = {}
        self.failure: StartFailure | None = None
        self.clients: asyncio.Queue[Client] = asyncio.Queue()
        self.calls: list[tuple[Any, ...]] = []

    async def create(self, container_ref: str, config: ExecConfig) -> ExecId:
        exec_id = ExecId(f"{len(self.records) + 1:064x}")
        self.records[exec_id] = ExecRecord(
            id=exec_id,
            container_id=ContainerId(container_ref),
            cmd=config.cmd or [],
            env=config.env or [],
            tty=config.tty,
            attach_stdin=config.attach_stdin,
            attach_stdout=config.attach_stdout,
            attach_stderr=config.attach_stderr,
            console_size=config.console_size,
        )
        return exec_id

    def get(self, id_: ExecId) -> ExecRecord:
        try:
            return self.records[id_]
        except KeyError:
            raise NotFound(f"No such exec instance: {id_}") from None

    startable = get

    def of_container(self, container_id: ContainerId) -> list[ExecId]:
        return [ExecId(r.id) for r in self.records.values() if r.container_id == container_id]

    async def start(
        self,
        id_: ExecId,
        *,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None,
        client: Client | None,
    ) -> None:
        self.calls.append(("start", id_, detach, tty, console_size))
        if self.failure is not None:
            raise self.failure
        if client is not None:
            await self.clients.put(client)

    async def resize(self, id_: ExecId, height: int, width: int) -> None:
        self.calls.append(("resize", id_, height, width))


RUNTIMES = Runtimes()
REGISTRIES = RegistryConfig(mirrors=("https://mirror",), insecure=("lab:5000", "10.0.0.0/8"))


class FakeExchange:
    """Registries: what is named ``missing`` is, what is named ``broken`` fails midway."""

    def __init__(self) -> None:
        self.config = RegistryConfig()
        self.calls: list[Any] = []

    async def pull(
        self, name: str, tag: str, *, platform: str, credentials: Credentials
    ) -> AsyncGenerator[dict[str, Any], None]:
        self.calls.append((name, tag, platform, credentials))
        if name == "missing":
            raise NotFound("manifest for missing:latest not found: manifest unknown")
        yield {"status": f"Pulling from library/{name}", "id": tag}
        if name == "broken":
            raise BarqueError("the connection ended early")

    async def push(
        self, name: str, tag: str, *, credentials: Credentials
    ) -> AsyncGenerator[dict[str, Any], None]:
        self.calls.append((name, tag, credentials))
        yield {"status": f"The push refers to repository [docker.io/library/{name}]"}

    async def login(self, credentials: Credentials) -> str:
        if credentials.password != "right":
            raise PermissionDenied("unauthorized: incorrect username or password")
        return "token"

    async def look_up(self, name: str, credentials: Credentials) -> dict[str, Any]:
        self.calls.append((name, credentials))
        return {"Descriptor": {}, "Platforms": []}

    async def inspect_manifest(
        self, name: str, credentials: Credentials, *, insecure: bool
    ) -> dict[str, Any]:
        self.calls.append((name, credentials, insecure))
        return {"IsIndex": False, "Manifests": []}

    async def search(self, term: str, limit: int, credentials: Credentials) -> list[dict[str, Any]]:
        self.calls.append((term, limit, credentials))
        return [
            {"name": f"{term}/{stars}", "star_count": stars, "is_official": stars > 1}
            for stars in range(3)
        ]


class FakeImages:
    """Images."""

    def __init__(self) -> None:
        self.exchange = FakeExchange()
        config = ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFS(diff_ids=["sha256:" + "cd" * 32]),
            config=RunConfig(cmd=["sh"], labels={"a": "b"}),
            history=[HistoryEntry(created_by="", comment="Imported from -")],
        )
        self.images = [
            Image(
                id=IMAGE_ID,
                config=config,
                config_digest=Digest(IMAGE_ID),
                manifest_digest=Digest("sha256:" + "12" * 32),
                layers=[],
                tags=["busybox:latest", "registry:5000/x/busybox:1"],
                digests=[],
                size=1256184,
                created="2026-01-01T00:00:00.5Z",
                chain_id="",
            )
        ]
        self.received = b""

    def list(self) -> list[Image]:
        return self.images

    def find(self, ref: str) -> Image | None:
        for image in self.images:
            if ref in {image.id, image.id[7:], *image.tags} or f"{ref}:latest" in image.tags:
                return image
        return None

    def get(self, ref: str) -> Image:
        image = self.find(ref)
        if image is None:
            raise NotFound(f"No such image: {ref if ':' in ref else ref + ':latest'}")
        return image

    def tag(self, ref: str, repo: str, tag: str) -> Image:
        image = self.get(ref)
        image.tags.append(f"{repo}:{tag or 'latest'}")
        return image

    def measure_shared(self, image: Image) -> int:
        return image.size // 2

    def measure_layers(self) -> int:
        return sum(image.size for image in self.images)

    def history(self, ref: str) -> Sequence[HistoryLine]:
        image = self.get(ref)
        return [
            HistoryLine(
                id=image.id, created=0, created_by="", tags=image.tags, size=1, comment="made"
            )
        ]

    async def prune(
        self, *, match: Any, dangling_only: bool, users: Any
    ) -> tuple[Sequence[dict[str, str]], int]:
        self.pruned = ([image.id for image in self.images if match(image)], dangling_only)
        return [], 0

    async def remove(
        self, ref: str, *, force: bool, prune: bool, users: Any
    ) -> Sequence[dict[str, str]]:
        image = self.get(ref)
        if users(image.id) and not force:
            raise Conflict(f"conflict: unable to remove repository reference {ref!r}")
        return [{"Untagged": ref}]

    async def import_image(
        self, stream: AsyncGenerator[bytes], *, repo: str, tag: str, **options: Any
    ) -> Image:
        self.received = b"".join([part async for part in stream])
        return self.images[0]

    async def load(
        self, stream: AsyncGenerator[bytes], *, quiet: bool, platform: str
    ) -> AsyncGenerator[dict[str, Any]]:
        self.received = b"".join([part async for part in stream])
        yield {"stream": "Loaded image: busybox:latest\n"}
        raise Conflict("the second image is broken")

    async def save(self, names: Sequence[str], *, platform: str) -> AsyncGenerator[bytes]:
        for name in names:
            yield f"{self.get(name).id} {platform}\n".encode()


class FakeVolumes:
    """Volumes."""

    def __init__(self) -> None:
        self.volumes = {name: make_volume(name) for name in ("data", "other")}
        self.calls: list[tuple[Any, ...]] = []

    def list(self) -> list[VolumeRecord]:
        return list(self.volumes.values())

    def get(self, name: str) -> VolumeRecord:
        if name not in self.volumes:
            raise NotFound(f"get {name}: no such volume")
        return self.volumes[name]

    def create(
        self, name: str, driver: str, options: dict[str, str] | None, labels: dict[str, str] | None
    ) -> VolumeRecord:
        return self.volumes.setdefault(name, make_volume(name, labels))

    def remove(self, name: str, *, force: bool) -> None:
        if not force or name in self.volumes:
            del self.volumes[self.get(name).name]

    async def prune(self, filters: Any) -> Pruned:
        self.calls.append(("prune", filters))
        return Pruned(["other"], 7)

    async def usage(self, name: str) -> int:
        return 5


def make_volume(name: str, labels: dict[str, str] | None = None) -> VolumeRecord:
    return VolumeRecord(
        name=name, mountpoint=f"/v/{name}", created="2026-01-01T00:00:00Z", labels=labels
    )


class FakeNetworks:
    """Networks."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.networks = [
            NetworkRecord(
                id="9" * 64,
                name="bridge",
                driver="bridge",
                created="2026-01-01T00:00:00Z",
                ipam=[IpamConfig(subnet="172.17.0.0/16", gateway="172.17.0.1")],
            ),
            NetworkRecord(id="7" * 64, name="host", driver="host", created="2026-01-01T00:00:00Z"),
            NetworkRecord(id="6" * 64, name="none", driver="null", created="2026-01-01T00:00:00Z"),
        ]

    obstacles: Sequence[str] = ()

    async def create(self, request: NetworkRequest) -> NetworkRecord:
        record = NetworkRecord(
            id="5" * 64, name=request.name, driver="bridge", created="2026-01-01T00:00:00Z"
        )
        self.calls.append(("create", request))
        return record

    async def remove(self, ref: str) -> None:
        self.calls.append(("remove", self.get(ref).name))

    async def prune(self, filters: Filters) -> Sequence[str]:
        self.calls.append(("prune", filters))
        return ["old"]

    async def connect(self, ref: str, container: str, asked: EndpointSettings) -> None:
        self.calls.append(("connect", ref, container, asked))

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        self.calls.append(("disconnect", ref, container, force))

    def list(self) -> Sequence[NetworkRecord]:
        return self.networks

    def get(self, ref: str) -> NetworkRecord:
        for network in self.networks:
            if ref in {network.id, network.name}:
                return network
        raise NotFound(f"network {ref} not found")


class FakeSystem:
    """The host."""

    def facts(self) -> SystemFacts:
        return SystemFacts(
            id="AAAA-BBBB",
            hostname="test-host",
            kernel_version="6.1.0",
            operating_system="Debian GNU/Linux 12 (bookworm)",
            os_version="12",
            architecture="x86_64",
            cpus=2,
            memory_bytes=1 << 30,
            cgroups=CgroupFacts(),
            storage_driver="overlay",
            storage_status=[["Backing Filesystem", "ext4"]],
            security_options=["name=seccomp,profile=builtin"],
            ipv4_forwarding=True,
            warnings=[],
        )


@dataclass
class FakeSettings:
    data_root: Path = Path("/var/lib/barque")
    debug: bool = False
    labels: tuple[str, ...] = ("rack=1",)
    log_driver: str = "json-file"
    registries: RegistryConfig = REGISTRIES
    runtimes: Runtimes = RUNTIMES


class FakeChecking:
    """A check that finds one thing."""

    def __init__(self) -> None:
        self.asked: list[tuple[bool, bool]] = []

    async def check(self, *, deep: bool, repair: bool) -> AsyncGenerator[dict[str, Any], None]:
        self.asked.append((deep, repair))
        yield {
            "aux": {"Kind": "blob", "Name": "b", "Problem": "p", "Result": "", "Repaired": False}
        }
        yield {"aux": {"Checked": {"blobs": 1}}}


class FakeEngine:
    """All services."""

    def __init__(self) -> None:
        self.events = EventBus(SystemClock())
        self.containers = FakeContainers(self.events)
        self.files = FakeFiles()
        self.execs = FakeExecs()
        self.images = FakeImages()
        self.volumes = FakeVolumes()
        self.networks = FakeNetworks()
        self.system = FakeSystem()
        self.checking = FakeChecking()


@contextlib.asynccontextmanager
async def serving(engine: FakeEngine | None = None) -> AsyncIterator[Site]:
    """Serve an engine on a unix socket of its own."""
    engine = engine or FakeEngine()
    with tempfile.TemporaryDirectory(prefix="barque-api-") as directory:
        path = f"{directory}/barque.sock"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(path)
        listening.listen()
        server = await serve([Listener(listening)], engine, FakeSettings())
        try:
            yield Site(engine, server, path)
        finally:
            await server.close(grace_s=0.2)


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json()["message"])


@dataclass
class Site:
    """A served engine and a small client for it."""

    engine: FakeEngine
    server: ApiServer
    path: str

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def send(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        reader, writer = await self.open()
        lines = [f"{method} {target} HTTP/1.1", "Host: barque", "Connection: close"]
        data = body if isinstance(body, bytes) else b""
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        if body is not None:
            lines.append(f"Content-Length: {len(data)}")
        lines += [f"{key}: {value}" for key, value in given.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        async with asyncio.timeout(10):
            answer = await read_answer(reader, head_only=method == "HEAD")
        writer.close()
        return answer

    async def get(self, target: str) -> Any:
        answer = await self.send("GET", target)
        assert answer.status == 200, answer
        return answer.json()


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status_line = await reader.readline()
    headers = {}
    while (line := await reader.readline()) not in {b"\r\n", b""}:
        key, _, value = line.decode().partition(":")
        headers[key.strip()] = value.strip()
    return int(status_line.split()[1]), headers


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


async def read_answer(reader: asyncio.StreamReader, *, head_only: bool = False) -> Answer:
    status, headers = await read_head(reader)
    body = b""
    if head_only or status in {204, 304}:
        return Answer(status, headers, body)
    if headers.get("Transfer-Encoding") == "chunked":
        while chunk := await read_chunk(reader):
            body += chunk
    elif "Content-Length" in headers:
        body = await reader.readexactly(int(headers["Content-Length"]))
    else:
        body = await reader.read()
    return Answer(status, headers, body)


@contextlib.contextmanager
def client_socket(client: Client) -> Iterator[socket.socket]:
    """The engine's end of an attached client."""
    with socket.socket(fileno=os.dup(client.fd)) as connected:
        os.close(client.fd)
        connected.setblocking(False)
        yield connected
