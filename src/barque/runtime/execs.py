"""A further process in a running container.

The shim makes it inside the container's PID namespace; it joins the container's cgroup and
all its other namespaces, and then takes the same last steps as the init.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from barque.cgroups import open_cgroup
from barque.errors import InvalidArgument
from barque.kernel import process as kp
from barque.kernel.paths import open_in_root
from barque.models.launch import ExecLaunch
from barque.runtime import terminal
from barque.runtime.attributes import parse_list, plan_attributes
from barque.runtime.process import (
    Filter,
    apply_oom_score,
    apply_rlimits,
    connect_stdio,
    execute,
    read_filter,
    split_rlimits,
)
from barque.runtime.rootfs import Root
from barque.runtime.seccomp import compile_filter, notifies
from barque.runtime.status import Reporter
from barque.runtime.users import Identity, resolve

_JOINED = kp.CLONE_NEWNS | kp.CLONE_NEWUTS | kp.CLONE_NEWIPC | kp.CLONE_NEWNET | kp.CLONE_NEWCGROUP


class ExecIo(NamedTuple):
    """What the shim prepared: ``stdio`` is None where the exec makes a terminal."""

    reporter: Reporter
    stdio: tuple[int, int, int] | None
    init_pidfd: int
    console_size: tuple[int, int] | None
    preserved: tuple[int, ...] = ()


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
    attributes = plan_attributes(process, None)
    reporter.stage = "seccomp"
    bpf = _filter(launch)
    affinity = process.exec_cpu_affinity
    if affinity and affinity.initial:
        os.sched_setaffinity(0, parse_list(affinity.initial, "execCPUAffinity initial"))
    reporter.stage = "cgroup"
    if launch.cgroups_path:
        open_cgroup(launch.cgroups_path).join()
    if affinity and affinity.final:
        os.sched_setaffinity(0, parse_list(affinity.final, "execCPUAffinity final"))
    reporter.stage = "limits"
    host_proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if process.oom_score_adj is not None:
        apply_oom_score(process.oom_score_adj, host_proc, reporter)
    now, last = split_rlimits(process.rlimits)
    apply_rlimits(now, reporter)
    reporter.stage = "scheduling"
    attributes.apply()
    reporter.stage = "namespaces"
    flags = _JOINED
    for kind in launch.namespaces:
        flags |= kp.NAMESPACES[kind][0]
    kp.setns(io.init_pidfd, flags)
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
    reporter.stage = "limits"
    apply_rlimits(last, reporter)
    execute(process, identity, bpf, reporter, preserved=io.preserved)


def _filter(launch: ExecLaunch) -> Filter:
    if launch.seccomp is not None:
        return Filter(compile_filter(launch.seccomp), notifies(launch.seccomp))
    return read_filter(launch.seccomp_path)


def _identify(launch: ExecLaunch, root_fd: int) -> Identity:
    if launch.names is not None:
        return resolve(launch.names, lambda path, flags: open_in_root(root_fd, path, flags))
    user = launch.process.user
    return Identity(user.uid, user.gid, (user.gid, *user.additional_gids), "")
