"""What the use cases ask of the parts below them, as contracts.

Each is as small as its users need, so that a test can bring a part of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from barque.engine.shims import Client, ShimListener, ShimState, Wiring
from barque.images.record import Image as StoredImage
from barque.images.reference import Reference
from barque.models.api import EndpointSettings, NetworkRequest
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId, ExecId, ImageId
from barque.models.image import HistoryEntry, ImageConfig, RunConfig
from barque.models.launch import (
    ContainerLaunch,
    ExecLaunch,
    ExitRecord,
    LogTarget,
)
from barque.models.network import NetworkRecord
from barque.network.attachment import Attachment
from barque.shim.protocol import Started
from barque.snapshots.changes import Changes


class TaskHost(Protocol):
    """Where tasks run. ``barque.engine.shims.ShimHost`` is the real one."""

    listener: ShimListener | None
    """Who is told of ends."""

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
        """Start the task. Takes the clients' descriptors. Raises StartFailure.

        ``wire`` gets the network namespace that the task has made before its program runs.
        """
        ...

    async def reconnect(self, id_: ContainerId, /) -> ShimState | None:
        """Find a task that an earlier engine started; None if it has ended."""
        ...

    def find_exit(self, id_: ContainerId, /) -> ExitRecord | None:
        """Return the exit record that the last run left."""
        ...

    def known(self) -> list[ContainerId]:
        """Return containers that have left anything in the exec-root."""
        ...

    async def attach(self, id_: ContainerId, client: Client, /) -> None:
        """Attach a client. Takes its descriptor."""
        ...

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
        """Run a further process, return its pid. Takes the client on success only."""
        ...

    async def signal(self, id_: ContainerId, signum: int, /) -> None:
        """Signal the task's init. Raises Conflict if it has ended."""
        ...

    async def signal_exec(self, id_: ContainerId, exec_id: ExecId, signum: int, /) -> None:
        """Signal an exec. Raises Conflict if it has ended."""
        ...

    async def resize(
        self, id_: ContainerId, exec_id: ExecId | None, height: int, width: int, /
    ) -> None:
        """Resize a terminal."""
        ...

    async def open_namespaces(self, id_: ContainerId, types: list[str], /) -> dict[str, int]:
        """Return descriptors of the task's namespaces; the caller closes them."""
        ...

    def forget(self, id_: ContainerId, /) -> None:
        """Remove what a run has left in the exec-root. Idempotent."""
        ...

    def close(self) -> None:
        """Let go of all tasks; they go on."""
        ...


class Image(Protocol):
    """What a container takes from its image."""

    @property
    def id(self) -> ImageId:
        """The config's digest."""
        ...

    @property
    def config(self) -> ImageConfig:
        """The config document."""
        ...

    @property
    def chain_id(self) -> str:
        """Parent of the container's snapshot; "" without layers."""
        ...

    @property
    def size(self) -> int:
        """Bytes of its layers."""
        ...


class Images(Protocol):
    """Where images are looked up."""

    def get(self, ref: str, /) -> Image:
        """Return the image. Raises NotFound ``No such image: x:latest``."""
        ...

    def find(self, ref: str, /) -> Image | None:
        """Return the image, or None."""
        ...

    def sweep(self) -> None:
        """Remove layers that nothing uses any more."""
        ...


class CommittingImages(Protocol):
    """Where images are made of containers. ``barque.images.service.ImageService`` is it."""

    def get(self, ref: str, /) -> StoredImage:
        """Return the image. Raises NotFound."""
        ...

    async def commit(
        self,
        key: str,
        changes: Changes,
        *,
        base: StoredImage | None,
        run: RunConfig,
        step: HistoryEntry,
        author: str,
        target: Reference | None,
        packed: Callable[[], Awaitable[None]],
    ) -> StoredImage:
        """Make an image of ``base`` and the changes that a snapshot holds."""
        ...


class NetworkService(Protocol):
    """Addresses and files of containers' networks."""

    @property
    def obstacles(self) -> Sequence[str]:
        """Warnings about other firewalls of this host."""
        ...

    async def look_for_obstacles(self) -> None:
        """Bring ``obstacles`` up to date."""
        ...

    async def setup(self, records: Iterable[ContainerRecord], /) -> None:
        """Make what the host needs, for the containers of the last engine. Idempotent."""
        ...

    async def create(self, request: NetworkRequest, /) -> NetworkRecord:
        """Make a network."""
        ...

    async def remove(self, ref: str, /) -> NetworkRecord:
        """Remove a network that nobody is on."""
        ...

    def list(self) -> Sequence[NetworkRecord]:
        """Return all networks."""
        ...

    def get(self, ref: str, /) -> NetworkRecord:
        """Return a network. Raises NotFound."""
        ...

    def attach(self, record: ContainerRecord, /) -> Attachment:
        """Take addresses for one run."""
        ...

    def release(self, container_id: ContainerId, /) -> None:
        """Give them back. Idempotent."""
        ...

    async def open_namespace(
        self, record: ContainerRecord, attachment: Attachment, /
    ) -> int | None:
        """Return a namespace made ready, or None where the init makes it. It stays theirs."""
        ...

    def advertise(self, container_id: ContainerId, /) -> None:
        """Tell neighbours of a container that has been started."""
        ...

    async def wire(
        self, record: ContainerRecord, attachment: Attachment, namespace_fd: int, /
    ) -> None:
        """Make ready the namespace that a container has made. Takes the descriptor."""
        ...

    def needs_namespace(self, container_id: ContainerId, /) -> bool:
        """Whether ``resume`` has something to do."""
        ...

    async def resume(self, record: ContainerRecord, namespace_fd: int, /) -> None:
        """Go on with a container of the last engine. Takes the descriptor."""
        ...

    async def connect(
        self, record: ContainerRecord, ref: str, asked: EndpointSettings, namespace_fd: int, /
    ) -> Attachment:
        """Put a running container on a network. Takes the descriptor."""
        ...

    async def disconnect(
        self,
        record: ContainerRecord,
        name: str,
        namespace_fd: int,
        keep: Callable[[Attachment], object],
        /,
    ) -> Attachment:
        """Take a running container off a network, once ``keep`` has it recorded.

        Takes the descriptor.
        """
        ...

    def rename(self, record: ContainerRecord, /) -> dict[str, EndpointSettings]:
        """Know a running container by its new name; return its endpoints."""
        ...

    def update_files(
        self, record: ContainerRecord, attachment: Attachment, directory: Path, /
    ) -> None:
        """Bring the files of a running container up to date."""
        ...

    def close(self) -> None:
        """Let go of sockets; containers go on."""
        ...

    def write_files(
        self, record: ContainerRecord, attachment: Attachment, directory: Path, /
    ) -> None:
        """Write hosts, hostname and resolv.conf."""
        ...

    def files_directory(self, record: ContainerRecord, containers: Path, /) -> Path:
        """Return where the container's files are: its own, or those of whom it joins."""
        ...

    def holders(self) -> frozenset[ContainerId]:
        """Return who holds an address."""
        ...
