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
from barque.runtime.checks import check_process
from barque.runtime.command.console import check_console, send_master
from barque.runtime.command.create import check_preserved, preserved, write_pid_file
from barque.runtime.command.follow import Duties, Process, StartError, follow, spawn
from barque.runtime.command.state import Container
from barque.runtime.execs import ExecIo, run_exec
from barque.runtime.status import Failure, Reporter

_BESIDE = ("user", "time")


class Options(NamedTuple):
    """The flags of exec that do not concern the process itself."""

    console_socket: str
    pid_file: str
    preserve_fds: int
    detached: bool
    cgroup: str
    ignore_paused: bool


def read_process(path: str) -> oci.Process:
    """The process document in a file. Raises InvalidArgument."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=oci.Process)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidArgument(f"process file {path}: {error}") from None


def execute(container: Container, process: oci.Process, options: Options) -> Process:
    """Run ``process``; returns when it is its program. Raises Conflict, StartError."""
    check_preserved(options.preserve_fds)  # before anything of ours is open
    status = container.status
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
    launch = ExecLaunch(
        process=process,
        seccomp=record.spec.linux.seccomp,
        cgroups_path=_cgroup(record.cgroup, options.cgroup),
        namespaces=[kind for kind in _BESIDE if _differs(record.pid, kind)],
    )
    kept = preserved(options.preserve_fds)
    size = process.console_size
    with container.open_init() as init:

        def child(reporter: Reporter) -> None:
            stdio = None if process.terminal else (0, 1, 2)
            console = (size.height, size.width) if size else None
            run_exec(lambda: launch, ExecIo(reporter, stdio, init.pidfd, console, kept))

        pid, pidfd, reports = spawn(0, {"pid": init.pidfd}, child)
        started = follow(pid, pidfd, reports, Duties(_asks_nothing, _asks_nothing, _no_listener))
    if options.pid_file:
        write_pid_file(options.pid_file, pid)
    if started.master >= 0 and options.console_socket:
        send_master(options.console_socket, started.master)
        os.close(started.master)
        started = started._replace(master=-1)
    return started


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


def _no_listener(_pid: int, _fd: int) -> NoReturn:
    raise StartError(
        Failure("exec", 0, "a seccomp listener gets the first process only, not exec'ed ones", 128)
    )
