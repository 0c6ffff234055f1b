"""What is kept of a container between commands: ``ROOT/ID/state.json``.

Whether it runs is not kept but looked up: in /proc, the gate and the control group.
"""

from __future__ import annotations

import os
import re
import signal
from typing import Self

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import AlreadyExists, Conflict, Internal, InvalidArgument, KernelError, NotFound
from barque.models import oci
from barque.runtime.gate import NAME as GATE
from barque.runtime.resctrl import ClassOfService, find_resctrl

_FILE = "state.json"
_ID = re.compile(r"[A-Za-z0-9_+.-]{1,1024}")


class Record(msgspec.Struct, rename="camel", kw_only=True):
    """One container. ``start_time`` in clock ticks since boot tells its pid from a later one's.

    ``pid`` is 0 until the process has been created, which the process ``creator`` does.
    """

    id: str
    pid: int = 0
    start_time: int = 0
    bundle: str
    rootfs: str
    created: str
    cgroup: str
    spec: oci.Spec
    creator: int = 0
    creator_start: int = 0

    def status(self, directory: str) -> str:
        """``creating``, ``created``, ``running``, ``paused`` or ``stopped``."""
        if not self.pid:
            there = start_time(self.creator) == self.creator_start
            return "creating" if there else "stopped"
        if start_time(self.pid) != self.start_time:
            return "stopped"
        cgroup = open_cgroup(self.cgroup)
        if cgroup.exists() and cgroup.frozen():
            return "paused"
        return "created" if os.path.exists(f"{directory}/{GATE}") else "running"

    def state(self, status: str, pid: int | None = None) -> oci.State:
        """The state as hooks and clients read it; ``pid`` where it is not recorded yet."""
        if pid is None:
            pid = 0 if status == "stopped" else self.pid
        return oci.State(
            oci_version=self.spec.oci_version,
            id=self.id,
            status="running" if status == "paused" else status,
            pid=pid,
            bundle=self.bundle,
            annotations=self.spec.annotations,
        )


def start_time(pid: int) -> int:
    """When process ``pid`` was started; -1 where there is none, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])


def class_of_service(record: Record) -> ClassOfService | None:
    """The container's shares of caches; None where its spec says nothing of them."""
    rdt = record.spec.linux.intel_rdt
    return ClassOfService(find_resctrl(), record.id, rdt) if rdt is not None else None


class Store:
    """All containers under one root directory."""

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, id_: str) -> str:
        """Where the container's files are. Raises InvalidArgument for what is no id."""
        if not _ID.fullmatch(id_) or id_ in {".", ".."}:
            raise InvalidArgument(f"invalid container ID format: {id_!r}")
        return f"{self.root}/{id_}"

    def reserve(self, id_: str) -> str:
        """Make the directory of a new container. Raises InvalidArgument, AlreadyExists."""
        directory = self.directory(id_)
        os.makedirs(self.root, 0o711, exist_ok=True)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise AlreadyExists("container with given ID already exists") from None
        return directory

    def save(self, record: Record) -> None:
        """Keep the record, whole or not at all."""
        path = f"{self.directory(record.id)}/{_FILE}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(f"{path}.part", flags, 0o600), "wb") as file:
            file.write(msgspec.json.encode(record))
        os.rename(f"{path}.part", path)

    def get(self, id_: str) -> Container:
        """The container. Raises NotFound."""
        try:
            with open(f"{self.directory(id_)}/{_FILE}", "rb") as file:
                record = msgspec.json.decode(file.read(), type=Record)
        except FileNotFoundError:
            raise NotFound("container does not exist") from None
        except msgspec.DecodeError as error:
            raise Internal(f"{self.directory(id_)}/{_FILE} is damaged: {error}") from None
        return Container(self, record)

    def list(self) -> list[Container]:
        """All containers, by id."""
        try:
            names = sorted(name for name in os.listdir(self.root) if _ID.fullmatch(name))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            try:
                found.append(self.get(name))
            except NotFound:
                continue  # being made or removed
        return found

    def forget(self, id_: str) -> None:
        """Remove the container's files, if they are there. Raises KernelError."""
        directory = self.directory(id_)
        try:
            for name in os.listdir(directory):  # there are but files
                os.unlink(f"{directory}/{name}")
            os.rmdir(directory)
        except FileNotFoundError:
            return  # another command was faster
        except OSError as error:
            raise KernelError("remove", error.errno or 0, directory) from None


class Container:
    """A container as it is now."""

    def __init__(self, store: Store, record: Record) -> None:
        self.store = store
        self.record = record
        self.directory = store.directory(record.id)

    @property
    def status(self) -> str:
        """See ``Record.status``."""
        return self.record.status(self.directory)

    def open_init(self) -> InitHandle:
        """A handle on the first process. Raises Conflict if it has ended, or is not there yet."""
        try:
            pidfd = os.pidfd_open(self.record.pid) if self.record.pid else -1
        except ProcessLookupError:
            pidfd = -1
        if pidfd < 0 or start_time(self.record.pid) != self.record.start_time:
            if pidfd >= 0:
                os.close(pidfd)
            raise Conflict("container not running")
        return InitHandle(pidfd)


class InitHandle:
    """A pidfd; close after use."""

    def __init__(self, pidfd: int) -> None:
        self.pidfd = pidfd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.pidfd)

    def signal(self, number: int) -> None:
        """Send a signal; a process that has just ended has had its effect."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return
