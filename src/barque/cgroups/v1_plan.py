"""OCI resources as settings of version 1 control files.

Source: runtime-spec config-linux.md "Control groups"; the kernel's admin-guide/cgroup-v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from barque.cgroups.settings import Setting
from barque.errors import FailedPrecondition, InvalidArgument
from barque.models import oci

Has = Callable[[str, str], bool]
"""Whether the group has a file: (controller, file)."""

_MIN_SHARES, _MAX_SHARES = 2, 1 << 18


def plan(resources: oci.Resources, has: Has) -> list[Setting]:
    """The settings for all of ``resources`` but the device rules.

    Raises FailedPrecondition for what version 1 does not have.
    """
    if resources.unified:
        raise FailedPrecondition(
            "resources.unified are cgroup version 2's files, and this host has version 1: set "
            "the limits by their own fields"
        )
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
    for limit_ in resources.hugepage_limits:
        file = f"hugetlb.{limit_.page_size}.limit_in_bytes"
        settings.append(Setting("hugetlb", file, str(limit_.limit), "hugepageLimits"))
    if resources.network:
        settings += _network(resources.network)
    settings += rdma(resources.rdma)
    return settings


def _memory(memory: oci.Memory, has: Has) -> list[Setting]:
    settings = []
    swap = memory.swap
    if memory.limit == -1 and not swap:
        swap = -1
    if memory.limit:
        # The kernel keeps limit <= memory+swap at every moment.
        settings.append(
            Setting("memory", "memory.limit_in_bytes", str(memory.limit), "--memory", may_wait=True)
        )
    if swap and has("memory", "memory.memsw.limit_in_bytes"):
        settings.append(
            Setting("memory", "memory.memsw.limit_in_bytes", str(swap), "--memory-swap")
        )
    if memory.reservation:
        value = str(memory.reservation)
        settings.append(
            Setting("memory", "memory.soft_limit_in_bytes", value, "--memory-reservation")
        )
    if memory.swappiness is not None:
        value = str(memory.swappiness)
        settings.append(Setting("memory", "memory.swappiness", value, "--memory-swappiness"))
    if memory.disable_oom_killer is not None:
        value = str(int(memory.disable_oom_killer))
        if memory.disable_oom_killer or has("memory", "memory.oom_control"):
            settings.append(Setting("memory", "memory.oom_control", value, "--oom-kill-disable"))
    return settings


def _cpu(cpu: oci.Cpu) -> list[Setting]:
    # The kernel would take the nearest it can, and say nothing.
    if cpu.shares and cpu.shares < _MIN_SHARES:
        raise InvalidArgument(f"the minimum allowed cpu-shares is {_MIN_SHARES}")
    if cpu.shares and cpu.shares > _MAX_SHARES:
        raise InvalidArgument(f"the maximum allowed cpu-shares is {_MAX_SHARES}")
    values = (
        ("cpu", "cpu.idle", cpu.idle, "cpu.idle", False),
        ("cpu", "cpu.shares", cpu.shares if not cpu.idle else None, "--cpu-shares", False),
        ("cpu", "cpu.cfs_period_us", cpu.period, "--cpu-period", True),
        ("cpu", "cpu.cfs_quota_us", cpu.quota, "--cpus or --cpu-quota", True),
        ("cpu", "cpu.cfs_burst_us", cpu.burst, "cpu.burst", False),
        ("cpu", "cpu.rt_period_us", cpu.realtime_period, "--cpu-rt-period", True),
        ("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime, "--cpu-rt-runtime", False),
        ("cpuset", "cpuset.cpus", cpu.cpus or None, "--cpuset-cpus", False),
        ("cpuset", "cpuset.mems", cpu.mems or None, "--cpuset-mems", False),
    )
    settings = [
        Setting(controller, file, str(value), option, may_wait=may_wait)
        for controller, file, value, option, may_wait in values
        if value is not None and (value != 0 or file in {"cpu.idle", "cpu.cfs_burst_us"})
    ]
    return [
        # only what has something behind it to wait for
        each._replace(may_wait=each.may_wait and _bounds(each, following))
        for each, following in zip(settings, [*settings, None][1:], strict=True)
    ]


_BOUND = {
    "cpu.cfs_period_us": "cpu.cfs_quota_us",
    "cpu.cfs_quota_us": "cpu.cfs_burst_us",
    "cpu.rt_period_us": "cpu.rt_runtime_us",
}


def _bounds(setting: Setting, following: Setting | None) -> bool:
    return following is not None and _BOUND.get(setting.file) == following.file


def _block_io(block_io: oci.BlockIO, has: Has) -> list[Setting]:
    settings = []
    prefix = "blkio.bfq" if has("blkio", "blkio.bfq.weight") else "blkio"
    if block_io.weight:
        value = str(block_io.weight)
        settings.append(Setting("blkio", f"{prefix}.weight", value, "--blkio-weight"))
    if block_io.leaf_weight:
        value = str(block_io.leaf_weight)
        settings.append(Setting("blkio", "blkio.leaf_weight", value, "blockIO.leafWeight"))
    for entry in block_io.weight_device:
        device = f"{entry.major}:{entry.minor}"
        settings.append(
            Setting(
                "blkio",
                f"{prefix}.weight_device",
                f"{device} {entry.weight or 0}",
                "--blkio-weight-device",
                device,
                f"{device} 0",
            )
        )
    for throttle in throttles(block_io):
        device = throttle.device
        settings.append(
            Setting(
                "blkio",
                f"blkio.throttle.{throttle.direction}_{throttle.unit}_device",
                f"{device} {throttle.rate}",
                throttle.option,
                device,
                f"{device} 0",
            )
        )
    return settings


class Throttle(NamedTuple):
    """A rate of one device: ``direction`` read or write, ``unit`` bps or iops."""

    direction: str
    unit: str
    device: str
    rate: int

    @property
    def option(self) -> str:
        """Docker's flag for it."""
        return f"--device-{self.direction}-{self.unit}"


def throttles(block_io: oci.BlockIO) -> Iterator[Throttle]:
    """The rates, the same on both versions."""
    for direction, unit, devices in (
        ("read", "bps", block_io.throttle_read_bps_device),
        ("write", "bps", block_io.throttle_write_bps_device),
        ("read", "iops", block_io.throttle_read_iops_device),
        ("write", "iops", block_io.throttle_write_iops_device),
    ):
        for each in devices:
            yield Throttle(direction, unit, f"{each.major}:{each.minor}", each.rate)


def _network(network: oci.Network) -> list[Setting]:
    settings = []
    if network.class_id is not None:
        value = str(network.class_id)
        settings.append(Setting("net_cls", "net_cls.classid", value, "network.classID"))
    for each in network.priorities:
        value = f"{each.name} {each.priority}"
        settings.append(
            Setting(
                "net_prio",
                "net_prio.ifpriomap",
                value,
                "network.priorities",
                each.name,
                f"{each.name} 0",
            )
        )
    return settings


def rdma(limits: dict[str, oci.Rdma]) -> list[Setting]:
    """The settings for RDMA devices, the same on both versions."""
    settings = []
    for device, limit in limits.items():
        words = [device]
        if limit.hca_handles is not None:
            words.append(f"hca_handle={limit.hca_handles}")
        if limit.hca_objects is not None:
            words.append(f"hca_object={limit.hca_objects}")
        reset = f"{device} hca_handle=max hca_object=max"
        settings.append(Setting("rdma", "rdma.max", " ".join(words), "rdma", device, reset))
    return settings
