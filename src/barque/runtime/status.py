"""What an init tells its shim before execve, one datagram a message.

==========  =============================================  =========================
message     when                                           the shim then
==========  =============================================  =========================
Pty         the terminal exists; its master comes along    keeps the descriptor; answers, and
                                                           takes no further one
Warning     something asked for could not be had           passes it to the engine
Branched    an exec is in the PID namespace: the sender    takes it for the process; answers,
            is its process                                 if asked to, when the preparer is gone
Failure     a stage failed; the process is about to leave  reports it, reaps
(end)       execve closed the socket                       reports the start
==========  =============================================  =========================

Where the OCI life cycle has more to say (hooks, user namespaces, create apart from start), the
init asks and goes on when it has its answer, any datagram:

==========  =============================================  =========================
message     when                                           the parent then
==========  =============================================  =========================
Unmapped    the user namespace has no ids yet              maps them; prepares the rest
Mounted     all is mounted, the old root is still there    runs the runtime's hooks
Listener    the seccomp listener is there                  fetches it, passes it on
Created     only the start is missing                      records it, tells who waits
==========  =============================================  =========================

From the filter on the init only writes and reads: what the program may do, it may do, too. So a
descriptor is not sent then, but fetched by the parent.
"""

from __future__ import annotations

import errno as errno_module
import os
from typing import NoReturn

import msgspec

from barque.errors import BarqueError, KernelError
from barque.kernel.seqpacket import Socket, send


class Pty(msgspec.Struct, tag="pty"):
    """The master of the container's terminal comes with this message. Wants an answer."""


class Warning_(msgspec.Struct, tag="warning"):  # noqa: N801 - Warning is a builtin
    """A limit or privilege that the machine does not grant."""

    message: str


class Branched(msgspec.Struct, tag="branched"):
    """The sender is what the exec's preparer has cloned, see ``runtime.branch``.

    Which it is the kernel says. It ``waits`` until the preparer has been reaped and counts no more.
    """

    waits: bool


class Failure(msgspec.Struct, tag="failure"):
    """Why the process did not start. ``exit_code`` is docker's 126, 127 or 128."""

    stage: str
    errno: int
    message: str
    exit_code: int = 128


class Unmapped(msgspec.Struct, tag="unmapped"):
    """The new user namespace waits for its id mappings. Wants an answer."""


class Mounted(msgspec.Struct, tag="mounted"):
    """Prestart and createRuntime hooks are due. Wants an answer."""


class Created(msgspec.Struct, tag="created"):
    """The process waits to be started. Wants an answer: a maker that has died has made nothing."""


class Listener(msgspec.Struct, tag="listener"):
    """The seccomp listener is the process's descriptor ``fd``. Wants an answer."""

    fd: int


Message = Pty | Warning_ | Branched | Failure | Unmapped | Mounted | Created | Listener

_encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Message).decode


class ExecutableError(BarqueError):
    """The program cannot be run. ``exit_code`` is 126 (not executable) or 127 (not there)."""

    def __init__(self, message: str, exit_code: int, errno: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.errno = errno


class Reporter:
    """The child's end. ``stage`` names what is being done, for the failure report."""

    def __init__(self, end: Socket) -> None:
        self._end = end
        self.stage = "start"

    def fileno(self) -> int:
        """The descriptor, which execve closes."""
        return self._end.fileno()

    def close(self) -> None:
        """Tell the shim that the program runs, where execve does not."""
        self._end.close()

    def pty(self, master_fd: int) -> None:
        """Hand over the terminal's master, and wait until it was taken. Leaves if nobody does."""
        send(self._end, _encode(Pty()), (master_fd,))
        self._await_answer()

    def branched(self, *, waits: bool) -> None:
        """Tell that the caller is the process; with ``waits`` as ``ask``."""
        self._tell(Branched(waits))
        if waits:
            self._await_answer()

    def ask(self, message: Unmapped | Mounted | Listener | Created) -> None:
        """Send ``message`` and wait until the parent has done its part. Leaves if it is gone."""
        self._tell(message)
        self._await_answer()

    def _await_answer(self) -> None:
        if not os.read(self._end.fileno(), 16):
            os._exit(1)

    def warn(self, message: str) -> None:
        """Report what could not be had; the start goes on."""
        self._tell(Warning_(message))

    def fail(self, error: BaseException) -> NoReturn:
        """Report the failure and leave the process."""
        try:
            self._tell(describe(self.stage, error))
        finally:
            os._exit(1)

    def _tell(self, message: Message) -> None:
        os.write(self._end.fileno(), _encode(message))  # one datagram, as send(2) would


def describe(stage: str, error: BaseException) -> Failure:
    """The report for ``error`` in ``stage``."""
    match error:
        case ExecutableError():
            return Failure(stage, error.errno, str(error), error.exit_code)
        case KernelError():
            return Failure(stage, error.errno, f"{stage}: {error}")
        case BarqueError():
            return Failure(stage, errno_module.EINVAL, str(error))
        case OSError():
            where = f" {error.filename}" if error.filename else ""
            text = os.strerror(error.errno or 0).lower()
            return Failure(stage, error.errno or 0, f"{stage}:{where} {text}")
        case _:
            return Failure(stage, 0, f"{stage}: {type(error).__name__}: {error}")
