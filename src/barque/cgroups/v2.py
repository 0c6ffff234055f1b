"""Control groups version 2: one directory, controllers enabled from the root down.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst.

A group passes its controllers on to those below through ``cgroup.subtree_control``, and may do
so only while it holds no process itself (the root excepted). Inside a container the root that
is seen is not the kernel's, and holds whoever runs there: they are moved into the leaf
``/init`` first, as nested engines do.
"""

from __future__ import annotations

import errno
import os
import select
import time

from barque.cgroups import usage as u
from barque.cgroups.device_program import device_program
from barque.cgroups.files import find, kill_all, read, remove_tree, signal_all, walk, write
from barque.cgroups.settings import carry_out
from barque.cgroups.v2_plan import plan
from barque.errors import FailedPrecondition, KernelError
from barque.kernel import bpf
from barque.models import oci

PROGRAM = "barque_devices"
"""By this name our program is found among those that others may have attached."""

LEAF = "init"
_EVACUATION_ROUNDS = 50


class CgroupV2:
    """See ``Cgroup``. ``mount`` is where the hierarchy is mounted."""

    def __init__(self, path: str, mount: str) -> None:
        self.path = path
        self._mount = mount
        self._directory = mount + path

    # Life

    def create(self, *, mountable: bool = False) -> None:  # noqa: ARG002 - there is one hierarchy
        """See the contract."""
        directory = self._mount
        for name in self.path.strip("/").split("/"):
            _enable_controllers(directory, is_root=directory == self._mount)
            directory = f"{directory}/{name}"
            try:
                os.mkdir(directory, 0o755)
            except FileExistsError:
                continue
            except OSError as error:
                raise KernelError("mkdir", error.errno or 0, directory) from None

    def join(self, pid: int = 0) -> None:
        """See the contract. Who was born inside stays: even that would take 20 ms of a lock."""
        own = f"/proc/{pid or 'self'}/cgroup"
        with open(own, encoding="utf-8", errors="surrogateescape") as file:
            if f"0::{self.path}\n" in file:
                return
        try:
            write(self._directory, "cgroup.procs", str(pid))
        except KernelError as error:
            if error.errno == errno.EBUSY:
                raise self._has_children() from None
            raise

    def open(self) -> int:
        """See the contract."""
        try:
            return os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError("open", error.errno or 0, self._directory) from None

    def _has_children(self) -> FailedPrecondition:
        return FailedPrecondition(
            f"the cgroup {self.path} passes controllers on to groups of its own, and version 2 "
            f"lets such a group hold no process: end what made {self.path}/*, or choose "
            f"another group"
        )

    def exists(self) -> bool:
        """See the contract."""
        return os.path.isdir(self._directory)

    def children(self) -> list[str]:
        """See the contract."""
        try:
            with os.scandir(self._directory) as entries:
                return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def remove(self, timeout_s: float = 2.0) -> None:
        """See the contract."""
        remove_tree(self._directory, time.monotonic() + timeout_s)

    # Limits

    def apply(self, resources: oci.Resources) -> None:
        """See the contract."""
        self._set(resources, undo=False)

    def update(self, resources: oci.Resources) -> None:
        """See the contract."""
        memory = resources.memory
        if memory and memory.check_before_update and memory.limit and memory.limit > 0:
            used = int(read(self._directory, "memory.current"))
            if used > memory.limit:
                raise FailedPrecondition(
                    f"--memory {memory.limit}: {used} bytes are in use now, and the kernel "
                    f"would kill to come below the limit"
                )
        self._set(resources, undo=True)

    def _set(self, resources: oci.Resources, *, undo: bool) -> None:
        settings = plan(resources, lambda file: os.path.exists(f"{self._directory}/{file}"))
        carry_out(settings, lambda _: self._directory, undo=undo)
        if resources.devices:
            self._set_devices(resources.devices)

    def _set_devices(self, rules: list[oci.DeviceRule]) -> None:
        """Attach the program for ``rules`` in place of the one before, in one step."""
        group = self.open()
        program = -1
        before: list[int] = []
        try:
            program = bpf.load_device_program(device_program(rules), PROGRAM)
            before = bpf.find_device_programs(group, PROGRAM)
            try:
                bpf.attach_device_program(group, program, before[0] if before else -1)
                stale = before[1:]
            except KernelError as error:
                if not before or error.errno != errno.EINVAL:
                    raise
                # Before Linux 5.6: for a moment both decide, which allows what both do.
                bpf.attach_device_program(group, program)
                stale = before
            for old in stale:
                bpf.detach_device_program(group, old)
        finally:
            for fd in (group, program, *before):
                if fd >= 0:
                    os.close(fd)

    # Processes

    def pids(self) -> list[int]:
        """See the contract.

        A threaded group cannot list processes; they are all listed by the group above it.
        """
        found: set[int] = set()
        for directory in walk(self._directory):
            try:
                found.update(map(int, read(directory, "cgroup.procs").split()))
            except KernelError as error:
                if error.errno not in {errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP}:
                    raise
        found.discard(0)  # of another PID namespace
        return sorted(found)

    def freeze(self, timeout_s: float = 10.0) -> None:
        """See the contract."""
        deadline = time.monotonic() + timeout_s
        events = os.open(f"{self._directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        try:
            write(self._directory, "cgroup.freeze", "1")
            while b"frozen 1" not in os.pread(events, 4096, 0):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    write(self._directory, "cgroup.freeze", "0")
                    raise FailedPrecondition(
                        f"the processes did not freeze within {timeout_s:.0f} s: one of them "
                        f"is in an uninterruptible system call; try again"
                    )
                poll.poll(left_s * 1000)
        finally:
            os.close(events)

    def thaw(self) -> None:
        """See the contract."""
        write(self._directory, "cgroup.freeze", "0")

    def frozen(self) -> bool:
        """See the contract."""
        return read(self._directory, "cgroup.freeze") == "1"

    def signal(self, number: int) -> None:
        """See the contract."""
        signal_all(self.pids, number)

    def kill(self) -> None:
        """See the contract. SIGKILL ends what is frozen, too."""
        try:
            write(self._directory, "cgroup.kill", "1")
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            kill_all(self.pids)  # before Linux 5.14, or no group at all

    # Memory running out

    def oom_kills(self) -> int:
        """See the contract."""
        return u.parse_pairs(find(self._directory, "memory.events")).get("oom_kill", 0)

    def open_oom_notice(self) -> tuple[int, int]:
        """See the contract. The descriptor is that of memory.events."""
        path = f"{self._directory}/memory.events"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError("open", error.errno or 0, path) from None
        os.pread(fd, 4096, 0)  # what happens from here on is news
        return fd, select.EPOLLPRI

    # Usage

    def usage(self) -> u.Usage:
        """See the contract."""
        directory = self._directory
        cpu = u.parse_pairs(find(directory, "cpu.stat"))
        has_memory = os.path.exists(f"{directory}/memory.current")
        return u.Usage(
            version=2,
            cpu=u.CpuUsage(
                total_ns=cpu.get("usage_usec", 0) * 1000,
                user_ns=cpu.get("user_usec", 0) * 1000,
                system_ns=cpu.get("system_usec", 0) * 1000,
                periods=cpu.get("nr_periods", 0),
                throttled_periods=cpu.get("nr_throttled", 0),
                throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            ),
            memory=self._memory_usage() if has_memory else None,
            pids=u.parse_pids(find(directory, "pids.current"), find(directory, "pids.max")),
            block_io={"io_service_bytes_recursive": u.parse_io_stat(find(directory, "io.stat"))},
        )

    def rare_usage(self) -> u.RareUsage:
        """See the contract. Version 2 has no limits of kernel memory, and no flags of cpusets."""
        directory = self._directory
        memory = self._figure("memory", "")
        swap = self._figure("memory.swap", "max")
        limit = swap.limit
        if limit != u.UNLIMITED:
            limit = min(limit + memory.limit, u.UNLIMITED)
        return u.RareUsage(
            swap=u.Figure(memory.usage + swap.usage, limit, swap.failures),
            huge_pages={
                size: self._figure(f"hugetlb.{size}", "max")
                for size in u.page_sizes(directory, ".current")
            },
            cpus=u.parse_numbers(find(directory, "cpuset.cpus")),
            mems=u.parse_numbers(find(directory, "cpuset.mems")),
        )

    def _figure(self, prefix: str, failures: str) -> u.Figure:
        """``failures`` is how the events are called that count them."""
        directory = self._directory
        events = u.parse_pairs(find(directory, f"{prefix}.events")) if failures else {}
        return u.Figure(
            int(find(directory, f"{prefix}.current") or 0),
            u.parse_limit(find(directory, f"{prefix}.max")),
            events.get(failures, 0),
        )

    def _memory_usage(self) -> u.MemoryUsage:
        directory = self._directory
        events = u.parse_pairs(find(directory, "memory.events"))
        return u.MemoryUsage(
            usage=int(find(directory, "memory.current") or 0),
            limit=u.parse_limit(find(directory, "memory.max")),
            failures=events.get("oom", 0),
            details=u.parse_pairs(find(directory, "memory.stat")),
        )


def _enable_controllers(directory: str, *, is_root: bool) -> None:
    """Have all controllers of ``directory`` in the groups below it.

    Raises FailedPrecondition if it holds processes, which only a group without may.
    """
    enabled = read(directory, "cgroup.subtree_control").split()
    missing = [c for c in read(directory, "cgroup.controllers").split() if c not in enabled]
    if not missing:
        return
    try:
        write(directory, "cgroup.subtree_control", " ".join(f"+{name}" for name in missing))
    except KernelError as error:
        if error.errno == errno.EBUSY and is_root:
            _evacuate(directory)
        elif error.errno == errno.EBUSY:
            raise _holds_processes(directory) from None
        _enable_each(directory, missing)


def _enable_each(directory: str, missing: list[str]) -> None:
    """Enable what can be had, after all together could not.

    What cannot (a realtime process keeps "cpu" from a group, say) is missed by the limit that
    needs it, which says so.
    """
    for name in missing:
        try:
            write(directory, "cgroup.subtree_control", f"+{name}")
        except KernelError as error:
            if error.errno == errno.EBUSY:
                raise _holds_processes(directory) from None


def _evacuate(root: str) -> None:
    """Move the processes of a container's root group, ours among them, into a leaf."""
    leaf = f"{root}/{LEAF}"
    os.makedirs(leaf, 0o755, exist_ok=True)
    for _ in range(_EVACUATION_ROUNDS):
        pids = read(root, "cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            try:
                write(leaf, "cgroup.procs", pid)
            except KernelError as error:
                if error.errno not in {errno.ESRCH, errno.EINVAL}:
                    raise
    raise _holds_processes(root)


def _holds_processes(directory: str) -> FailedPrecondition:
    pids = read(directory, "cgroup.procs").split()
    shown = ", ".join(pids[:5]) + (", …" if len(pids) > 5 else "")
    return FailedPrecondition(
        f"the cgroup {directory} holds processes ({shown}), and version 2 gives limits only to "
        f"groups below one that holds none: choose another --cgroup-parent, or move the "
        f"processes into a group of their own"
    )
