"""Resource limits: what a client may ask for, and what this kernel cannot do.

A limit that can never work is an error; one that this kernel lacks is taken out, with a
warning, as docker does. Texts are dockerd's, which clients show and tests match.

Source: the Engine API's Resources; dockerd's verifyPlatformContainerResources.
"""

from __future__ import annotations

from barque.cgroups.lists import parse_list
from barque.engine.facts import CgroupFacts, HostFacts
from barque.errors import InvalidArgument
from barque.models.api import HostConfig

MIN_MEMORY_BYTES = 6 << 20
MIN_NANO_CPUS = 10**7
"""A hundredth of a processor: the kernel gives no slices below 1 ms in 100."""


_NO_WEIGHT_DEVICE = (
    "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
    "Weight-device discarded."
)
_NO_BPS = (
    "Your kernel does not support BPS Block I/O {0} limit or the cgroup is not mounted. Block "
    "I/O BPS {0} limit discarded."
)
_NO_IOPS = (
    "Your kernel does not support IOPS Block {0} limit or the cgroup is not mounted. Block I/O "
    "IOPS {0} limit discarded."
)


def check_limits(host: HostConfig, facts: HostFacts, *, update: bool = False) -> list[str]:
    """Check the limits in ``host`` and take out what the kernel lacks; return warnings.

    ``update``: for a running container, where a swap limit may come without a memory limit.
    Raises InvalidArgument.
    """
    cgroups = facts.cgroups
    warnings: list[str] = []
    _check_memory(host, cgroups, warnings, update=update)
    _check_oom_and_pids(host, cgroups, warnings)
    _check_cpu(host, facts, warnings)
    _check_cpuset(host, cgroups, warnings)
    _check_blkio(host, cgroups, warnings)
    return warnings


def _check_memory(
    host: HostConfig, cgroups: CgroupFacts, warnings: list[str], *, update: bool
) -> None:
    if host.memory_swappiness == -1:
        host.memory_swappiness = None  # how clients say: nothing asked
    if host.memory and host.memory < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and not cgroups.memory_limit:
        warnings.append(
            "Your kernel does not support memory limit capabilities or the cgroup is not "
            "mounted. Limitation discarded."
        )
        host.memory, host.memory_swap = 0, -1
    if host.memory > 0 and host.memory_swap != -1 and not cgroups.swap_limit:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not "
            "mounted. Memory limited without swap."
        )
        host.memory_swap = -1
    if 0 < host.memory_swap < host.memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if host.memory == 0 and host.memory_swap > 0 and not update:
        raise InvalidArgument(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if host.memory_swappiness is not None and not cgroups.memory_swappiness:
        warnings.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not "
            "mounted. Memory swappiness discarded."
        )
        host.memory_swappiness = None
    if host.memory_swappiness is not None and not 0 <= host.memory_swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100"
        )
    if host.memory_reservation > 0 and not cgroups.memory_reservation:
        warnings.append(
            "Your kernel does not support memory soft limit capabilities or the cgroup is not "
            "mounted. Limitation discarded."
        )
        host.memory_reservation = 0
    if 0 < host.memory_reservation < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < host.memory < host.memory_reservation:
        raise InvalidArgument(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )


def _check_oom_and_pids(host: HostConfig, cgroups: CgroupFacts, warnings: list[str]) -> None:
    if host.oom_kill_disable is not None and not cgroups.oom_kill_disable:
        if host.oom_kill_disable:
            warnings.append(
                "Your kernel does not support OomKillDisable. OomKillDisable discarded."
            )
        host.oom_kill_disable = None
    if host.oom_kill_disable and host.memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    if host.pids_limit is not None and not cgroups.pids:
        if host.pids_limit > 0:
            warnings.append(
                "Your kernel does not support PIDs limit capabilities or the cgroup is not "
                "mounted. PIDs limit discarded."
            )
        host.pids_limit = None


def _check_cpu(host: HostConfig, facts: HostFacts, warnings: list[str]) -> None:
    cgroups = facts.cgroups
    if host.nano_cpus > 0 and host.cpu_period > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.nano_cpus > 0 and host.cpu_quota > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if host.nano_cpus > 0 and not cgroups.cpu_cfs:
        raise InvalidArgument(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the "
            "cgroup is not mounted"
        )
    if host.nano_cpus and not MIN_NANO_CPUS <= host.nano_cpus <= facts.cpus * 10**9:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {facts.cpus}.00, as there are only {facts.cpus} "
            f"CPUs available"
        )
    if host.cpu_shares < 0:
        raise InvalidArgument(
            f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer"
        )
    if host.cpu_shares > 0 and not cgroups.cpu_shares:
        warnings.append(
            "Your kernel does not support CPU shares or the cgroup is not mounted. Shares "
            "discarded."
        )
        host.cpu_shares = 0
    if (host.cpu_period or host.cpu_quota) and not cgroups.cpu_cfs:
        warnings.append(
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
        )
        host.cpu_period = host.cpu_quota = 0
    if host.cpu_period and not 1000 <= host.cpu_period <= 1000000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    realtime = host.cpu_realtime_period, host.cpu_realtime_runtime
    if any(realtime) and not cgroups.cpu_realtime:
        raise InvalidArgument("kernel does not support CPU real-time scheduler")
    if all(realtime) and host.cpu_realtime_runtime > host.cpu_realtime_period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_set(text: str, available: str, what: str, kind: str) -> None:
    try:
        wanted = parse_list(text)
    except ValueError as error:
        raise InvalidArgument(f"Invalid value {text} for cpuset {kind}") from error
    if not wanted <= (parse_list(available) if available else frozenset()):
        raise InvalidArgument(
            f"Requested {what} are not available - requested {text}, available: {available}"
        )


def _check_cpuset(host: HostConfig, cgroups: CgroupFacts, warnings: list[str]) -> None:
    if (host.cpuset_cpus or host.cpuset_mems) and not cgroups.cpuset:
        warnings.append(
            "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded."
        )
        host.cpuset_cpus = host.cpuset_mems = ""
    if host.cpuset_cpus:
        _check_set(host.cpuset_cpus, cgroups.cpuset_cpus, "CPUs", "cpus")
    if host.cpuset_mems:
        _check_set(host.cpuset_mems, cgroups.cpuset_mems, "memory nodes", "mems")


def _check_blkio(host: HostConfig, cgroups: CgroupFacts, warnings: list[str]) -> None:
    if host.blkio_weight > 0 and not cgroups.blkio_weight:
        warnings.append(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
            "Weight discarded."
        )
        host.blkio_weight = 0
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    for supported, field, text in (
        (cgroups.blkio_weight_device, "blkio_weight_device", _NO_WEIGHT_DEVICE),
        (cgroups.blkio_read_bps, "blkio_device_read_bps", _NO_BPS.format("read")),
        (cgroups.blkio_write_bps, "blkio_device_write_bps", _NO_BPS.format("write")),
        (cgroups.blkio_read_iops, "blkio_device_read_i_ops", _NO_IOPS.format("read")),
        (
            cgroups.blkio_write_iops,
            "blkio_device_write_i_ops",
            _NO_IOPS.format("write"),
        ),
    ):
        if getattr(host, field) and not supported:
            warnings.append(text)
            setattr(host, field, [])
