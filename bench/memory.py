"""Memory of processes, as the kernel accounts for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Mebibytes: private to the processes, and their proportional share (PSS)."""

    private: float
    proportional: float


def memory_of(pids: Iterable[int]) -> Memory:
    """Return the memory of all ``pids`` together."""
    private = proportional = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            key, value, *_ = line.split()
            if key in ("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:"):
                private += int(value)
            elif key == "Pss:":
                proportional += int(value)
    return Memory(private / 1024, proportional / 1024)
