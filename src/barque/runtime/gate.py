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
from barque.runtime.status import Reporter

NAME = "exec.fifo"
_TIMEOUT_MS = 120_000


class StartGate:
    """See ``process.Gate``. Owns the pipe's descriptor."""

    def __init__(self, fd: int, hooks: list[oci.Hook], state: oci.State) -> None:
        self._fd = fd
        self._hooks = hooks
        self._state = state

    def fileno(self) -> int:
        """The pipe, which execve closes."""
        return self._fd

    def wait(self, reporter: Reporter) -> None:
        """Report and wait."""
        reporter.created()
        os.read(self._fd, 1)

    def pass_through(self) -> None:
        """Run the startContainer hooks, with the container's own programs."""
        run_hooks("startContainer", self._hooks, self._state)


def make_gate(directory: str) -> int:
    """Make the pipe; a descriptor of both ends, the caller's, which execve closes."""
    path = f"{directory}/{NAME}"
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def open_gate(directory: str) -> None:
    """Let the created process go on; returns when it has become its program, or ended.

    Raises Conflict if it was started already, or is gone, FailedPrecondition if it does not
    get to its program in time.
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
        if not poll.poll(_TIMEOUT_MS):
            raise FailedPrecondition(
                f"the process did not get to its program within {_TIMEOUT_MS // 1000} s"
            )
    finally:
        os.close(fd)
