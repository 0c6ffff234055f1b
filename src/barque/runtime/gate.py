"""What stands between create and start, where they are two commands.

The gate is a named pipe in the container's state directory. The created process holds both of its
ends and reads; a start writes one byte, and then waits for the end of the pipe:

============================  ==================================================
what is left in it            what has become of the process
============================  ==================================================
nothing                       its program runs: execve has closed its ends
the start's byte              it had ended before
anything else                 why it did not get there, such as a hook that failed
============================  ==================================================

A start that finds nobody reading knows that the process is gone. Starts at the same time are told
apart by a lock on the pipe.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select

from barque.errors import Conflict, FailedPrecondition
from barque.models import oci
from barque.runtime.hooks import run_hooks
from barque.runtime.status import Created, Reporter

NAME = "exec.fifo"
_TIMEOUT_S = 120.0
_GO = b"\0"
_MESSAGE_BYTES = 4096


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
        self._passed = False

    def fileno(self) -> int:
        """The pipe, which execve closes."""
        return self._fd

    def pass_through(self, reporter: Reporter) -> None:
        """Report, wait, and run the startContainer hooks, with the container's own programs."""
        reporter.ask(Created())
        os.read(self._fd, 1)
        self._passed = True
        run_hooks("startContainer", self._hooks, self._state, ".")

    def tell(self, failure: str) -> None:
        """Have the start that has let us pass, if any, say why there is no program."""
        if self._passed:
            os.write(self._fd, failure.encode(errors="backslashreplace")[:_MESSAGE_BYTES])


def make_gate(directory: str) -> int:
    """Make the pipe; a descriptor of both ends, the caller's, which execve closes."""
    path = f"{directory}/{NAME}"
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def open_gate(directory: str, hooks_s: float) -> None:
    """Let the created process go on; returns when it has become its program, or was killed.

    ``hooks_s``: how long its startContainer hooks may take. Raises Conflict if it was started
    already, or is gone, FailedPrecondition if it does not get to its program, or not in time.
    """
    path = f"{directory}/{NAME}"
    try:
        writes = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Conflict("cannot start an already running container") from None
        if error.errno == errno.ENXIO:
            raise Conflict("cannot start a container that has stopped") from None
        raise
    try:
        reads = os.open(f"/proc/self/fd/{writes}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except BaseException:
        os.close(writes)
        raise
    try:
        _be_the_only_start(writes, path)
        os.write(writes, _GO)
        os.unlink(path)
        os.close(writes)
        writes = -1
        _await_end(reads, _TIMEOUT_S + hooks_s)
    finally:
        os.close(reads)
        if writes >= 0:
            os.close(writes)


def _be_the_only_start(fd: int, path: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict("cannot start an already running container") from None
    if not os.path.exists(path):  # who had the lock before us has started it
        raise Conflict("cannot start an already running container")


def _await_end(reads: int, timeout_s: float) -> None:
    """Wait until nobody writes to the pipe any more, and see what is left in it."""
    poll = select.poll()
    poll.register(reads, 0)  # a hang-up is always told
    if not poll.poll(timeout_s * 1000):
        raise FailedPrecondition(f"the process did not get to its program within {timeout_s:.0f} s")
    left = os.read(reads, _MESSAGE_BYTES)
    if left == _GO:
        raise Conflict("cannot start a container that has stopped")
    if left:
        raise FailedPrecondition(left.decode(errors="replace"))
