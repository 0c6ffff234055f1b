"""What a control group has used, in one shape for both versions; and parsers of the files."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from barque.cgroups.lists import parse_list

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


class Figure(NamedTuple):
    """How much of something is used, and was refused, in its own unit. None is not told."""

    usage: int = 0
    limit: int = 0
    failures: int = 0
    max_usage: int | None = None


class RareUsage(NamedTuple):
    """What hardly anybody asks for, and ``Usage`` therefore does not read.

    ``swap`` is memory and swap together. ``huge_pages`` is by size, such as ``2MB``, in bytes.
    ``cpuset`` has the files of version 1 by name, ``cpus`` and ``mems`` apart.
    """

    swap: Figure = Figure()
    kernel: Figure = Figure()
    kernel_tcp: Figure = Figure()
    huge_pages: dict[str, Figure] = {}  # noqa: RUF012 - never changed
    cpus: list[int] = []  # noqa: RUF012
    mems: list[int] = []  # noqa: RUF012
    cpuset: dict[str, int] = {}  # noqa: RUF012
    per_cpu_user_ns: list[int] = []  # noqa: RUF012
    per_cpu_kernel_ns: list[int] = []  # noqa: RUF012


def page_sizes(directory: str, suffix: str) -> list[str]:
    """The sizes of huge pages that the group ``directory`` counts, by its files' names."""
    pattern = re.compile(rf"hugetlb\.([0-9]+[KMG]B){re.escape(suffix)}")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(match[1] for name in names if (match := pattern.fullmatch(name)))


def parse_numbers(text: str) -> list[int]:
    """A list such as ``0-3,8``; nothing is an empty one."""
    return sorted(parse_list(text)) if text else []


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
