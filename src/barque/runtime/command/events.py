"""``events``: what a container uses, and when its memory runs out, a line of JSON each.

Source: runc-events(8), and runc's types/events.go for the shape: what is 0 there is left out.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable

import msgspec

from barque.cgroups import Cgroup, open_cgroup
from barque.cgroups.usage import BlockEntry, Figure, RareUsage, Usage
from barque.errors import Conflict, FailedPrecondition, KernelError
from barque.runtime.command.state import Container

_KILL_S = 0.05
"""How long the kernel takes from a notice to the kill."""


def show_stats(container: Container) -> None:
    """Print what the container uses now. Raises Conflict if it does not run."""
    _check(container)
    _print_stats(container, open_cgroup(container.record.cgroup))


def follow_events(container: Container, interval_s: float) -> None:
    """Print it every ``interval_s``, and each time memory runs out, until the container ends."""
    _check(container)
    cgroup = open_cgroup(container.record.cgroup)
    poll = select.poll()
    with container.open_init() as init:
        poll.register(init.pidfd, select.POLLIN)
        notice = _open_notice(cgroup, poll)
        kills = cgroup.oom_kills()
        due = time.monotonic() + interval_s
        while True:
            left_s = due - time.monotonic()
            ready = {fd for fd, _ in poll.poll(max(left_s, 0) * 1000)}
            if notice in ready:
                _take(notice)
                time.sleep(_KILL_S)
            now = _kills(cgroup, kills)
            if now > kills or (notice in ready and _goes_on(container)):
                kills = now
                _print({"type": "oom", "id": container.record.id})
            if init.pidfd in ready:
                return
            if time.monotonic() >= due:
                _print_stats(container, cgroup)
                due += interval_s


def _check(container: Container) -> None:
    if container.status in {"creating", "stopped"}:
        raise Conflict(f"container with id {container.record.id} is not running")


def _open_notice(cgroup: Cgroup, poll: select.poll) -> int:
    """The descriptor of the notices, registered; -1 where no memory controller gives any."""
    try:
        fd, event = cgroup.open_oom_notice()
    except (FailedPrecondition, KernelError):
        return -1
    os.set_blocking(fd, False)
    poll.register(fd, event)  # POLLIN and POLLPRI are EPOLL's
    return fd


def _take(notice: int) -> None:
    """Have the descriptor wait for the next one: a counter on version 1, a file on version 2."""
    try:
        os.pread(notice, 4096, 0)
    except OSError:
        os.read(notice, 8)


def _kills(cgroup: Cgroup, before: int) -> int:
    try:
        return cgroup.oom_kills()
    except KernelError:  # the group has gone with the container
        return before


def _goes_on(container: Container) -> bool:
    """Whether nobody is killed when memory runs out: then each notice counts."""
    resources = container.record.spec.linux.resources
    return bool(resources and resources.memory and resources.memory.disable_oom_killer)


def _print_stats(container: Container, cgroup: Cgroup) -> None:
    try:
        data = stats(cgroup.usage(), cgroup.rare_usage())
    except KernelError:
        if container.status == "stopped":
            return
        raise
    _print({"type": "stats", "id": container.record.id, "data": data})


def _print(event: dict[str, object]) -> None:
    sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
    sys.stdout.flush()


def stats(usage: Usage, rare: RareUsage) -> dict[str, object]:
    """The document of an event of type ``stats``."""
    cpu, pids = usage.cpu, usage.pids
    return {
        "cpu": {
            "usage": {
                **_nonzero(
                    total=cpu.total_ns,
                    percpu=cpu.per_cpu_ns,
                    percpu_kernel=rare.per_cpu_kernel_ns,
                    percpu_user=rare.per_cpu_user_ns,
                ),
                "kernel": cpu.system_ns,
                "user": cpu.user_ns,
            },
            "throttling": _nonzero(
                periods=cpu.periods,
                throttledPeriods=cpu.throttled_periods,
                throttledTime=cpu.throttled_ns,
            ),
        },
        "cpuset": {
            **_nonzero(cpus=rare.cpus, mems=rare.mems),
            **{name: rare.cpuset.get(name, 0) for name in _CPUSET},
        },
        "memory": _memory(usage, rare),
        "pids": _nonzero(
            current=pids.current if pids else 0,
            limit=pids.limit if pids and pids.limit != _UNLIMITED else 0,
        ),
        "blkio": {
            name: [_block_entry(entry) for entry in entries]
            for key, name in _BLOCK_FIGURES.items()
            if (entries := usage.block_io.get(key))
        },
        "hugetlb": {
            size: {**_nonzero(usage=pages.usage, max=pages.max_usage), "failcnt": pages.failures}
            for size, pages in rare.huge_pages.items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


_UNLIMITED = 2**64 - 1
_CPUSET = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)
_BLOCK_FIGURES = {
    "io_service_bytes_recursive": "ioServiceBytesRecursive",
    "io_serviced_recursive": "ioServicedRecursive",
    "io_queue_recursive": "ioQueueRecursive",
    "io_service_time_recursive": "ioServiceTimeRecursive",
    "io_wait_time_recursive": "ioWaitTimeRecursive",
    "io_merged_recursive": "ioMergedRecursive",
    "io_time_recursive": "ioTimeRecursive",
    "sectors_recursive": "sectorsRecursive",
}


def _memory(usage: Usage, rare: RareUsage) -> dict[str, object]:
    memory = usage.memory
    if memory is None:
        return {name: _entry(Figure()) for name in ("usage", "swap", "kernel", "kernelTCP")}
    own = Figure(memory.usage, memory.limit, memory.failures, memory.max_usage)
    cache = memory.details.get("cache" if usage.version == 1 else "file", 0)
    return {
        **_nonzero(cache=cache),
        "usage": _entry(own),
        "swap": _entry(rare.swap),
        "kernel": _entry(rare.kernel),
        "kernelTCP": _entry(rare.kernel_tcp),
        "raw": memory.details,
    }


def _entry(figure: Figure) -> dict[str, object]:
    return {
        "limit": figure.limit,
        **_nonzero(usage=figure.usage, max=figure.max_usage),
        "failcnt": figure.failures,
    }


def _block_entry(entry: BlockEntry) -> dict[str, object]:
    return _nonzero(
        major=entry.major, minor=entry.minor, op=entry.op.capitalize(), value=entry.value
    )


def _nonzero(**values: int | str | Iterable[int] | None) -> dict[str, object]:
    return {name: value for name, value in values.items() if value}
