"""What stands between create and start, where they are two commands.

The gate is a named pipe in the container's state directory. The created process holds both of
its ends and reads; a start writes one byte. A start that finds nobody reading knows that the
process is gone.
"""

from __future__ import annotations

import errno
import os
import select

from barque.errors import Conflict, FailedPrecondition
from barque.models import oci
from barque.runtime.hooks import run_hooks
from barque.runtime.status import Created, Reporter

NAME = "exec.fifo"
_TIMEOUT_S = 120.0


class ExecGate:
    """The gate of an exec'ed process: open when its maker has told those who wait for it."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def fileno(self) -> int:
        """The reports' own descriptor: nothing else is waited for."""
        return self._reporter.fileno()

    def pass_through(self, reporter: Reporter) -> None:
        """Report, and go on when that is answered."""
        reporter.ask(Created())


class StartGate:
    """See ``process.Gate``. Owns the pipe's descriptor."""

    def __init__(self, fd: int, hooks: list[oci.Hook], state: oci.State) -> None:
        self._fd = fd
        self._hooks = hooks
        self._state = state

    def fileno(self) -> int:
        """The pipe, which execve closes."""
        return self._fd

    def pass_through(self, reporter: Reporter) -> None:
        """Report, wait, and run the startContainer hooks, with the container's own programs."""
        reporter.ask(Created())
        os.read(self._fd, 1)
        run_hooks("startContainer", self._hooks, self._state, ".")


def make_gate(directory: str) -> int:
    """Make the pipe; a descriptor of both ends, the caller's, which execve closes."""
    path = f"{directory}/{NAME}"
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def open_gate(directory: str, hooks_s: float) -> None:
    """Let the created process go on; returns when it has become its program, or ended.

    ``hooks_s``: how long its startContainer hooks may take. Raises Conflict if it was started
    already, or is gone, FailedPrecondition if it does not get to its program in time.
    """
    path = f"{directory}/{NAME}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Conflict("cannot start an already running container") from None
        if error.errno == errno.ENXIO:
            raise Conflict("cannot start a container that has stopped") from None
        raise
    try:
        os.write(fd, b"0")
        os.unlink(path)
        poll = select.poll()
        poll.register(fd, 0)  # an error is always told: nobody holds the other end
        timeout_s = _TIMEOUT_S + hooks_s
        if not poll.poll(timeout_s * 1000):
            raise FailedPrecondition(
                f"the process did not get to its program within {timeout_s:.0f} s"
            )
    finally:
        os.close(fd)
