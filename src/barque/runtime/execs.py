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
from barque.runtime.process import apply_oom_score, apply_rlimits, execute, read_filter
from barque.runtime.rootfs import Root
from barque.runtime.status import Reporter
from barque.runtime.users import Identity, resolve

_JOINED = kp.CLONE_NEWNS | kp.CLONE_NEWUTS | kp.CLONE_NEWIPC | kp.CLONE_NEWNET | kp.CLONE_NEWCGROUP


class ExecIo(NamedTuple):
    """What the shim prepared: ``stdio`` is None where the exec makes a terminal."""

    reporter: Reporter
    stdio: tuple[int, int, int] | None
    init_pidfd: int
    console_size: tuple[int, int] | None


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
    reporter.stage = "seccomp"
    bpf = read_filter(launch.seccomp_path)
    reporter.stage = "cgroup"
    if launch.cgroups_path:
        open_cgroup(launch.cgroups_path).join()
    if process.oom_score_adj is not None:
        host_proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        apply_oom_score(process.oom_score_adj, host_proc, reporter)
        os.close(host_proc)
    reporter.stage = "namespaces"
    kp.setns(io.init_pidfd, _JOINED)
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
    reporter.stage = "limits"
    apply_rlimits(process.rlimits, reporter)
    kp.new_session_keyring()
    reporter.stage = "standard streams"
    if slave >= 0:
        terminal.adopt(slave)
    else:
        os.setsid()
        for number, fd in enumerate(io.stdio or ()):
            os.dup2(fd, number)
    execute(process, identity, bpf, reporter)


def _identify(launch: ExecLaunch, root_fd: int) -> Identity:
    if launch.names is not None:
        return resolve(launch.names, lambda path, flags: open_in_root(root_fd, path, flags))
    user = launch.process.user
    return Identity(user.uid, user.gid, (user.gid, *user.additional_gids), "")
