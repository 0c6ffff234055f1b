"""Control groups version 1: one directory in each mounted hierarchy.

Source: the kernel's Documentation/admin-guide/cgroup-v1.

A process joins by writing ``0`` to ``tasks`` itself. Writing another process's number to
``cgroup.procs`` takes a global lock that costs a grace period (20 ms measured); for the calling
thread the kernel skips it (10 µs).
"""

from __future__ import annotations

import errno
import os
import time
from itertools import groupby

from barque.cgroups.files import kill_all, read, remove_tree, walk, write
from barque.errors import FailedPrecondition, KernelError
from barque.models import oci


class CgroupV1:
    """One path in all hierarchies. ``hierarchies`` is mount point by controller."""

    def __init__(self, path: str, hierarchies: dict[str, str]) -> None:
        self.path = path
        self._hierarchies = hierarchies
        self._mounts = tuple(dict.fromkeys(hierarchies.values()))

    def directory(self, controller: str) -> str:
        """The group's directory in the hierarchy of ``controller``.

        Raises FailedPrecondition if the kernel has no such hierarchy mounted.
        """
        try:
            return self._hierarchies[controller] + self.path
        except KeyError:
            raise FailedPrecondition(
                f"the cgroup controller {controller} is not mounted on this host: mount it, or "
                f"drop the limit that needs it"
            ) from None

    def _directories(self) -> list[str]:
        return [mount + self.path for mount in self._mounts]

    def create(self) -> None:
        """See the contract."""
        for directory in self._directories():
            try:
                os.mkdir(directory, 0o755)
            except FileExistsError:
                continue
            except FileNotFoundError:
                os.makedirs(directory, 0o755, exist_ok=True)
        if "cpuset" in self._hierarchies:
            self._inherit_cpuset(self._hierarchies["cpuset"], self.path)

    def _inherit_cpuset(self, mount: str, path: str) -> None:
        """A new cpuset is empty and takes no process: fill it from the one above."""
        directory = mount + path
        for name in ("cpuset.cpus", "cpuset.mems"):
            if read(directory, name):
                continue
            parent = path.rpartition("/")[0]
            above = read(mount + parent, name)
            if not above and parent:
                self._inherit_cpuset(mount, parent)
                above = read(mount + parent, name)
            write(directory, name, above)

    def join(self, pid: int = 0) -> None:
        """See the contract. Another process costs the grace period."""
        for directory in self._directories():
            write(directory, "cgroup.procs" if pid else "tasks", str(pid))

    def apply(self, resources: oci.Resources) -> None:
        """See the contract."""
        if resources.devices:
            self._apply_devices(resources.devices)
        if resources.memory:
            self._apply_memory(resources.memory)
        if resources.cpu:
            self._apply_cpu(resources.cpu)
        if resources.pids:
            limit = resources.pids.limit
            write(self.directory("pids"), "pids.max", str(limit) if limit > 0 else "max")
        if resources.block_io:
            self._apply_block_io(resources.block_io)

    def _apply_devices(self, rules: list[oci.DeviceRule]) -> None:
        directory = self.directory("devices")
        for allow, group in groupby(rules, lambda rule: rule.allow):
            name = "devices.allow" if allow else "devices.deny"
            write(directory, name, *map(_device_rule, group))

    def _apply_memory(self, memory: oci.Memory) -> None:
        directory = self.directory("memory")
        self._apply_memory_limits(directory, memory.limit, memory.swap)
        if memory.reservation:
            write(directory, "memory.soft_limit_in_bytes", str(memory.reservation))
        if memory.swappiness is not None:
            write(directory, "memory.swappiness", str(memory.swappiness))
        if memory.disable_oom_killer:
            write(directory, "memory.oom_control", "1")

    def _apply_memory_limits(self, directory: str, limit: int | None, swap: int | None) -> None:
        """The kernel keeps limit <= memory+swap at every moment, so the order matters."""
        has_swap = swap is not None and os.path.exists(f"{directory}/memory.memsw.limit_in_bytes")
        writes = []
        if limit:
            writes.append(("memory.limit_in_bytes", str(limit)))
        if has_swap and swap:
            writes.append(("memory.memsw.limit_in_bytes", str(swap)))
        if len(writes) == 2 and limit:
            now = int(read(directory, "memory.memsw.limit_in_bytes"))
            if swap == -1 or limit > now:
                writes.reverse()
        for name, value in writes:
            write(directory, name, value)

    def _apply_cpu(self, cpu: oci.Cpu) -> None:
        values = (
            ("cpu", "cpu.shares", cpu.shares),
            ("cpu", "cpu.cfs_period_us", cpu.period),
            ("cpu", "cpu.cfs_quota_us", cpu.quota),
            ("cpu", "cpu.rt_period_us", cpu.realtime_period),
            ("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime),
            ("cpuset", "cpuset.cpus", cpu.cpus),
            ("cpuset", "cpuset.mems", cpu.mems),
        )
        for controller, name, value in values:
            if value:
                write(self.directory(controller), name, str(value))

    def _apply_block_io(self, block_io: oci.BlockIO) -> None:
        directory = self.directory("blkio")
        bfq = os.path.exists(f"{directory}/blkio.bfq.weight")
        prefix = "blkio.bfq" if bfq else "blkio"
        if block_io.weight:
            write(directory, f"{prefix}.weight", str(block_io.weight))
        for entry in block_io.weight_device:
            value = f"{entry.major}:{entry.minor} {entry.weight}"
            write(directory, f"{prefix}.weight_device", value)
        for name, throttles in (
            ("blkio.throttle.read_bps_device", block_io.throttle_read_bps_device),
            ("blkio.throttle.write_bps_device", block_io.throttle_write_bps_device),
            ("blkio.throttle.read_iops_device", block_io.throttle_read_iops_device),
            ("blkio.throttle.write_iops_device", block_io.throttle_write_iops_device),
        ):
            for throttle in throttles:
                write(directory, name, f"{throttle.major}:{throttle.minor} {throttle.rate}")

    def _process_directory(self) -> str:
        for controller in ("pids", "devices", "freezer", "memory", "cpu"):
            if controller in self._hierarchies:
                return self._hierarchies[controller] + self.path
        return self._mounts[0] + self.path

    def pids(self) -> list[int]:
        """See the contract."""
        found: list[int] = []
        for directory in walk(self._process_directory()):
            try:
                found += map(int, read(directory, "cgroup.procs").split())
            except KernelError as error:
                if error.errno not in {errno.ENOENT, errno.ENODEV}:
                    raise
        return sorted(set(found))

    def freeze(self, timeout_s: float = 10.0) -> None:
        """See the contract."""
        directory = self.directory("freezer")
        deadline = time.monotonic() + timeout_s
        write(directory, "freezer.state", "FROZEN")
        while read(directory, "freezer.state") != "FROZEN":
            if time.monotonic() > deadline:
                write(directory, "freezer.state", "THAWED")
                raise FailedPrecondition(
                    f"the processes did not freeze within {timeout_s:.0f} s: one of them is "
                    f"in an uninterruptible system call; try again"
                )
            time.sleep(0.0005)
            write(directory, "freezer.state", "FROZEN")

    def thaw(self) -> None:
        """See the contract."""
        write(self.directory("freezer"), "freezer.state", "THAWED")

    def frozen(self) -> bool:
        """See the contract."""
        return read(self.directory("freezer"), "freezer.state") != "THAWED"

    def kill(self) -> None:
        """See the contract. What is frozen here would not die of it: it is thawed first."""
        freezer = self._hierarchies.get("freezer", "")
        if os.path.isdir(freezer + self.path) and self.frozen():
            self.thaw()
        kill_all(self.pids)

    def oom_kills(self) -> int:
        """See the contract."""
        if "memory" not in self._hierarchies:
            return 0
        for line in read(self.directory("memory"), "memory.oom_control").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return 0

    def exists(self) -> bool:
        """See the contract."""
        return any(os.path.isdir(directory) for directory in self._directories())

    def children(self) -> list[str]:
        """See the contract."""
        names: set[str] = set()
        for directory in self._directories():
            try:
                with os.scandir(directory) as entries:
                    names.update(e.name for e in entries if e.is_dir(follow_symlinks=False))
            except FileNotFoundError:
                continue
        return sorted(names)

    def remove(self, timeout_s: float = 2.0) -> None:
        """See the contract."""
        deadline = time.monotonic() + timeout_s
        for directory in self._directories():
            remove_tree(directory, deadline)


def _device_rule(rule: oci.DeviceRule) -> str:
    if rule.type in {"a", ""}:
        return "a"
    major = "*" if rule.major is None or rule.major < 0 else rule.major
    minor = "*" if rule.minor is None or rule.minor < 0 else rule.minor
    return f"{rule.type} {major}:{minor} {rule.access}"
