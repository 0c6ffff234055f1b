"""What barque asks of a control group, whichever version the kernel has.

A container has one cgroup path, for instance ``/barque/<id>``. On version 1 it names one
directory in each hierarchy, on version 2 one directory. The life of a cgroup::

    create ── apply ── join (by the first process itself) ── update, freeze/thaw ── kill ── remove

``create`` and ``remove`` are idempotent: what exists already is taken, what is gone already
is fine. Nothing is remembered in memory: every answer is read from the kernel.
"""

from __future__ import annotations

from typing import Protocol

from barque.cgroups.usage import RareUsage, Usage
from barque.models import oci


class Cgroup(Protocol):
    """One container's control group."""

    path: str

    def create(self, *, mountable: bool = False) -> None:
        """Make the directories, parents included.

        ``mountable``: also where the group limits nothing, for a container that has a cgroup
        namespace and may mount: what it mounts then begins at its own group everywhere.

        Raises KernelError; FailedPrecondition where a group above may have none below it.
        """

    def apply(self, resources: oci.Resources) -> None:
        """Set the limits that are given; leave the others.

        Raises KernelError for a value that the kernel refuses, FailedPrecondition for a limit
        that this kernel lacks, InvalidArgument; all name docker's flag. Some may be set then.
        """

    def update(self, resources: oci.Resources) -> None:
        """Set the limits that are given, all of them or none. Raises as ``apply``.

        Device rules, which come last, replace those before.
        """

    def join(self, pid: int = 0) -> None:
        """Move a process into the group: the calling one, which must have one thread, is 0."""

    def open(self) -> int:
        """A descriptor of the group for clone3 to make a process in; the caller owns it.

        -1 on version 1, where a process can only join.
        """

    def pids(self) -> list[int]:
        """Processes in the group and below it, as the host numbers them."""

    def freeze(self, timeout_s: float = 10.0) -> None:
        """Stop every process. Raises FailedPrecondition if they do not stop in time."""

    def thaw(self) -> None:
        """Let every process go on."""

    def frozen(self) -> bool:
        """Whether the group is frozen."""

    def signal(self, number: int) -> None:
        """Send a signal to every process in the group and below it."""

    def kill(self) -> None:
        """Send SIGKILL to every process in the group and below it."""

    def oom_kills(self) -> int:
        """How many processes the kernel has killed here for lack of memory."""

    def open_oom_notice(self) -> tuple[int, int]:
        """A descriptor that tells when memory runs out here, and the EPOLL* event by which.

        The caller owns it, and reads it once for each event: ``os.pread(fd, 4096, 0)`` on
        version 2, ``os.read(fd, 8)`` on version 1. Raises KernelError.
        """

    def usage(self) -> Usage:
        """What the group has used until now. Raises KernelError if it is gone."""

    def rare_usage(self) -> RareUsage:
        """What else is known of that. Raises KernelError."""

    def exists(self) -> bool:
        """Whether the group is there."""

    def children(self) -> list[str]:
        """Names of the groups directly below, in any hierarchy."""

    def remove(self, timeout_s: float = 2.0) -> None:
        """Remove the group and those below it. Raises KernelError(EBUSY) if processes stay."""
