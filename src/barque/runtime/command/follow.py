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
from barque.kernel.seqpacket import Socket, pair, receive
from barque.runtime.barrier import close_imports
from barque.runtime.outside import clone_inside
from barque.runtime.status import (
    Created,
    Failure,
    Listener,
    Mounted,
    Pty,
    Reporter,
    Unmapped,
    Warning_,
    decode,
)

_TIMEOUT_MS = 120_000

_DIED = Failure("start", 0, "the process was killed before it was created", 128)

Child = Callable[[Reporter], None]


class StartError(BarqueError):
    """The process did not get to its program. ``exit_code`` is a shell's: 126, 127 or 128."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.exit_code = failure.exit_code


class Duties(NamedTuple):
    """What the parent does when the process asks; see the table in ``runtime.status``.

    Each gets the pid; ``listener`` also the descriptor, which is closed afterwards.
    """

    unmapped: Callable[[int], list[str]]
    mounted: Callable[[int], None]
    listener: Callable[[int, int], None]


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
    kp.set_dumpable(dumpable=False)  # inherited: nobody in the container sees our memory
    ours, theirs = pair()

    def run() -> NoReturn:
        try:
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
    pid: int, pidfd: int, status: Socket, duties: Duties, *, to_gate: bool = False
) -> Process:
    """Follow the child to its program, or ``to_gate``. Raises StartError, or what a duty raises.

    Then the child is killed and reaped.
    """
    master, warnings = -1, []
    failure = _DIED if to_gate else None
    try:
        while (message := _next(status)) is not None:
            told, fds = message
            match told:
                case Pty():
                    master = fds[0]
                case Warning_(message=text):
                    warnings.append(text)
                case Created():
                    failure = None
                    break
                case Failure():
                    failure = told
                case Unmapped():
                    warnings += duties.unmapped(pid)
                    status.send(b"go")
                case Mounted():
                    duties.mounted(pid)
                    status.send(b"go")
                case Listener():
                    duties.listener(pid, fds[0])
                    os.close(fds[0])
                    status.send(b"go")
    except BaseException:
        _end(pid, pidfd, master)
        raise
    if failure is not None:
        _end(pid, pidfd, master)
        raise StartError(failure)
    return Process(pid, pidfd, master, warnings)


def _end(pid: int, pidfd: int, master: int) -> None:
    if master >= 0:
        os.close(master)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.waitpid(pid, 0)
        os.close(pidfd)


def _next(status: Socket) -> tuple[object, list[int]] | None:
    poll = select.poll()
    poll.register(status, select.POLLIN)
    if not poll.poll(_TIMEOUT_MS):
        waited_s = _TIMEOUT_MS // 1000
        text = f"the process did not get to its program within {waited_s} s"
        raise StartError(Failure("start", 0, text, 128))
    data, fds = receive(status)
    return (decode(data), fds) if data else None
