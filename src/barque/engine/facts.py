"""What this host is and can do, read once when the engine starts.

Everything that later decides about a container asks these values, never the host again: a
check that reads no file costs nothing, and tests can say what host they mean.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import msgspec

from barque.cgroups.hierarchy import Hierarchies, cgroup_version, hierarchies
from barque.cgroups.v2 import CgroupV2
from barque.errors import BarqueError
from barque.runtime import capabilities

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
"""What docker or podman masks, those apart that depend on the host.

Podman has ``/sys/dev/block`` and ``/sys/fs/selinux``; docker ``/proc/asound``, which podman has
read-only, and ``/proc/interrupts``. Source: moby's daemon/pkg/oci/defaults.go, podman's
container-libs common/pkg/config.
"""

READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
"""What docker and podman have read-only."""

_GO_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "armv7l": "arm",
    "mips64": "mips64",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "loongarch64": "loong64",
}
_DEFAULT_SYSCTLS = {
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv4.ip_unprivileged_port_start": "0",
}


class CgroupFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which limits the kernel's control groups can set here."""

    version: int = 1
    memory_limit: bool = True
    memory_reservation: bool = True
    memory_swappiness: bool = True
    swap_limit: bool = True
    oom_kill_disable: bool = True
    cpu_shares: bool = True
    cpu_cfs: bool = True
    cpu_realtime: bool = False
    cpuset: bool = True
    cpuset_cpus: str = ""
    """CPUs that may be given, as a list (``0-3,8``)."""
    cpuset_mems: str = ""
    pids: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    blkio_read_bps: bool = True
    blkio_write_bps: bool = True
    blkio_read_iops: bool = True
    blkio_write_iops: bool = True
    systemd_mount: str = ""
    """Where version 1's hierarchy without a controller is mounted, in which systemd works."""


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The host. ``kernel`` is (major, minor); ``architecture`` is Go's name for the machine."""

    cgroups: CgroupFacts = CgroupFacts()
    cpus: int
    memory_bytes: int
    kernel: tuple[int, int]
    kernel_release: str = ""
    architecture: str = "amd64"
    apparmor: bool = False
    selinux: bool = False
    seccomp: bool = True
    capabilities: frozenset[str]
    """What the engine itself holds, and so can give."""
    max_open_files: int = 1 << 20
    """To how many files the engine can limit a process, at most."""
    masked_paths: tuple[str, ...] = MASKED_PATHS
    default_sysctls: dict[str, str] = {}
    """Set in every network namespace of a container's own, as far as the kernel has them."""

    @property
    def recursive_readonly(self) -> bool:
        """Whether a read-only bind can cover the mounts below it (mount_setattr)."""
        return self.kernel >= (5, 12)

    @classmethod
    def gather(cls) -> HostFacts:
        """Read the host's facts from procfs, sysfs and the control groups: some milliseconds."""
        release = os.uname().release
        return cls(
            cgroups=_gather_cgroups(cgroup_version(), hierarchies()),
            cpus=len(os.sched_getaffinity(0)),
            memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            kernel=parse_kernel(release),
            kernel_release=release,
            architecture=_GO_ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            apparmor=_read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
            selinux=Path("/sys/fs/selinux/enforce").exists(),
            seccomp=Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
            capabilities=(held := frozenset(capabilities.names_of(capabilities.held().permitted))),
            max_open_files=_max_open_files(raisable="CAP_SYS_RESOURCE" in held),
            masked_paths=MASKED_PATHS + _thermal_paths(),
            default_sysctls={
                name: value
                for name, value in _DEFAULT_SYSCTLS.items()
                if Path("/proc/sys", *name.split(".")).exists()
            },
        )


def _max_open_files(*, raisable: bool) -> int:
    """Return the kernel's limit for a process, or the engine's own where it cannot be raised."""
    if raisable:
        return int(_read("/proc/sys/fs/nr_open"))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def parse_kernel(release: str) -> tuple[int, int]:
    """``6.18.44-generic`` → (6, 18); (0, 0) for a text of another form."""
    parts = release.split("-", maxsplit=1)[0].split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return 0, 0


def _read(path: str) -> str:
    """Return the text of a file of the kernel, "" where this kernel does not have it."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _thermal_paths() -> tuple[str, ...]:
    """Return docker's masked thermal_throttle directories, those that exist, by CPU."""
    found = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")
    return tuple(sorted(str(path) for path in found))


def _gather_cgroups(version: int, mounted: Hierarchies) -> CgroupFacts:
    return _gather_v1(mounted.v1) if version == 1 else _gather_v2(Path(mounted.v2))


def _gather_v1(mounts: dict[str, str]) -> CgroupFacts:
    """Look for the files in the hierarchies' roots, which have those of every group."""

    def has(controller: str, file: str) -> bool:
        return controller in mounts and Path(mounts[controller], file).exists()

    def child_has(controller: str, file: str) -> bool:
        # blkio.weight is in every group but the root
        return has(controller, file) or (
            controller in mounts and any(Path(mounts[controller]).glob(f"*/{file}"))
        )

    cpuset = mounts.get("cpuset", "")
    return CgroupFacts(
        version=1,
        memory_limit=has("memory", "memory.limit_in_bytes"),
        memory_reservation=has("memory", "memory.soft_limit_in_bytes"),
        memory_swappiness=has("memory", "memory.swappiness"),
        swap_limit=has("memory", "memory.memsw.limit_in_bytes"),
        oom_kill_disable=has("memory", "memory.oom_control"),
        cpu_shares=has("cpu", "cpu.shares"),
        cpu_cfs=has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime=has("cpu", "cpu.rt_period_us"),
        cpuset=bool(cpuset),
        cpuset_cpus=_read(f"{cpuset}/cpuset.cpus") if cpuset else "",
        cpuset_mems=_read(f"{cpuset}/cpuset.mems") if cpuset else "",
        pids="pids" in mounts,
        blkio_weight=child_has("blkio", "blkio.weight") or child_has("blkio", "blkio.bfq.weight"),
        blkio_weight_device=child_has("blkio", "blkio.weight_device")
        or child_has("blkio", "blkio.bfq.weight_device"),
        blkio_read_bps=has("blkio", "blkio.throttle.read_bps_device"),
        blkio_write_bps=has("blkio", "blkio.throttle.write_bps_device"),
        blkio_read_iops=has("blkio", "blkio.throttle.read_iops_device"),
        blkio_write_iops=has("blkio", "blkio.throttle.write_iops_device"),
        systemd_mount=mounts.get("name=systemd", ""),
    )


def _gather_v2(root: Path) -> CgroupFacts:
    """Go by the controllers and by the files of a group: the root group has few of them."""
    controllers = _read(f"{root}/cgroup.controllers").split()
    memory, cpu, io = ("memory" in controllers, "cpu" in controllers, "io" in controllers)
    files = _files_of_a_group(root)
    weight = bool(files & {"io.weight", "io.bfq.weight"})
    return CgroupFacts(
        version=2,
        memory_limit=memory,
        memory_reservation=memory,
        memory_swappiness=False,
        swap_limit="memory.swap.max" in files,
        oom_kill_disable=False,
        cpu_shares=cpu,
        cpu_cfs=cpu,
        cpu_realtime=False,
        cpuset="cpuset" in controllers,
        cpuset_cpus=_read(f"{root}/cpuset.cpus.effective"),
        cpuset_mems=_read(f"{root}/cpuset.mems.effective"),
        pids="pids" in controllers,
        blkio_weight=weight,
        blkio_weight_device=weight,
        blkio_read_bps=io,
        blkio_write_bps=io,
        blkio_read_iops=io,
        blkio_write_iops=io,
    )


def _files_of_a_group(root: Path) -> frozenset[str]:
    """Make a group with all controllers and look; else, where barque may not, at those there."""
    probe = CgroupV2(f"/barque-probe-{os.getpid()}", str(root))
    try:
        probe.create()
        files = frozenset(os.listdir(root / probe.path[1:]))
        probe.remove()
    except BarqueError:
        return frozenset(path.name for path in root.glob("*/*"))
    return files
