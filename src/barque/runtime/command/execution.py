"""``exec``: a further process in a container.

Source: runc-exec(8).
"""

from __future__ import annotations

import os
from typing import NamedTuple, NoReturn

import msgspec

from barque.errors import Conflict, InvalidArgument
from barque.kernel import process as kp
from barque.models import oci
from barque.models.launch import ExecLaunch
from barque.runtime.attributes import plan_attributes
from barque.runtime.checks import check_process
from barque.runtime.command.console import check_console, hand_over
from barque.runtime.command.creation import (
    check_preserved,
    preserved,
    warn_of_capabilities,
    write_pid_file,
)
from barque.runtime.command.filters import prepare_filter
from barque.runtime.command.follow import Duties, Process, StartError, follow, spawn
from barque.runtime.command.listener import send_listener
from barque.runtime.command.state import Container, class_of_service
from barque.runtime.execs import ExecIo, run_exec
from barque.runtime.gate import ExecGate
from barque.runtime.status import Failure, Reporter

_BESIDE = ("user", "time")
_INHERITED = (
    "apparmor_profile",
    "exec_cpu_affinity",
    "io_priority",
    "rlimits",
    "scheduler",
    "selinux_label",
)


class Options(NamedTuple):
    """The flags of exec that do not concern the process itself."""

    console_socket: str
    pid_file: str
    preserve_fds: int
    detached: bool
    cgroup: str
    ignore_paused: bool


def read_process(path: str, first: oci.Process) -> oci.Process:
    """The process document in a file; what it leaves out is as with ``first``, the container's.

    That is what runc takes from there: neither noNewPrivileges nor the OOM score, which a
    document that is silent denies. Raises InvalidArgument.
    """
    try:
        with open(path, "rb") as file:
            process = msgspec.json.decode(file.read(), type=oci.Process)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidArgument(f"process file {path}: {error}") from None
    if process.user.umask is None:
        process.user.umask = first.user.umask
    for name in _INHERITED:
        if not getattr(process, name):
            setattr(process, name, getattr(first, name))
    if process.capabilities is None:
        process.capabilities = first.capabilities
    return process


def execute(container: Container, process: oci.Process, options: Options) -> Process:
    """Run ``process``; returns when it is its program. Raises Conflict, StartError.

    Who waits for its number or its terminal is told before it runs: where that fails it does not.
    """
    check_preserved(options.preserve_fds)  # before anything of ours is open
    status = container.status
    if status == "creating":
        raise Conflict("cannot exec in a container that is still being created")
    if status == "stopped":
        raise Conflict("cannot exec in a stopped container")
    if status == "paused" and not options.ignore_paused:
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
    check_process(process, None)
    check_console(
        terminal=process.terminal,
        detached=options.detached,
        console_socket=options.console_socket,
    )
    record = container.record
    prepare_filter(container.store.root, record.spec.linux.seccomp)
    launch = ExecLaunch(
        process=process,
        seccomp=record.spec.linux.seccomp,
        cgroups_path=_cgroup(record.cgroup, options.cgroup),
        namespaces=[kind for kind in _BESIDE if _differs(record.pid, kind)],
        personality=record.spec.linux.personality,
        memory_policy=record.spec.linux.memory_policy,
    )

    attributes = plan_attributes(process, None)
    missing = warn_of_capabilities(process, record.spec)

    def tell(started: Process) -> Process:
        started.warnings.extend(missing)
        attributes.apply_rest(started.pid)
        if (service := class_of_service(record)) is not None:
            service.join(started.pid)
        if options.pid_file:
            write_pid_file(options.pid_file, started.pid)
        return hand_over(started, options.console_socket)

    def pass_on(pid: int, fd: int) -> None:
        send_listener(record.spec, record.state("running"), pid, fd)

    kept = preserved(options.preserve_fds)
    size = process.console_size
    with container.open_init() as init:

        def child(reporter: Reporter) -> None:
            stdio = None if process.terminal else (0, 1, 2)
            console = (size.height, size.width) if size else None
            gate = ExecGate(reporter)
            run_exec(lambda: launch, ExecIo(reporter, stdio, init.pidfd, console, kept, gate))

        pid, pidfd, reports = spawn(0, {}, child)
        duties = Duties(_asks_nothing, _asks_nothing, pass_on, tell)
        return follow(pid, pidfd, reports, duties, terminal=process.terminal, branches=True)


def _differs(pid: int, kind: str) -> bool:
    """Whether the container's namespace is another than ours: joining our own may be refused."""
    name = kp.NAMESPACES[kind][1]
    try:
        return os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino
    except FileNotFoundError:
        return False  # a kernel without this kind of namespace


def _cgroup(path: str, below: str) -> str:
    """The group that the process joins: the container's, or one below it (``--cgroup``)."""
    relative = below.rpartition(":")[2].strip("/")
    if ".." in relative.split("/"):
        raise InvalidArgument(f"--cgroup {below}: is not below the container's group")
    return f"{path}/{relative}" if relative else path


def _asks_nothing(_pid: int) -> NoReturn:
    raise StartError(Failure("exec", 0, "the process asked for what only an init asks for", 128))
