"""``create`` and ``run``: from a bundle to a process at its gate.

Source: runtime-spec bundle.md and runtime.md "Create"; runc(8).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import BarqueError, Conflict, InvalidArgument
from barque.kernel import process as kp
from barque.models import oci
from barque.models.launch import ContainerLaunch, RootfsMount
from barque.runtime import capabilities
from barque.runtime.attributes import selinux_enabled
from barque.runtime.checks import check_spec
from barque.runtime.command.console import check_console, hand_over
from barque.runtime.command.control import destroy
from barque.runtime.command.filters import prepare_filter
from barque.runtime.command.follow import Duties, Process, follow, spawn
from barque.runtime.command.listener import send_listener
from barque.runtime.command.state import Container, Record, Store, class_of_service, start_time
from barque.runtime.gate import StartGate, make_gate
from barque.runtime.hooks import allowance_s, run_hooks
from barque.runtime.init import Ground, InitIo, Lifecycle, clone_flags, run_init
from barque.runtime.mounts import plain_path
from barque.runtime.outside import prepare, settle
from barque.runtime.status import Reporter

_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h


class Options(NamedTuple):
    """The flags of create, run and restore that concern the process."""

    bundle: str
    console_socket: str
    pid_file: str
    preserve_fds: int
    new_keyring: bool
    detached: bool


def load_spec(bundle: str) -> oci.Spec:
    """The bundle's config.json, checked. Raises InvalidArgument, FailedPrecondition."""
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise InvalidArgument(f"JSON specification file {path} not found") from None
    try:
        spec = msgspec.json.decode(text, type=oci.Spec)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{path}: {error}") from None
    _make_absolute(spec, bundle)
    check_spec(spec)
    resources = spec.linux.resources = spec.linux.resources or oci.Resources()
    resources.devices = [oci.DeviceRule(allow=False), *resources.devices]
    return spec


def create(store: Store, id_: str, options: Options) -> tuple[Container, Process]:
    """Make the container; its process waits at its gate. On failure nothing is left.

    What is recorded of it is there before it is: whenever this process is killed, nothing of the
    container runs on, and ``delete --force`` finds what is left.

    Raises InvalidArgument, AlreadyExists, Conflict, StartError and what hooks raise.
    """
    check_preserved(options.preserve_fds + listen_fds())  # before anything of ours is open
    bundle = os.path.realpath(options.bundle)
    spec = load_spec(bundle)
    if spec.process is None:
        raise InvalidArgument("the spec has no process")
    check_console(
        terminal=spec.process.terminal,
        detached=options.detached,
        console_socket=options.console_socket,
    )
    rootfs = os.path.join(bundle, spec.root.path)
    if not spec.root.path or not os.path.isdir(rootfs):
        raise InvalidArgument(f"root.path {rootfs!r} is not a directory")
    _drop_mount_label(spec.linux)
    group = plain_path(spec.linux.cgroups_path)  # ".." leads to no other hierarchy
    spec.linux.cgroups_path = group if group != "/" else f"/{id_}"
    with ExitStack() as undo:
        store.reserve(id_)
        undo.callback(store.forget, id_)
        _check_empty(spec.linux.cgroups_path)
        record = Record(
            id=id_,
            bundle=bundle,
            rootfs=rootfs,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            cgroup=spec.linux.cgroups_path,
            spec=spec,
            creator=os.getpid(),
            creator_start=start_time(os.getpid()),
        )
        prepare_filter(store.root, spec.linux.seccomp)
        creation = _Creation(Container(store, record), options)
        store.save(record)
        undo.pop_all()
    try:
        return creation.run()
    except BaseException:
        _undo(creation.container)
        raise


def _drop_mount_label(linux: oci.Linux) -> None:
    """Without SELinux it would confine nobody, and no file system knows it: warn, and go on.

    A program's label is another matter: who asks for it is told that it would not be confined.
    """
    if linux.mount_label and not selinux_enabled():
        sys.stderr.write(
            f"barque-runtime: mountLabel {linux.mount_label!r} has no effect: SELinux is not "
            "enabled on this host\n"
        )
        linux.mount_label = ""


def _undo(container: Container) -> None:
    """Remove what there is of it. That this failed, too, is less than why it has to be done."""
    try:
        destroy(container)
    except BarqueError as error:
        sys.stderr.write(f"barque-runtime: {error}\n")


def _make_absolute(spec: oci.Spec, bundle: str) -> None:
    """Sources of binds are relative to the bundle, destinations to the root."""
    for mount in spec.mounts:
        if mount.destination:
            mount.destination = os.path.join("/", mount.destination)
        if mount.type == "bind" or {"bind", "rbind"} & set(mount.options):
            mount.source = os.path.join(bundle, mount.source)


def _check_empty(path: str) -> None:
    cgroup = open_cgroup(path)
    if cgroup.exists() and cgroup.frozen():
        raise Conflict(f"container's cgroup {path} is frozen: thaw it first")
    if cgroup.exists() and (left := cgroup.pids()):
        raise Conflict(f"container's cgroup is not empty: {len(left)} process(es) found")


def write_pid_file(path: str, pid: int) -> None:
    """Write the number, whole or not at all."""
    partial = os.path.join(os.path.dirname(path) or ".", f".{os.path.basename(path)}")
    with open(partial, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(partial, path)


def listen_fds() -> int:
    """How many listening sockets the caller passes on; see sd_listen_fds(3)."""
    text = os.environ.get("LISTEN_FDS", "")
    if text and not text.isdecimal():
        raise InvalidArgument(f"LISTEN_FDS={text} is no number")
    return int(text or 0)


def preserved(count: int) -> tuple[int, ...]:
    """The descriptors after the standard ones that the program gets."""
    return tuple(range(3, 3 + count))


def check_preserved(count: int) -> None:
    """Raise InvalidArgument where one of them is not open.

    To be called while no descriptor of ours could be taken for one.
    """
    for fd in preserved(count):
        try:
            os.fstat(fd)
        except OSError:
            raise InvalidArgument(
                f"file descriptor {fd} was to be preserved, but is not open"
            ) from None


def open_namespaces(spec: oci.Spec) -> dict[str, int]:
    """Descriptors of the namespaces that the spec joins. Raises InvalidArgument."""
    joins = {}
    for namespace in spec.linux.namespaces:
        if not namespace.path:
            continue
        try:
            fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
            kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
        except OSError as error:
            raise InvalidArgument(
                f"{namespace.type} namespace {namespace.path}: "
                f"{os.strerror(error.errno or 0).lower()}"
            ) from None
        if kind != kp.NAMESPACES[namespace.type][0]:
            raise InvalidArgument(f"{namespace.path} is no {namespace.type} namespace")
        joins[namespace.type] = fd
    return joins


def warn_of_capabilities(process: oci.Process | None, spec: oci.Spec) -> list[str]:
    """What is to be said of capabilities that the process is not given.

    In a user namespace of its own it may have any that the kernel knows.
    """
    if process is None or process.capabilities is None:
        return []
    inside = any(ns.type == "user" for ns in spec.linux.namespaces)
    available = -1 if inside else capabilities.held().permitted
    missing = capabilities.find_missing(process.capabilities, available)
    if not missing:
        return []
    return [f"ignoring unknown or unavailable capabilities: {', '.join(missing)}"]


class _Creation:
    """One container on its way."""

    def __init__(self, container: Container, options: Options) -> None:
        self.container = container
        self._record = record = container.record
        self._options = options
        self._spec = record.spec
        self._hooks = self._spec.hooks or oci.Hooks()
        if (service := class_of_service(record)) is not None:
            service.check()
        self._joins = open_namespaces(self._spec)
        self._missing = warn_of_capabilities(self._spec.process, self._spec)
        self._gate = make_gate(container.directory)
        self._launch = ContainerLaunch(
            spec=self._spec, rootfs=RootfsMount(type="bind", source=record.rootfs)
        )

    def run(self) -> tuple[Container, Process]:
        """Make the process, and follow it to its gate."""
        spec = self._spec
        ground, binds = prepare(self._launch, self._joins, self._record.rootfs)
        listening = listen_fds()
        if listening and spec.process is not None:
            spec.process.env += [f"LISTEN_FDS={listening}", "LISTEN_PID=1"]
        kept = preserved(self._options.preserve_fds + listening)
        self._netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        flags = clone_flags(spec, self._joins)
        pid, pidfd, status = spawn(
            flags, self._joins, lambda reporter: self._init(reporter, ground, binds, kept)
        )
        for fd in (self._gate, self._netns, *self._joins.values(), *binds.values()):
            os.close(fd)
        if ground is not None:
            os.close(ground.rootfs)
        duties = Duties(self._on_unmapped, self._on_mounted, self._on_listener, self._on_created)
        hooks_s = allowance_s(self._hooks.create_container)
        terminal = spec.process is not None and spec.process.terminal
        process = follow(
            pid, pidfd, status, duties, terminal=terminal, to_gate=True, hooks_s=hooks_s
        )
        return self.container, process

    def _init(
        self,
        reporter: Reporter,
        ground: Ground | None,
        binds: dict[int, int],
        kept: tuple[int, ...],
    ) -> None:
        process = self._spec.process
        terminal = process is not None and process.terminal
        size = process.console_size if process is not None else None
        state = self._record.state("creating", os.getpid())
        started = msgspec.structs.replace(state, status="created")
        lifecycle = Lifecycle(
            hooks=self._hooks,
            state=state,
            gate=StartGate(self._gate, self._hooks.start_container, started),
            preserved=kept,
            new_keyring=self._options.new_keyring,
        )
        io = InitIo(
            reporter,
            None if terminal else (0, 1, 2),
            self._netns,
            self._joins,
            self._record.rootfs,
            (size.height, size.width) if size else None,
            binds,
            ground,
            lifecycle,
        )
        run_init(lambda: self._launch, io)

    def _on_unmapped(self, pid: int) -> list[str]:
        return settle(pid, self._launch, joined="user" in self._joins)

    def _on_mounted(self, pid: int) -> None:
        bundle = self._record.bundle
        state = self._record.state("created", pid)  # what it was before 1.0.2 had "creating"
        run_hooks("prestart", self._hooks.prestart, state, bundle)
        state.status = "creating"
        run_hooks("createRuntime", self._hooks.create_runtime, state, bundle)

    def _on_listener(self, pid: int, fd: int) -> None:
        send_listener(self._spec, self._record.state("creating", pid), pid, fd)

    def _on_created(self, process: Process) -> Process:
        """Nobody learns of the process before it is recorded."""
        record = self._record
        if (service := class_of_service(record)) is not None:
            service.create()
            service.join(process.pid)
        process.warnings.extend(self._missing)
        record.pid, record.start_time = process.pid, start_time(process.pid)
        self.container.store.save(record)
        if self._options.pid_file:
            write_pid_file(self._options.pid_file, process.pid)
        return hand_over(process, self._options.console_socket)
