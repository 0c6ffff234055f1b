"""A further process in a running container.

The shim makes a preparer of it, which joins the container's cgroup and all its namespaces, takes
the same last steps as the init, and branches off the process when nothing else is to be done; see
``runtime.branch``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from barque.cgroups import open_cgroup
from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel import process as kp
from barque.kernel.paths import open_in_root
from barque.models import oci
from barque.models.launch import ExecLaunch
from barque.runtime import terminal
from barque.runtime.attributes import parse_list, plan_attributes
from barque.runtime.branch import Branch
from barque.runtime.process import (
    Gate,
    apply_oom_score,
    connect_stdio,
    execute,
    find_filter,
    lift_rlimits,
)
from barque.runtime.rootfs import Root
from barque.runtime.status import Reporter
from barque.runtime.userns import become_root
from barque.runtime.users import Identity, by_numbers, resolve

_JOINED = (
    kp.CLONE_NEWNS
    | kp.CLONE_NEWUTS
    | kp.CLONE_NEWIPC
    | kp.CLONE_NEWNET
    | kp.CLONE_NEWCGROUP
    | kp.CLONE_NEWPID  # of what is cloned
)


class ExecIo(NamedTuple):
    """What the shim prepared: ``stdio`` is None where the exec makes a terminal."""

    reporter: Reporter
    stdio: tuple[int, int, int] | None
    init_pidfd: int
    console_size: tuple[int, int] | None
    preserved: tuple[int, ...] = ()
    gate: Gate | None = None
    """What it passes before it becomes its program."""


def run_exec(read_launch: Callable[[], ExecLaunch], io: ExecIo) -> NoReturn:
    """Join the container and become the program; report and leave on any failure."""
    try:
        _run(read_launch(), io)
    except BaseException as error:  # noqa: BLE001 - reported to the shim, then the process ends
        io.reporter.fail(error)


def _run(launch: ExecLaunch, io: ExecIo) -> NoReturn:
    process = launch.process
    reporter = io.reporter
    if not process.args:
        raise InvalidArgument("the exec has no command to run")
    attributes = plan_attributes(
        process, oci.Linux(personality=launch.personality, memory_policy=launch.memory_policy)
    )
    reporter.stage = "seccomp"
    bpf = find_filter(launch.seccomp, launch.seccomp_path)
    affinity = process.exec_cpu_affinity
    if affinity:
        _set_affinity(affinity.initial, "initial", reporter)
    reporter.stage = "cgroup"
    if launch.cgroups_path:
        _join(launch.cgroups_path, io.init_pidfd)
    if affinity:
        _set_affinity(affinity.final, "final", reporter)
    reporter.stage = "limits"
    host_proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if process.oom_score_adj is not None:
        apply_oom_score(process.oom_score_adj, host_proc, reporter)
    lift_rlimits(process.rlimits)
    reporter.stage = "scheduling"
    attributes.passed_on().apply()
    reporter.stage = "namespaces"
    flags = _JOINED
    for kind in launch.namespaces:
        flags |= kp.NAMESPACES[kind][0]
    _enter(io.init_pidfd, flags)
    if "user" in launch.namespaces:
        become_root()  # what is made from here on is its
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    reporter.stage = "terminal"
    slave = -1
    if process.terminal:
        master, slave = terminal.open_pair(Root.of(root_fd))
        if io.console_size:
            terminal.resize(master, *io.console_size)
        reporter.pty(master)
        os.close(master)
    reporter.stage = "user"
    identity = _identify(launch, root_fd)
    kp.new_session_keyring()
    reporter.stage = "labels"
    attributes.apply_labels(host_proc)
    os.close(host_proc)
    reporter.stage = "standard streams"
    connect_stdio(io.stdio, slave)
    execute(
        process,
        identity,
        bpf,
        reporter,
        gate=io.gate,
        preserved=io.preserved,
        branch=Branch.of(process),
    )


def _set_affinity(cpus: str, which: str, reporter: Reporter) -> None:
    if not cpus:
        return
    reporter.stage = "processors"
    try:
        os.sched_setaffinity(0, parse_list(cpus, f"execCPUAffinity {which}"))
    except OSError as error:
        raise KernelError(
            "sched_setaffinity", error.errno or 0, cpus,
            f"execCPUAffinity {which}: none of these processors is among those it may use",
        ) from None  # fmt: skip


def _enter(init_pidfd: int, flags: int) -> None:
    try:
        kp.setns(init_pidfd, flags)
    except KernelError as error:
        if error.errno == errno.ESRCH:
            raise FailedPrecondition("the container is not running any more") from None
        raise


def _join(path: str, init_pidfd: int) -> None:
    """Join the container's group; on version 2 the init's where it has made groups of its own.

    A group that passes controllers on holds no process itself: an init such as systemd's has
    moved into one below.
    """
    try:
        open_cgroup(path).join()
    except FailedPrecondition:
        below = _cgroup_of(init_pidfd)
        if not below.startswith(f"{path}/"):
            raise
        open_cgroup(below).join()


def _cgroup_of(pidfd: int) -> str:
    """The version 2 group of the process. To be called where /proc is the host's."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="utf-8") as file:
        pid = next((line[4:].strip() for line in file if line.startswith("Pid:")), "")
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "")


def _identify(launch: ExecLaunch, root_fd: int) -> Identity:
    if launch.names is not None:
        return resolve(launch.names, lambda path, flags: open_in_root(root_fd, path, flags))
    return by_numbers(launch.process, lambda path, flags: open_in_root(root_fd, path, flags))
