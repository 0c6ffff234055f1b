"""The commands that make a process in a container: create, run and exec.

To be run from a sealed interpreter; see ``main``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import msgspec

from barque.errors import InvalidArgument, NotImplementedHere
from barque.kernel.process import become_subreaper
from barque.models import oci
from barque.runtime.command import control, creation, execution
from barque.runtime.command.console import FORWARDED, Proxy
from barque.runtime.command.follow import Process
from barque.runtime.command.logfile import write_line
from barque.runtime.command.state import Container, Store


def create(arguments: argparse.Namespace) -> int:
    """``create``: returns when the process waits for its start."""
    _, process = creation.create(
        Store(arguments.root), arguments.id, _creation(arguments, detached=True)
    )
    _warn(arguments, process)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """``run``: create and start; stays until the end, whose code it has, unless detached."""
    if not (arguments.no_subreaper or arguments.detach):
        become_subreaper()
    options = _creation(arguments, detached=arguments.detach)
    container, process = creation.create(Store(arguments.root), arguments.id, options)
    _warn(arguments, process)
    if not arguments.detach:
        _hold_signals()
    try:
        control.start(container)
    except BaseException:
        control.end(container)
        control.destroy(container)
        raise
    if arguments.detach:
        return 0
    code = _stay(process)
    if not arguments.keep:
        control.destroy(container)
    return code


def execute(arguments: argparse.Namespace) -> int:
    """``exec``: stays until the end of the process, whose code it has, unless detached."""
    container = Store(arguments.root).get(arguments.id)
    options = execution.Options(
        console_socket=arguments.console_socket,
        pid_file=arguments.pid_file,
        preserve_fds=arguments.preserve_fds,
        detached=arguments.detach,
        cgroup=arguments.cgroup,
        ignore_paused=arguments.ignore_paused,
    )
    if not arguments.detach:
        _hold_signals()
    process = execution.execute(container, _process(container, arguments), options)
    _warn(arguments, process)
    return 0 if arguments.detach else _stay(process)


def _creation(arguments: argparse.Namespace, *, detached: bool) -> creation.Options:
    if arguments.no_pivot:
        raise NotImplementedHere(
            "--no-pivot is unsafe, and not there: use a root that is no initramfs"
        )
    return creation.Options(
        bundle=arguments.bundle,
        console_socket=arguments.console_socket,
        pid_file=arguments.pid_file,
        preserve_fds=arguments.preserve_fds,
        new_keyring=not arguments.no_new_keyring,
        detached=detached,
    )


def _hold_signals() -> None:
    """Let signals wait until there is a process to pass them on to: see ``_stay``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)


def _stay(process: Process) -> int:
    """Stay in front of ``process`` until it ends; its exit status as a shell shows it."""

    def forward(number: int, _frame: object) -> None:
        try:
            signal.pidfd_send_signal(process.pidfd, number)
        except ProcessLookupError:
            return

    for number in FORWARDED:
        if number < signal.SIGRTMIN and number != signal.SIGPIPE:
            signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    if process.master >= 0:
        with Proxy(process.master) as proxy:
            signal.signal(signal.SIGWINCH, lambda *_: proxy.resize())
            proxy.pump(process.pidfd)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _warn(arguments: argparse.Namespace, process: Process) -> None:
    """Tell where engines look, if they have named a file: standard error is the container's."""
    for warning in process.warnings:
        log = arguments.log
        if not log or write_line(log, arguments.log_format, "warning", warning):
            sys.stderr.write(f"barque-runtime: {warning}\n")


def _process(container: Container, arguments: argparse.Namespace) -> oci.Process:
    """The process that the command line describes, with the container's as its ground."""
    first = container.record.spec.process or oci.Process()
    if arguments.process:
        return execution.read_process(arguments.process, first)
    words = arguments.arguments[1:] if arguments.arguments[:1] == ["--"] else arguments.arguments
    if not words:
        raise InvalidArgument("exec needs a command to run, or --process")
    process = msgspec.structs.replace(first, args=words, terminal=arguments.tty)
    process.env = [*first.env, *arguments.env]
    process.cwd = arguments.cwd or first.cwd
    if arguments.no_new_privs:
        process.no_new_privileges = True
    if arguments.apparmor:
        process.apparmor_profile = arguments.apparmor
    if arguments.process_label:
        process.selinux_label = arguments.process_label
    if arguments.user or arguments.additional_gids:
        process.user = _user(first.user, arguments)
    if arguments.cap:
        known = first.capabilities or oci.Capabilities()
        changed = ["bounding", "effective", "permitted"]
        if known.inheritable:  # without, nothing can be ambient
            changed.append("ambient")
        sets = {name: [*getattr(known, name), *arguments.cap] for name in changed}
        process.capabilities = msgspec.structs.replace(known, **sets)
    return process


def _user(first: oci.User, arguments: argparse.Namespace) -> oci.User:
    uid, colon, gid = arguments.user.partition(":")
    for number in (uid, gid):
        if number and not number.isdecimal():
            raise InvalidArgument(f"--user {arguments.user}: give numbers, UID[:GID]")
    return msgspec.structs.replace(
        first,
        uid=int(uid) if uid else first.uid,
        gid=int(gid) if colon and gid else first.gid,
        additional_gids=[*first.additional_gids, *arguments.additional_gids],
    )
