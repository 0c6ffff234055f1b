"""What a control group has used, in one shape for both versions; and parsers of the files."""

from __future__ import annotations

from typing import NamedTuple

UNLIMITED = 2**64 - 1


class CpuUsage(NamedTuple):
    """Processor time in nanoseconds. ``per_cpu_ns`` is None where the kernel does not tell."""

    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    per_cpu_ns: list[int] | None = None
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


class MemoryUsage(NamedTuple):
    """Bytes. ``limit`` is UNLIMITED without one; ``details`` is memory.stat."""

    usage: int
    limit: int
    failures: int
    details: dict[str, int]
    max_usage: int | None = None


class PidsUsage(NamedTuple):
    """Processes and threads. ``limit`` is UNLIMITED without one."""

    current: int
    limit: int


class BlockEntry(NamedTuple):
    """One figure of one block device; ``op`` is the kernel's word for the operation."""

    major: int
    minor: int
    op: str
    value: int


class Usage(NamedTuple):
    """All of it. None stands for a controller that is not there.

    ``block_io`` is by the Engine API's names; those that the kernel has no file for are missing.
    """

    version: int
    cpu: CpuUsage
    memory: MemoryUsage | None
    pids: PidsUsage | None
    block_io: dict[str, list[BlockEntry]]


def parse_limit(text: str) -> int:
    """``max``, or nothing, is UNLIMITED."""
    return UNLIMITED if text in {"max", ""} else int(text)


def parse_pairs(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    lines = (line.partition(" ") for line in text.splitlines())
    return {name: int(value) for name, _, value in lines}


def parse_pids(current: str, limit: str) -> PidsUsage | None:
    """pids.current and pids.max."""
    return PidsUsage(int(current), parse_limit(limit)) if current else None


def parse_io_stat(text: str) -> list[BlockEntry]:
    """io.stat of version 2: ``8:0 rbytes=1 wbytes=2 rios=3 …``; only the bytes, as docker."""
    entries = []
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        if not colon:
            continue  # a device that is gone
        values = dict(word.partition("=")[::2] for word in rest.split())
        for op, key in (("read", "rbytes"), ("write", "wbytes")):
            if key in values:
                entries.append(BlockEntry(int(major), int(minor), op, int(values[key])))
    return entries


def parse_blkio(text: str) -> list[BlockEntry]:
    """Version 1: ``8:0 Read 4096``, or ``8:0 17`` where there is one figure a device."""
    entries = []
    for line in text.splitlines():
        words = line.split()
        major, colon, minor = words[0].partition(":")
        if not colon:
            continue  # the total
        op = words[1] if len(words) == 3 else ""
        entries.append(BlockEntry(int(major), int(minor), op, int(words[-1])))
    return entries
