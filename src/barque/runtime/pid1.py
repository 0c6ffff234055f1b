"""A minimal init: forwards signals to the program, reaps orphans, leaves with its status.

It is the container's first process, gone no further than the fork: no binary is copied into
the container. It runs as the program's user with the program's capabilities and filter, and
its interpreter is a sealed copy that the container cannot write to.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from barque.kernel.process import close_from
from barque.runtime.status import Reporter

_NOT_FORWARDED = frozenset({signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})


def fork_program(reporter: Reporter) -> None:
    """Return in the child, which goes on to execve; the parent stays as PID 1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _take_terminal()
        return
    try:
        reporter.close()
        serve(child)
    except BaseException:  # noqa: BLE001 - nobody is left to tell; the status must be a failure
        os._exit(255)


def _take_terminal() -> None:
    """Make the program's group the terminal's foreground group, where there is a terminal."""
    if os.isatty(0):
        os.tcsetpgrp(0, os.getpid())


def serve(child: int) -> NoReturn:
    """Be PID 1 for ``child`` until it ends, and leave with its status.

    Precondition: all signals are blocked. All descriptors are closed.
    """
    close_from(0)
    signals = signal.valid_signals()
    while True:
        received = signal.sigwaitinfo(signals)
        number = received.si_signo
        if number == signal.SIGCHLD:
            _reap(child)
        elif number not in _NOT_FORWARDED:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue  # it has just ended; its SIGCHLD is on the way


def _reap(child: int) -> None:
    """Reap all that has ended; leave when the program itself is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
