"""How an exec'ed process gets into the container's PID namespace: last, and as what it will be.

Whoever is seen by a container that may trace can be made to do, and to tell, what it can. So what
does the work for an exec is a *preparer* outside, in the engine's PID namespace. When it is all
that the program is to be (namespaces, root, identity, capabilities, filter), it clones the
process, which has nothing more to lose::

    shim ─ clone ─► preparer: joins the container, becomes the user, loads the filter
                       │ clone(CLONE_PARENT) ─► the process, the shim's child:
                       │                          Branched ─► shim, which learns its pid from
                       │                             the kernel, not from what is said
                       leaves; the shim reaps     setsid, the terminal, execve

Nobody else tells the shim of the process. So one that could not tell does not run: it ends when
the shim or the socket has gone, and the shim ends children that it does not know.

A filter may forbid what is left to be done here. Then the process is cloned before that is loaded
and the capabilities are cut; see docs/security.md.

Source: clone(2), pid_namespaces(7), unix(7) SCM_CREDENTIALS.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import NamedTuple

from barque.errors import FailedPrecondition, KernelError
from barque.kernel.process import CLONE, CLONE_PARENT, branch, close_from
from barque.models import oci
from barque.runtime import terminal
from barque.runtime.status import Reporter
from barque.runtime.verdicts import Call, permits

_NPROC = "RLIMIT_NPROC"
_IS_X86_64 = os.uname().machine == "x86_64"
_WRITE, _READ, _IOCTL, _SETSID, _PRLIMIT64 = (
    (1, 0, 16, 112, 302) if _IS_X86_64 else (64, 63, 29, 157, 261)
)


class Branch(NamedTuple):
    """What is left for the process to do when it has been cloned."""

    terminal: bool
    """stdin is a terminal, to be its controlling one."""

    limits: list[oci.Rlimit]
    """Of the number of processes: they would count the preparer, too."""

    @classmethod
    def of(cls, process: oci.Process) -> Branch:
        """What ``process`` needs."""
        limits = [limit for limit in process.rlimits if limit.type == _NPROC]
        return cls(process.terminal, limits)

    def fits(self, code: bytes, reports: int) -> bool:
        """Whether the filter ``code`` permits all of it. ``reports``: the reporter's descriptor."""
        calls = [
            Call(CLONE, (CLONE_PARENT,)),
            Call(_WRITE, (reports,)),
            Call(_SETSID),
        ]
        if self.terminal:
            calls.append(Call(_IOCTL, (0, terminal.TIOCSCTTY)))
        if self.limits:
            calls += [Call(_READ, (reports,)), Call(_PRLIMIT64, (0, resource.RLIMIT_NPROC))]
        return all(permits(code, call) for call in calls)

    def take(self, reporter: Reporter) -> None:
        """Return in the process; who called is the preparer, and leaves.

        Raises FailedPrecondition where there can be no further process, KernelError.
        """
        if _clone():
            try:
                close_from(0)  # the reports end with it
            finally:
                os._exit(0)
        reporter.branched(waits=bool(self.limits))
        os.setsid()
        if self.terminal:
            terminal.control()


def _clone() -> int:
    try:
        return branch()
    except KernelError as error:
        if error.errno == errno.ENOMEM:  # also what a PID namespace that is ending says
            raise FailedPrecondition(
                "the container is not running any more, or has no memory left for a process"
            ) from None
        if error.errno == errno.EAGAIN:
            raise FailedPrecondition(
                "the container has as many processes as it may (an exec takes two for a moment): "
                "raise --pids-limit or --ulimit nproc"
            ) from None
        raise
