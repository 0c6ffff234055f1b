"""What a spec says of a process beside its limits: scheduling, priorities, labels, domain.

``plan_attributes`` is pure: it checks everything before anything is done, and gives numbers.
``Attributes.apply`` changes the calling process, between fork and execve.

Source: runtime-spec config.md "Linux Process" and config-linux.md "Personality"; sched(7).
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from barque.cgroups import lists
from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel import scheduling
from barque.kernel.procfs import write_proc
from barque.models import oci

_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_DEADLINE, _RESET_ON_FORK = 6, 0x01
_REAL_TIME = frozenset({"SCHED_FIFO", "SCHED_RR"})
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
_MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
_MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


class Attributes(NamedTuple):
    """Numbers for the kernel; None leaves what the process has inherited."""

    scheduler: tuple[int, int, int, int, int, int, int] | None = None
    io_priority: tuple[int, int] | None = None
    personality: int | None = None
    memory_policy: tuple[int, list[int]] | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""

    def apply(self) -> None:
        """Set all but the labels, as long as the process is privileged. Raises KernelError."""
        if self.scheduler is not None:
            scheduling.set_scheduler(*self.scheduler)
        if self.io_priority is not None:
            scheduling.set_io_priority(*self.io_priority)
        if self.memory_policy is not None:
            scheduling.set_memory_policy(*self.memory_policy)
        if self.personality is not None:
            scheduling.set_personality(self.personality)

    def passed_on(self) -> Attributes:
        """Those that a fork passes on: not SCHED_DEADLINE, nor what is reset by it."""
        if self.scheduler is None:
            return self
        policy, flags, *_ = self.scheduler
        inherited = policy != _DEADLINE and not flags & _RESET_ON_FORK
        return self if inherited else self._replace(scheduler=None)

    def apply_rest(self, pid: int) -> None:
        """Set the others for the process ``pid``. Raises KernelError."""
        if self.scheduler is not None and self.passed_on().scheduler is None:
            scheduling.set_scheduler(*self.scheduler, pid=pid)

    def apply_labels(self, proc_fd: int) -> None:
        """Say under which AppArmor profile and SELinux label execve shall run the program.

        ``proc_fd`` is a procfs of our own. Raises as ``write_proc``, KernelError from the write.
        """
        if profile := self.apparmor_profile:
            path = "thread-self/attr/apparmor/exec"
            _write_label(proc_fd, path, f"exec {profile}", errno.ENOENT,
                         f'AppArmor profile "{profile}" is not loaded on this host: load it with '
                         "apparmor_parser, or choose another")  # fmt: skip
        if label := self.selinux_label:
            _write_label(proc_fd, "thread-self/attr/exec", label, errno.EINVAL,
                         f'this host\'s policy has no such SELinux label as "{label}"')  # fmt: skip


def _write_label(proc_fd: int, path: str, value: str, unknown: int, hint: str) -> None:
    """Write a label; ``hint`` says what the error ``unknown`` means."""
    try:
        write_proc(proc_fd, path, value)
    except OSError as error:
        number = error.errno or 0
        raise KernelError("write", number, path, hint if number == unknown else "") from None


def plan_attributes(process: oci.Process, linux: oci.Linux | None) -> Attributes:
    """Check and translate. Raises InvalidArgument, FailedPrecondition for a host without LSM."""
    if process.apparmor_profile and not apparmor_enabled():
        raise FailedPrecondition(
            f"AppArmor profile {process.apparmor_profile!r} asked for, but AppArmor is not enabled "
            "on this host: enable it, or ask for no profile"
        )
    if process.selinux_label and not selinux_enabled():
        raise FailedPrecondition(
            f"SELinux label {process.selinux_label!r} asked for, but SELinux is not enabled on "
            "this host: enable it, or ask for no label"
        )
    return Attributes(
        scheduler=_plan_scheduler(process.scheduler),
        io_priority=_plan_io_priority(process.io_priority),
        personality=_plan_personality(linux.personality if linux else None),
        memory_policy=_plan_memory_policy(linux.memory_policy if linux else None),
        apparmor_profile=process.apparmor_profile,
        selinux_label=process.selinux_label,
    )


def _look_up(table: dict[str, int], word: str, what: str) -> int:
    try:
        return table[word]
    except KeyError:
        raise InvalidArgument(
            f"unknown {what} {word!r}: choose one of {', '.join(table)}"
        ) from None


def _plan_scheduler(
    scheduler: oci.Scheduler | None,
) -> tuple[int, int, int, int, int, int, int] | None:
    if scheduler is None:
        return None
    policy = _look_up(_POLICIES, scheduler.policy, "scheduler policy")
    flags = 0
    for flag in scheduler.flags:
        flags |= _look_up(_SCHEDULER_FLAGS, flag, "scheduler flag")
    if not -20 <= scheduler.nice <= 19:
        raise InvalidArgument(f"scheduler nice {scheduler.nice} is not in -20 to 19")
    real_time = scheduler.policy in _REAL_TIME
    if scheduler.priority and not real_time:
        raise InvalidArgument("scheduler priority is for SCHED_FIFO and SCHED_RR only")
    if real_time and not 1 <= scheduler.priority <= 99:
        raise InvalidArgument(f"scheduler priority {scheduler.priority} is not in 1 to 99")
    times = (scheduler.runtime, scheduler.deadline, scheduler.period)
    if any(times) and scheduler.policy != "SCHED_DEADLINE":
        raise InvalidArgument("scheduler runtime, deadline and period are for SCHED_DEADLINE only")
    return (policy, flags, scheduler.nice, scheduler.priority, *times)


def _plan_io_priority(io: oci.IoPriority | None) -> tuple[int, int] | None:
    if io is None:
        return None
    class_ = _look_up(_IO_CLASSES, io.class_, "I/O priority class")
    if not 0 <= io.priority <= 7:
        raise InvalidArgument(f"I/O priority {io.priority} is not in 0 to 7")
    return class_, io.priority


def _plan_personality(personality: oci.Personality | None) -> int | None:
    if personality is None:
        return None
    if personality.flags:
        raise InvalidArgument("personality flags are not supported: leave them out")
    return _look_up(_DOMAINS, personality.domain, "personality domain")


def _plan_memory_policy(policy: oci.MemoryPolicy | None) -> tuple[int, list[int]] | None:
    if policy is None:
        return None
    mode = _look_up(_MEMORY_MODES, policy.mode, "memory policy mode")
    for flag in policy.flags:
        mode |= _look_up(_MEMORY_FLAGS, flag, "memory policy flag")
    return mode, parse_list(policy.nodes, "memory policy nodes") if policy.nodes else []


def parse_list(text: str, what: str) -> list[int]:
    """The numbers of a kernel list such as ``0-3,7``. Raises InvalidArgument naming ``what``."""
    try:
        return sorted(lists.parse_list(",".join(part.strip() for part in text.split(","))))
    except ValueError:
        raise InvalidArgument(
            f"{what}: {text!r} is not a list such as 0-3,7, in order and of what a kernel can have"
        ) from None


def apparmor_enabled() -> bool:
    """Whether the kernel runs with AppArmor."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="utf-8") as file:
            return file.read().startswith("Y")
    except OSError:
        return False


def selinux_enabled() -> bool:
    """Whether the kernel runs with SELinux."""
    return os.path.exists("/sys/fs/selinux/enforce")
