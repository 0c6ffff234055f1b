"""The oracle of the attacks: what on the host must be as it was, whatever a container did.

``look`` before and after; ``Sentinels.changed`` names what is different. Watched are the
programs and files that run with the host's rights, a tree of files that no container was given,
the mount table, the sysctls of the whole machine, and descriptors and memory of an engine's
processes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import barque

_SYSCTLS = (
    "kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/sysrq",
    "kernel/randomize_va_space", "kernel/panic", "vm/swappiness", "vm/overcommit_memory",
    "net/ipv4/ip_forward", "fs/protected_symlinks", "fs/file-max",
)  # fmt: skip
_GROWTH_BYTES = 24 << 20
"""More than this is a leak: what a hundred containers, and their memory of them, take."""
_MORE_DESCRIPTORS = 4


class Sentinels(NamedTuple):
    """What was seen: names to hashes or texts."""

    seen: dict[str, str]

    def changed(self, before: Sentinels) -> list[str]:
        """The names of what is not as ``before``, or was not there."""
        names = self.seen.keys() | before.seen.keys()
        return sorted(n for n in names if self.seen.get(n) != before.seen.get(n))


def look(*trees: Path, interpreters: Iterable[Path] = (), programs: bool = True) -> Sentinels:
    """Hash the interpreter, barque's own files and ``trees``; read mounts and sysctls.

    Without ``programs`` the first two, and /etc, are left out: somebody at work on this machine
    may change them while a test runs for long.
    """
    seen = {}
    if programs:
        ours = (Path(sys.executable).resolve(), *_files(Path(barque.__file__).parent))
        for path in (*ours, *interpreters, *_host_files()):
            seen[str(path)] = _hash(path)
    for tree in trees:
        for path in (tree, *tree.rglob("*")):
            seen[str(path)] = _describe(path)
    for line in _lines("/proc/self/mountinfo"):
        number, _, what = line.strip().partition(" ")
        seen[f"mount {number} {what}"] = "there"
    for name in _SYSCTLS:
        path = Path("/proc/sys", name)
        seen[str(path)] = path.read_text() if path.exists() else "none"
    seen["umask"] = f"{_umask():o}"
    return Sentinels(seen)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*.py") if path.is_file())


def _host_files() -> Iterator[Path]:
    names = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hosts", "/etc/ld.so.preload")
    return (Path(name) for name in names)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none"


def _describe(path: Path) -> str:
    info = path.lstat()
    told = f"{info.st_mode:o} {info.st_uid} {info.st_gid} {info.st_rdev}"
    if path.is_symlink():
        return f"{told} {path.readlink()}"
    return f"{told} {_hash(path)}" if path.is_file() else told


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines(keepends=True)


def _umask() -> int:
    return int(next(x for x in _lines("/proc/self/status") if x.startswith("Umask")).split()[1], 8)


class Weight(NamedTuple):
    """What a process holds."""

    descriptors: int
    memory_bytes: int


def weigh(pid: int) -> dict[str, Weight]:
    """The engine ``pid`` and the spawner that it started, by what ps shows of them."""
    weights = {}
    for each in (pid, *_children(pid)):
        command = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")[0].decode()
        name = "spawner" if command == "barque-spawner" else "engine" if each == pid else command
        rss = Path(f"/proc/{each}/statm").read_text().split()[1]
        weights[name] = Weight(
            len(os.listdir(f"/proc/{each}/fd")), int(rss) * os.sysconf("SC_PAGE_SIZE")
        )
    return weights


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def heavier(before: dict[str, Weight], after: dict[str, Weight]) -> list[str]:
    """Say of which process descriptors or memory have grown as only a leak grows."""
    return [
        f"{name}: {before[name]} is now {after[name]}"
        for name in ("engine", "spawner")
        if after[name].descriptors > before[name].descriptors + _MORE_DESCRIPTORS
        or after[name].memory_bytes > before[name].memory_bytes + _GROWTH_BYTES
    ]
