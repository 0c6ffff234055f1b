"""The parent's side of a process that is being made: clone it, and follow it to its program.

See ``runtime.status`` for what the two say to each other.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from barque.errors import BarqueError
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, pair_with_senders
from barque.runtime.barrier import close_imports
from barque.runtime.capabilities import last_cap
from barque.runtime.outside import clone_inside
from barque.runtime.reports import Question, Reports
from barque.runtime.status import Created, Failure, Listener, Mounted, Reporter, Unmapped

_TIMEOUT_S = 120.0

_DIED = Failure("start", 0, "the process was killed before it was created", 128)

Child = Callable[[Reporter], None]


class StartError(BarqueError):
    """The process did not get to its program. ``exit_code`` is a shell's: 126, 127 or 128."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.exit_code = failure.exit_code


class Duties(NamedTuple):
    """What the parent does when the process asks; see the table in ``runtime.status``.

    Each gets the pid; ``listener`` also the descriptor, which is closed afterwards. ``created``
    gets the process, which goes on when it returns, and may keep or give away its terminal.
    """

    unmapped: Callable[[int], list[str]]
    mounted: Callable[[int], None]
    listener: Callable[[int, int], None]
    created: Callable[[Process], Process]


class Process(NamedTuple):
    """A process at its gate or in its program. ``master`` is its terminal, or -1."""

    pid: int
    pidfd: int
    master: int
    warnings: list[str]


def spawn(flags: int, joins: dict[str, int], child: Child) -> tuple[int, int, Socket]:
    """Clone a child that runs ``child`` and does not return: its pid, pidfd and reports.

    ``joins`` may have ``user`` and ``pid``: descriptors of what it is to be born into.
    """
    kp.assert_single_thread()
    last_cap()  # read once and kept
    kp.set_dumpable(dumpable=False)  # inherited: nobody in the container sees our memory
    ours, theirs = pair_with_senders()

    def run() -> NoReturn:
        try:
            kp.die_with_parent(signal.SIGKILL)  # a start that was killed leaves nothing
            ours.close()
            close_imports()
            child(Reporter(theirs))
        finally:
            os._exit(255)

    if joins.keys() & {"user", "pid"}:
        pid, pidfd, between = clone_inside(flags, joins)
        if between:
            os.waitpid(between, 0)
    else:
        pid, pidfd = kp.clone_child(flags)
    if pid == 0:
        run()
    theirs.close()
    return pid, pidfd, ours


def follow(
    pid: int,
    pidfd: int,
    status: Socket,
    duties: Duties,
    *,
    terminal: bool,
    to_gate: bool = False,
    branches: bool = False,
    hooks_s: float = 0.0,
) -> Process:
    """Follow the child to its program, or ``to_gate``. Raises StartError, or what a duty raises.

    ``terminal``: it makes one, and hands it over.

    The child of an exec is its preparer: it ``branches``, and the process is another child of ours,
    which alone has anything to ask.

    Then the child is killed and reaped. ``hooks_s``: how long the hooks that it runs may take.
    """
    created = False
    preparer = 0

    def answer(question: Question) -> None:
        nonlocal created
        if created or (branches and not preparer):  # somebody else spoke in its name
            raise StartError(_DIED)
        match question:
            case Unmapped():
                reports.warnings += duties.unmapped(pid)
            case Mounted():
                duties.mounted(pid)
            case Listener(fd=theirs):
                _pass_on(kp.copy_descriptor(pidfd, theirs), pid, duties)
            case Created():
                process = duties.created(Process(pid, pidfd, reports.master, reports.warnings))
                reports.master = process.master
                created = True

    reports = Reports(status, answer, terminal=terminal)
    try:
        while not (created and to_gate):
            _await(reports, _TIMEOUT_S + hooks_s)
            if not reports.take():
                break
            if reports.branched and not preparer:
                process_pidfd = _open_branch(reports.branched)
                _reap(pid, pidfd)
                preparer, pid, pidfd = pid, reports.branched, process_pidfd
                if reports.waits:
                    reports.go()
    except BaseException:
        _end(pid, pidfd, reports.master)
        raise
    finally:
        reports.close()
    if reports.failure is not None or not created:
        _end(pid, pidfd, reports.master)
        raise StartError(reports.failure or _DIED)
    return Process(pid, pidfd, reports.master, reports.warnings)


def _pass_on(listener: int, pid: int, duties: Duties) -> None:
    try:
        duties.listener(pid, listener)
    finally:
        os.close(listener)


def _end(pid: int, pidfd: int, master: int) -> None:
    """Kill and reap what did not become a program; in vain for what is stuck in the kernel."""
    if master >= 0:
        os.close(master)
    kp.end_child(pid, pidfd)
    os.close(pidfd)


def _open_branch(pid: int) -> int:
    try:
        return kp.open_child(pid)
    except ChildProcessError:  # somebody else spoke in its name
        raise StartError(_DIED) from None


def _reap(pid: int, pidfd: int) -> None:
    """Reap a preparer, which is about to leave."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_TIMEOUT_S * 1000):
        raise StartError(Failure("start", 0, "the preparer of the process does not end", 128))
    os.waitpid(pid, 0)
    os.close(pidfd)


def _await(reports: Reports, timeout_s: float) -> None:
    poll = select.poll()
    poll.register(reports, select.POLLIN)
    if not poll.poll(timeout_s * 1000):
        text = f"the process did not get to its program within {timeout_s:.0f} s"
        raise StartError(Failure("start", 0, text, 128))
