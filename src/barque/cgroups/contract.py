"""What barque asks of a control group, whichever version the kernel has.

A container has one cgroup path, for instance ``/barque/<id>``. On version 1 it names one
directory in each hierarchy, on version 2 one directory. The life of a cgroup::

    create ── apply ── join (by the first process itself) ── freeze/thaw ── kill ── remove

``create`` and ``remove`` are idempotent: what exists already is taken, what is gone already
is fine. Nothing is remembered in memory: every answer is read from the kernel.
"""

from __future__ import annotations

from typing import Protocol

from barque.models import oci


class Cgroup(Protocol):
    """One container's control group."""

    path: str

    def create(self) -> None:
        """Make the directories, parents included. Raises KernelError."""

    def apply(self, resources: oci.Resources) -> None:
        """Set the limits that are given; leave the others. Raises KernelError."""

    def join(self, pid: int = 0) -> None:
        """Move a process into the group: the calling one, which must have one thread, is 0."""

    def pids(self) -> list[int]:
        """Processes in the group and below it, as the host numbers them."""

    def freeze(self, timeout_s: float = 10.0) -> None:
        """Stop every process. Raises FailedPrecondition if they do not stop in time."""

    def thaw(self) -> None:
        """Let every process go on."""

    def frozen(self) -> bool:
        """Whether the group is frozen."""

    def kill(self) -> None:
        """Send SIGKILL to every process in the group and below it."""

    def oom_kills(self) -> int:
        """How many processes the kernel has killed here for lack of memory."""

    def exists(self) -> bool:
        """Whether the group is there."""

    def children(self) -> list[str]:
        """Names of the groups directly below, in any hierarchy."""

    def remove(self, timeout_s: float = 2.0) -> None:
        """Remove the group and those below it. Raises KernelError(EBUSY) if processes stay."""
