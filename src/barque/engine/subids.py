"""Subordinate ids: which of the host's ids are for whose user namespaces.

Source: subuid(5), subgid(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from barque.models.oci import IdMapping

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


class Range(NamedTuple):
    """``size`` ids from ``start`` on."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first id behind it."""
        return self.start + self.size


def parse_ranges(text: str) -> list[tuple[str, Range]]:
    """Return (owner, range) of each line ``owner:start:count``. Other lines are nobody's."""
    found = []
    for line in text.splitlines():
        owner, *numbers = line.strip().split(":")
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            found.append((owner, Range(int(numbers[0]), int(numbers[1]))))
    return found


def read_ranges(path: Path) -> list[tuple[str, Range]]:
    """Read a file of them; one that is not there has none."""
    try:
        return parse_ranges(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return []


def ranges_of(path: Path, *owners: str) -> list[Range]:
    """Return the ranges of an owner, who may stand there by name or by number."""
    return [found for owner, found in read_ranges(path) if owner in owners]


def map_ranges(ranges: Iterable[Range]) -> list[IdMapping]:
    """Return the mapping of ids from 0 on to the ranges, one after the other."""
    mappings: list[IdMapping] = []
    inside = 0
    for start, size in ranges:
        mappings.append(IdMapping(container_id=inside, host_id=start, size=size))
        inside += size
    return mappings


def find_gap(pool: Sequence[Range], taken: Iterable[Range], size: int) -> Range | None:
    """Return the first ``size`` ids in a row that are in the pool and not taken."""
    busy = sorted(taken)
    for start, room in sorted(pool):
        at = start
        for other in busy:
            if other.end <= at:
                continue
            if other.start >= at + size:
                break
            at = other.end
        if at + size <= start + room:
            return Range(at, size)
    return None
