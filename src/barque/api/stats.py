"""GET /containers/{id}/stats and POST /containers/{id}/update."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from barque.api import decode
from barque.api.contracts import Engine
from barque.api.http import JSON, Call, Reply, Response, Stream, reply_json
from barque.cgroups.usage import UNLIMITED, Usage
from barque.engine.clock import format_time
from barque.engine.stats import Sample
from barque.errors import InvalidArgument
from barque.models.api import HostConfig
from barque.models.container import ZERO_TIME

INTERVAL_S = 1.0

_BLOCK_FIGURES = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)
_MEMORY_V1 = (
    "active_anon active_file cache dirty inactive_anon inactive_file mapped_file pgfault "
    "pgmajfault pgpgin pgpgout rss rss_huge unevictable writeback"
).split()
_MEMORY_V1_LIMITS = ("hierarchical_memory_limit", "hierarchical_memsw_limit")
_MEMORY_V2 = (
    "active_anon active_file anon anon_thp file file_dirty file_mapped file_writeback "
    "inactive_anon inactive_file kernel_stack pgactivate pgdeactivate pgfault pglazyfree "
    "pglazyfreed pgmajfault pgrefill pgscan pgsteal shmem slab slab_reclaimable "
    "slab_unreclaimable sock thp_collapse_alloc thp_fault_alloc unevictable "
    "workingset_activate workingset_nodereclaim workingset_refault"
).split()
_KERNEL_MEMORY_UNTIL = 42
_KERNEL_MEMORY = (
    "Specifying a kernel memory limit is deprecated and will be removed in a future release. "
    "Limitation discarded."
)


class Stats:
    """Usage of one container."""

    def __init__(self, engine: Engine) -> None:
        self._containers = engine.containers

    async def stats(self, call: Call) -> Response:
        """Stream a reading a second; ``stream=0`` gives one, after another to compare with.

        ``one-shot`` with that leaves the other out. A container that does not run has used
        nothing, and is told so.
        """
        stream = call.flag("stream", default=True)
        one_shot = call.flag("one-shot")
        if stream and one_shot:
            raise InvalidArgument("cannot have stream=true and one-shot=true")
        sample = await self._containers.sample(call.name)
        container = sample.id
        with call.cancelled_by_disconnect():
            if not stream:
                before = None
                if not one_shot and sample.usage is not None:
                    before = sample
                    await asyncio.sleep(INTERVAL_S)
                    sample = await self._containers.sample(container)
                return reply_json(render(sample, before))
            reply = Stream(call, JSON)
            before = None
            while True:
                await reply.write(msgspec.json.encode(render(sample, before)) + b"\n")
                before = sample
                await asyncio.sleep(INTERVAL_S)
                if not self._containers.knows(container):
                    return reply.end()
                sample = await self._containers.sample(container)


class Update:
    """Limits of one container."""

    def __init__(self, engine: Engine) -> None:
        self._containers = engine.containers

    async def update(self, call: Call) -> Reply:
        """Change limits and restart policy."""
        document = await call.json() or {}
        warnings = kernel_memory_warnings(document, call.minor)
        changes = decode.convert(document, HostConfig)
        warnings += await self._containers.update(call.name, changes)
        return reply_json({"Warnings": warnings or None})


def kernel_memory_warnings(host: Any, minor: int) -> list[str]:
    """Warn of a limit that versions before 1.42 have and no kernel has any more."""
    if minor >= _KERNEL_MEMORY_UNTIL or not isinstance(host, dict):
        return []
    return [_KERNEL_MEMORY] if decode.take_field(dict(host), "KernelMemory") else []


def render(sample: Sample, before: Sample | None) -> dict[str, Any]:
    """Return the document of the Engine API; ``before`` is the reading to compare with."""
    usage = sample.usage
    document = {
        "read": _time(sample),
        "preread": _time(before),
        "pids_stats": _pids(usage),
        "blkio_stats": _block_io(usage),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(sample),
        "name": f"/{sample.name}",
        "id": sample.id,
    }
    if sample.networks:
        document["networks"] = {
            name: counters._asdict() for name, counters in sample.networks.items()
        }
    return document


def _time(sample: Sample | None) -> str:
    return format_time(sample.time_ns) if sample is not None and sample.time_ns else ZERO_TIME


def _pids(usage: Usage | None) -> dict[str, int]:
    if usage is None or usage.pids is None:
        return {}
    document = {"current": usage.pids.current}
    if usage.version > 1 or usage.pids.limit != UNLIMITED:
        document["limit"] = usage.pids.limit
    return document


def _block_io(usage: Usage | None) -> dict[str, Any]:
    """Version 1 has a list for every figure, version 2 for those that it has."""
    document: dict[str, Any] = dict.fromkeys(_BLOCK_FIGURES)
    if usage is not None:
        for name, entries in usage.block_io.items():
            if entries or usage.version == 1:
                document[name] = [entry._asdict() for entry in entries]
    return document


def _cpu(sample: Sample | None) -> dict[str, Any]:
    usage = sample.usage if sample is not None else None
    cpu = usage.cpu if usage is not None else None
    times: dict[str, Any] = {"total_usage": cpu.total_ns if cpu else 0}
    if cpu is not None and cpu.per_cpu_ns is not None:
        times["percpu_usage"] = cpu.per_cpu_ns
    times["usage_in_kernelmode"] = cpu.system_ns if cpu else 0
    times["usage_in_usermode"] = cpu.user_ns if cpu else 0
    document: dict[str, Any] = {"cpu_usage": times}
    if sample is not None and cpu is not None:
        document["system_cpu_usage"] = sample.system_cpu_ns
        document["online_cpus"] = sample.cpus
    document["throttling_data"] = {
        "periods": cpu.periods if cpu else 0,
        "throttled_periods": cpu.throttled_periods if cpu else 0,
        "throttled_time": cpu.throttled_ns if cpu else 0,
    }
    return document


def _memory(sample: Sample) -> dict[str, Any]:
    usage = sample.usage
    memory = usage.memory if usage is not None else None
    if usage is None or memory is None:
        return {}
    document: dict[str, Any] = {"usage": memory.usage}
    if memory.max_usage is not None:
        document["max_usage"] = memory.max_usage
    document["stats"] = _memory_details(usage.version, memory.details)
    if memory.failures:
        document["failcnt"] = memory.failures
    document["limit"] = min(memory.limit, sample.host_memory_bytes)
    return document


def _memory_details(version: int, details: dict[str, int]) -> dict[str, int]:
    """Return what docker shows, in its order, whatever else or less the kernel tells."""
    if version == 1:
        names = sorted([*_MEMORY_V1, *_MEMORY_V1_LIMITS])
        names += [f"total_{name}" for name in _MEMORY_V1]
        return {name: details.get(name, 0) for name in sorted(names)}
    split = details.get("workingset_refault_anon", 0) + details.get("workingset_refault_file", 0)
    details = {"workingset_refault": split, **details}
    return {name: details.get(name, 0) for name in sorted(_MEMORY_V2)}
