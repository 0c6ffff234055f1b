"""Control groups version 1: one directory in each mounted hierarchy.

Source: the kernel's Documentation/admin-guide/cgroup-v1.

A process joins by writing ``0`` to ``tasks`` itself. Writing another process's number to
``cgroup.procs`` takes a global lock that costs a grace period (20 ms measured); for the calling
thread the kernel skips it (10 µs).
"""

from __future__ import annotations

import errno
import os
import select
import time
from itertools import groupby

from barque.cgroups import usage as u
from barque.cgroups.device_program import is_everything
from barque.cgroups.files import find, kill_all, read, remove_tree, signal_all, walk, write
from barque.cgroups.lists import parse_list
from barque.cgroups.settings import carry_out
from barque.cgroups.usage import parse_pairs
from barque.cgroups.v1_plan import plan
from barque.errors import FailedPrecondition, KernelError
from barque.models import oci

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_BLOCK_FIGURES = {
    "io_service_bytes_recursive": "io_service_bytes_recursive",
    "io_serviced_recursive": "io_serviced_recursive",
    "io_queue_recursive": "io_queued_recursive",
    "io_service_time_recursive": "io_service_time_recursive",
    "io_wait_time_recursive": "io_wait_time_recursive",
    "io_merged_recursive": "io_merged_recursive",
    "io_time_recursive": "time_recursive",
    "sectors_recursive": "sectors_recursive",
}
"""Kernel's names by the Engine API's. Kernels since 5.0 have but the first two."""


_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
)


class CgroupV1:
    """One path in all hierarchies. ``hierarchies`` is mount point by controller.

    ``unified`` is where version 2's is mounted beside them, if it is. It limits nothing, and
    joining costs the grace period there, so a group is made for those only who could mount it. A
    systemd in another container makes its own, below the same path.
    """

    def __init__(self, path: str, hierarchies: dict[str, str], unified: str = "") -> None:
        self.path = path
        self._unified = unified
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

    def create(self, *, mountable: bool = False) -> None:
        """See the contract."""
        unified = [self._unified + self.path] if mountable and self._unified else []
        for directory in [*self._directories(), *unified]:
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
        if self._unified and os.path.isdir(self._unified + self.path):
            self._join_unified(pid)

    def _join_unified(self, pid: int) -> None:
        """Where the group has others below it by which it hands on controllers, it takes nobody."""
        try:
            write(self._unified + self.path, "cgroup.procs", str(pid))
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise

    def open(self) -> int:
        """See the contract."""
        return -1

    def apply(self, resources: oci.Resources) -> None:
        """See the contract."""
        self._set(resources, undo=False)

    def update(self, resources: oci.Resources) -> None:
        """See the contract."""
        self._set(resources, undo=True)

    def _set(self, resources: oci.Resources, *, undo: bool) -> None:
        settings = plan(resources, self._has)
        if resources.cpu and resources.cpu.realtime_runtime:
            self._raise_realtime(resources.cpu)
        if undo and resources.cpu:
            for file, wanted in (("cpuset.cpus", resources.cpu.cpus),
                                 ("cpuset.mems", resources.cpu.mems)):  # fmt: skip
                if wanted:
                    self._narrow_cpuset(file, wanted)
        carry_out(settings, self.directory, undo=undo)
        for allow, group in groupby(resources.devices, lambda rule: rule.allow):
            words = [word for rule in group for word in _device_words(rule)]
            if allow and "a" in words and self._has_all_devices_there_are():
                continue
            write(self.directory("devices"), "devices.allow" if allow else "devices.deny", *words)

    def _has_all_devices_there_are(self) -> bool:
        """Whether the group has what the one above it has: in a container that is not all.

        The kernel refuses to give more than that.
        """
        directory = self.directory("devices")
        above = read(os.path.dirname(directory), "devices.list")
        return above != "a *:* rwm" and read(directory, "devices.list") == above

    def _has(self, controller: str, file: str) -> bool:
        mount = self._hierarchies.get(controller)
        return mount is not None and os.path.exists(f"{mount}{self.path}/{file}")

    def _raise_realtime(self, cpu: oci.Cpu) -> None:
        """The groups above must have as much realtime: new ones have none."""
        mount = self._hierarchies.get("cpu", "")
        above = ""
        for name in self.path.strip("/").split("/")[:-1]:
            above += f"/{name}"
            directory = mount + above
            if int(find(directory, "cpu.rt_runtime_us") or 0) >= (cpu.realtime_runtime or 0):
                continue
            raised = oci.Cpu(
                realtime_period=cpu.realtime_period, realtime_runtime=cpu.realtime_runtime
            )
            settings = plan(oci.Resources(cpu=raised), self._has)
            carry_out(settings, lambda _, directory=directory: directory)  # type: ignore[misc]

    def _narrow_cpuset(self, file: str, wanted: str) -> None:
        """Groups inside may have no more than this one: they lose it first."""
        directory = self.directory("cpuset")
        allowed = parse_list(wanted)
        for path in walk(directory):
            if path == directory:
                continue
            now = find(path, file)
            left = parse_list(now) & allowed if now else allowed
            if now and parse_list(now) - allowed:
                write(path, file, ",".join(map(str, sorted(left or allowed))))

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

    def signal(self, number: int) -> None:
        """See the contract."""
        signal_all(self.pids, number)

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
        return parse_pairs(read(self.directory("memory"), "memory.oom_control")).get("oom_kill", 0)

    def open_oom_notice(self) -> tuple[int, int]:
        """See the contract. The descriptor is an eventfd; it tells of the group's end, too."""
        directory = self.directory("memory")
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        path = f"{directory}/memory.oom_control"
        try:
            control = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                write(directory, "cgroup.event_control", f"{fd} {control}")
            finally:
                os.close(control)
        except OSError as error:
            os.close(fd)
            raise KernelError("open", error.errno or 0, path) from None
        except KernelError:
            os.close(fd)
            raise
        return fd, select.EPOLLIN

    # Usage

    def usage(self) -> u.Usage:
        """See the contract."""
        return u.Usage(
            version=1,
            cpu=self._cpu_usage(),
            memory=self._memory_usage() if self._has("memory", "memory.stat") else None,
            pids=u.parse_pids(self._find("pids", "pids.current"), self._find("pids", "pids.max")),
            block_io=self._block_usage(),
        )

    def _find(self, controller: str, file: str) -> str:
        mount = self._hierarchies.get(controller)
        return find(mount + self.path, file) if mount is not None else ""

    def _cpu_usage(self) -> u.CpuUsage:
        times = parse_pairs(self._find("cpuacct", "cpuacct.stat"))
        throttling = parse_pairs(self._find("cpu", "cpu.stat"))
        per_cpu = self._find("cpuacct", "cpuacct.usage_percpu")
        return u.CpuUsage(
            total_ns=int(self._find("cpuacct", "cpuacct.usage") or 0),
            user_ns=times.get("user", 0) * _TICK_NS,
            system_ns=times.get("system", 0) * _TICK_NS,
            per_cpu_ns=[int(word) for word in per_cpu.split()],
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            throttled_ns=throttling.get("throttled_time", 0),
        )

    def _memory_usage(self) -> u.MemoryUsage:
        def number(file: str) -> int:
            return int(self._find("memory", file) or 0)

        return u.MemoryUsage(
            usage=number("memory.usage_in_bytes"),
            limit=number("memory.limit_in_bytes") or u.UNLIMITED,
            failures=number("memory.failcnt"),
            details=parse_pairs(self._find("memory", "memory.stat")),
            max_usage=number("memory.max_usage_in_bytes"),
        )

    def _block_usage(self) -> dict[str, list[u.BlockEntry]]:
        """BFQ's figures where a device is scheduled by it, else those of the throttle."""
        found = {}
        for name, file in _BLOCK_FIGURES.items():
            for prefix in ("blkio.bfq", "blkio", "blkio.throttle"):
                entries = u.parse_blkio(self._find("blkio", f"{prefix}.{file}"))
                if entries:
                    break
            found[name] = entries
        return found

    def rare_usage(self) -> u.RareUsage:
        """See the contract."""
        cpuset = {
            name: int(text)
            for name in _CPUSET_FLAGS
            if (text := self._find("cpuset", f"cpuset.{name}"))
        }
        rows = [line.split() for line in self._find("cpuacct", "cpuacct.usage_all").splitlines()]
        figures = [[int(word) for word in row] for row in rows if row[0].isdecimal()]
        sizes = u.page_sizes(self._hierarchies.get("hugetlb", "") + self.path, ".usage_in_bytes")
        return u.RareUsage(
            swap=self._figure("memory", "memory.memsw"),
            kernel=self._figure("memory", "memory.kmem"),
            kernel_tcp=self._figure("memory", "memory.kmem.tcp"),
            huge_pages={size: self._figure("hugetlb", f"hugetlb.{size}") for size in sizes},
            cpus=u.parse_numbers(self._find("cpuset", "cpuset.cpus")),
            mems=u.parse_numbers(self._find("cpuset", "cpuset.mems")),
            cpuset=cpuset,
            per_cpu_user_ns=[user for _, user, _ in figures],
            per_cpu_kernel_ns=[kernel for _, _, kernel in figures],
        )

    def _figure(self, controller: str, prefix: str) -> u.Figure:
        def number(what: str) -> int:
            return int(self._find(controller, f"{prefix}.{what}") or 0)

        return u.Figure(
            number("usage_in_bytes"),
            number("limit_in_bytes"),
            number("failcnt"),
            number("max_usage_in_bytes"),
        )

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
        if self._unified and os.path.isdir(self._unified + self.path):
            self._remove_unified(deadline)

    def _remove_unified(self, deadline: float) -> None:
        """Remove what a systemd made on version 2's hierarchy, up to where others have groups."""
        remove_tree(self._unified + self.path, deadline)
        above = os.path.dirname(self.path)
        while above != "/":
            try:
                os.rmdir(self._unified + above)
            except OSError:
                return
            above = os.path.dirname(above)


def _device_words(rule: oci.DeviceRule) -> list[str]:
    """What to write for a rule, one write(2) each."""
    if is_everything(rule):
        return ["a"]
    major = "*" if rule.major is None or rule.major < 0 else rule.major
    minor = "*" if rule.minor is None or rule.minor < 0 else rule.minor
    # "a 1:3 r" would be every access to everything: the kernel reads no further than "a".
    kinds = ("b", "c") if rule.type in {"a", ""} else (rule.type,)
    return [f"{kind} {major}:{minor} {rule.access}" for kind in kinds]
