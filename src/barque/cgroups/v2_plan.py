"""OCI resources as settings of version 2 control files, converted as runc does but for CPU shares.

Source: runtime-spec config-linux.md "Control groups" and "Unified"; the kernel's
admin-guide/cgroup-v2.rst; opencontainers/cgroups utils.go for the conversions.
"""

from __future__ import annotations

from collections.abc import Callable

from barque.cgroups.settings import Setting
from barque.cgroups.v1_plan import rdma, throttles
from barque.errors import FailedPrecondition, InvalidArgument
from barque.models import oci

Has = Callable[[str], bool]
"""Whether the group has a file."""

_DEFAULT_PERIOD_US = 100_000


def plan(resources: oci.Resources, has: Has) -> list[Setting]:
    """The settings for all of ``resources`` but the device rules.

    What only version 1 has and what stands for no limit (swappiness, the OOM killer switched
    off) is left out, as runc does. Raises FailedPrecondition for other limits that version 2
    lacks, InvalidArgument for impossible ones.
    """
    settings: list[Setting] = []
    if resources.memory:
        settings += _memory(resources.memory, has)
    if resources.cpu:
        settings += _cpu(resources.cpu)
    if resources.pids:
        limit = resources.pids.limit
        value = str(limit) if limit > 0 else "max"
        settings.append(Setting("pids", "pids.max", value, "--pids-limit"))
    if resources.block_io:
        settings += _block_io(resources.block_io, has)
    for page in resources.hugepage_limits:
        for kind in ("max", "rsvd.max"):
            settings.append(
                Setting(
                    "hugetlb",
                    f"hugetlb.{page.page_size}.{kind}",
                    _or_max(page.limit),
                    "hugepageLimits",
                    optional=kind != "max",
                )
            )
    if resources.network and (resources.network.class_id or resources.network.priorities):
        raise FailedPrecondition(
            "network.classID and network.priorities need cgroup version 1: on this host mark the "
            "traffic by firewall rules"
        )
    settings += rdma(resources.rdma)
    settings += _unified(resources.unified)
    return settings


def cpu_weight(shares: int) -> int:
    """CPU weight (1 to 10000, 100 is usual) for ``shares`` (2 to 262144, 1024 is usual).

    In proportion, so that shares 1:3 are weights 1:3 and the usual is the usual. runc's two
    formulas give up one or the other; see docs/adr/0012.
    """
    return min(max(round(shares * 100 / 1024), 1), 10000)


def io_weight(weight: int) -> int:
    """I/O weight (1 to 10000) for a block I/O weight (10 to 1000)."""
    return 1 + (weight - 10) * 9999 // 990


def swap_max(memory_swap: int, memory: int) -> int | None:
    """Most swap for docker's sum of memory and swap; -1 is unlimited, None leaves it.

    Raises InvalidArgument if the sum is below its part.
    """
    if memory == -1 and memory_swap == 0:
        return -1
    if memory_swap in {-1, 0}:
        return memory_swap or None
    if memory <= 0:
        raise InvalidArgument(
            f"--memory-swap {memory_swap}: give --memory as well, the swap is the difference"
        )
    if memory_swap < memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    return memory_swap - memory


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(memory: oci.Memory, has: Has) -> list[Setting]:
    settings = []
    swap = swap_max(memory.swap or 0, memory.limit or 0)
    if swap is not None:
        # A kernel without swap accounting needs nothing to have no swap, or any of it.
        settings.append(
            Setting(
                "memory",
                "memory.swap.max",
                _or_max(swap),
                "--memory-swap",
                optional=swap <= 0 or not has("memory.max"),
            )
        )
    if memory.limit:
        settings.append(Setting("memory", "memory.max", _or_max(memory.limit), "--memory"))
    if memory.reservation:
        value = _or_max(memory.reservation)
        settings.append(Setting("memory", "memory.low", value, "--memory-reservation"))
    return settings


def _cpu(cpu: oci.Cpu) -> list[Setting]:
    if cpu.realtime_period or cpu.realtime_runtime:
        raise FailedPrecondition(
            "--cpu-rt-period and --cpu-rt-runtime need cgroup version 1: version 2 does not "
            "divide realtime"
        )
    settings = []
    if cpu.idle is not None:
        settings.append(Setting("cpu", "cpu.idle", str(cpu.idle), "cpu.idle"))
    if cpu.shares and not cpu.idle:
        weight = str(cpu_weight(cpu.shares))
        settings.append(Setting("cpu", "cpu.weight", weight, "--cpu-shares"))
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        value = f"{quota} {cpu.period or _DEFAULT_PERIOD_US}"
        may_wait = cpu.burst is not None
        settings.append(
            Setting("cpu", "cpu.max", value, "--cpus or --cpu-quota", may_wait=may_wait)
        )
    if cpu.burst is not None:
        settings.append(Setting("cpu", "cpu.max.burst", str(cpu.burst), "cpu.burst"))
    if cpu.cpus:
        settings.append(Setting("cpuset", "cpuset.cpus", cpu.cpus, "--cpuset-cpus"))
    if cpu.mems:
        settings.append(Setting("cpuset", "cpuset.mems", cpu.mems, "--cpuset-mems"))
    return settings


def _block_io(block_io: oci.BlockIO, has: Has) -> list[Setting]:
    settings = []
    bfq = has("io.bfq.weight")
    file = "io.bfq.weight" if bfq else "io.weight"
    if block_io.weight:
        weight = block_io.weight if bfq else io_weight(block_io.weight)
        settings.append(Setting("io", file, str(weight), "--blkio-weight"))
    for entry in block_io.weight_device:
        device = f"{entry.major}:{entry.minor}"
        shown = "default"
        if entry.weight:
            shown = str(entry.weight if bfq else io_weight(entry.weight))
        settings.append(
            Setting(
                "io",
                file,
                f"{device} {shown}",
                "--blkio-weight-device",
                device,
                f"{device} default",
            )
        )
    for throttle in throttles(block_io):
        device = throttle.device
        settings.append(
            Setting(
                "io",
                "io.max",
                f"{device} {throttle.direction[0]}{throttle.unit}={throttle.rate or 'max'}",
                throttle.option,
                device,
                f"{device} rbps=max wbps=max riops=max wiops=max",
            )
        )
    return settings


def _unified(values: dict[str, str]) -> list[Setting]:
    """As given, one write a line. The file's first word is its controller."""
    settings = []
    for file, value in values.items():
        if "/" in file or "." not in file or file.startswith("."):
            raise InvalidArgument(
                f"resources.unified: {file!r} is not the name of a control file, such as "
                f"memory.high"
            )
        controller = file.partition(".")[0]
        for line in value.splitlines() or [""]:
            device, _, rest = line.partition(" ")
            keyed = ":" in device and bool(rest)
            settings.append(
                Setting(
                    controller,
                    file,
                    line,
                    f"resources.unified {file}",
                    device if keyed else "",
                    _unified_reset(file, device) if keyed else "",
                )
            )
    return settings


def _unified_reset(file: str, device: str) -> str:
    if file == "io.max":
        return f"{device} rbps=max wbps=max riops=max wiops=max"
    return f"{device} default"
