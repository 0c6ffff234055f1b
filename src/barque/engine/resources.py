"""Limits as a client asks for them, as those of a control group.

Source: the Engine API's Resources; runtime-spec config-linux.md "Control groups".
"""

from __future__ import annotations

from barque.engine.devices import find_device_number
from barque.models import oci
from barque.models.api import HostConfig, ThrottleDevice

_CFS_PERIOD_US = 100_000


def build_resources(host: HostConfig, rules: list[oci.DeviceRule] | None = None) -> oci.Resources:
    """Return the limits in ``host`` as a control group's. Raises InvalidArgument.

    ``rules`` are the device rules; a running container's are not touched by leaving them out.
    Of the engine's own limits there is nothing here.
    """
    limit = host.pids_limit
    return oci.Resources(
        devices=rules or [],
        memory=_memory(host),
        cpu=_cpu(host),
        pids=oci.Pids(limit=limit) if limit and limit > 0 else None,
        block_io=_block_io(host),
    )


def _memory(host: HostConfig) -> oci.Memory | None:
    unlimited_swap = host.memory > 0 and host.memory_swap == -1
    memory = oci.Memory(
        limit=host.memory if host.memory > 0 else None,
        reservation=host.memory_reservation if host.memory_reservation > 0 else None,
        swap=host.memory_swap if host.memory_swap > 0 or unlimited_swap else None,
        swappiness=host.memory_swappiness,
        disable_oom_killer=host.oom_kill_disable or None,
    )
    return memory if memory != oci.Memory() else None


def _cpu(host: HostConfig) -> oci.Cpu | None:
    quota, period = host.cpu_quota or None, host.cpu_period or None
    if host.nano_cpus > 0:
        quota, period = host.nano_cpus * _CFS_PERIOD_US // 10**9, _CFS_PERIOD_US
    cpu = oci.Cpu(
        shares=host.cpu_shares or None,
        quota=quota,
        period=period,
        realtime_runtime=host.cpu_realtime_runtime or None,
        realtime_period=host.cpu_realtime_period or None,
        cpus=host.cpuset_cpus,
        mems=host.cpuset_mems,
    )
    return cpu if cpu != oci.Cpu() else None


def _throttle(devices: list[ThrottleDevice] | None) -> list[oci.ThrottleDevice]:
    found = []
    for device in devices or ():
        major, minor = find_device_number(device.path)
        found.append(oci.ThrottleDevice(major=major, minor=minor, rate=device.rate))
    return found


def _block_io(host: HostConfig) -> oci.BlockIO | None:
    weights = []
    for device in host.blkio_weight_device or ():
        major, minor = find_device_number(device.path)
        weights.append(oci.WeightDevice(major=major, minor=minor, weight=device.weight))
    block_io = oci.BlockIO(
        weight=host.blkio_weight or None,
        weight_device=weights,
        throttle_read_bps_device=_throttle(host.blkio_device_read_bps),
        throttle_write_bps_device=_throttle(host.blkio_device_write_bps),
        throttle_read_iops_device=_throttle(host.blkio_device_read_i_ops),
        throttle_write_iops_device=_throttle(host.blkio_device_write_i_ops),
    )
    return block_io if block_io != oci.BlockIO() else None
