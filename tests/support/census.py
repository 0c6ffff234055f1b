"""The leak census: what containers leave on a machine when they should have left nothing.

Take one before and one after; ``leaks`` names what is there now and was not. The kernel takes
namespaces, interfaces and cgroups away a moment after their last process, hence ``settle``.

The census is of the whole machine (mounts, namespaces, links, firewall, cgroups, processes in
namespaces of their own) and, for one engine, of its files, children and descriptors. Two
tests that start containers at the same time see each other's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from barque.shim.spawner import READY
from support.engine import Engine
from support.scale import patient
from support.waiting import wait_until

SETTLE_S = 15.0

_NETWORK_NAMESPACE = re.compile(r"net:\[(\d+)\]")
_COUNTERS = re.compile(r" (counter )?packets \d+ bytes \d+| # handle \d+")


@dataclass(frozen=True)
class Census:
    """What was found, by kind: mounts, links, processes and so on."""

    found: dict[str, Counter[str]]

    def leaks(self, before: Census) -> list[str]:
        """Return a readable line for everything that ``before`` did not have.

        Of a directory left over with all that is in it, only the directory is named.
        """
        lines = []
        for kind, names in self.found.items():
            more = names - before.found.get(kind, Counter())
            lines += [
                f"{kind}: {name}" + (f" (x{count})" if count > 1 else "")
                for name, count in sorted(more.items())
                if kind != "file" or os.path.dirname(name) not in more
            ]
        return lines


def take(engine: Engine | None = None) -> Census:
    """Count what there is now; with ``engine``, also its files, children and descriptors."""
    found = {
        "mount": Counter(_mounts()),
        "network namespace": Counter(_network_namespaces()),
        "link": Counter(path.name for path in Path("/sys/class/net").iterdir()),
        "firewall": Counter(_firewall()),
        "cgroup": Counter(_cgroups()),
        "process": Counter(_contained_processes()),
    }
    if engine is not None:
        found["file"] = Counter(_files(engine))
        if engine.process is not None:
            found["child of the engine"] = Counter(_descendants(engine.pid))
            found["descriptor"] = Counter(_descriptors(engine.pid))
    return Census(found)


def take_at_rest(engine: Engine | None = None) -> Census:
    """Take one to compare with, once what engines do beside their work is done.

    Shims for the next containers are made while the one before runs, and have their namespaces
    a moment later. SQLite keeps the descriptor of what folded the log, for the next time.
    """
    taken: list[Census] = []

    def rests() -> bool:
        taken.append(take(engine))
        found = taken[-1].found
        shims = found["process"]["barque-shim"]  # two processes for each that waits
        ready = found["network namespace"]["of a waiting shim"]
        folded = (
            found.get("descriptor", Counter())[f"{engine.data_root}/barque.db"] if engine else 2
        )
        return shims % (2 * READY) == 0 and ready == shims // 2 and folded >= 2

    wait_until(rests, "the engines' next shims are ready, the log was folded")
    return taken[-1]


def settle(
    before: Census, engine: Engine | None = None, *, deadline_s: float = SETTLE_S
) -> list[str]:
    """Return the leaks that are still there when they no longer become fewer, or none.

    Waits up to ``deadline_s`` for the machine to come to rest.
    """
    until = time.monotonic() + patient(deadline_s)
    while leaks := take(engine).leaks(before):
        if time.monotonic() > until:
            return leaks
        time.sleep(0.1)
    return []


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        yield f"{kind.split()[0]} at {fields.split()[4]}"


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _gone_is_none(read: Callable[[Path], str], path: Path) -> str | None:
    """Return what ``read`` gives, or None if the process has ended meanwhile."""
    try:
        return read(path)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _read_link(path: Path) -> str:
    return str(path.readlink())


def _network_namespaces() -> list[str]:
    """Return the namespaces that a process is in or a descriptor or mount holds.

    Those that waiting shims have ready for the next containers all have the same name.
    """
    links = set()
    ready = []
    for process in _processes():
        link = _gone_is_none(_read_link, process / "ns/net")
        if _describe(process) == "barque-shim" and link != os.readlink("/proc/self/ns/net"):
            ready.append("of a waiting shim")
            continue
        links.add(link)
        try:
            descriptors = list((process / "fd").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            continue
        links.update(_gone_is_none(_read_link, descriptor) for descriptor in descriptors)
    found = {match[1] for link in links if link and (match := _NETWORK_NAMESPACE.fullmatch(link))}
    found |= set(_NETWORK_NAMESPACE.findall(Path("/proc/self/mountinfo").read_text()))
    return [*found, *ready]


def _firewall() -> Iterator[str]:
    if shutil.which("nft") is None:
        return
    listed = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True)
    table = ""
    for line in listed.stdout.splitlines():
        if line.startswith("table "):
            table = line.removesuffix(" {")
        yield f"{table}: {_COUNTERS.sub('', line).strip()}"


def _cgroups() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith(("cgroup ", "cgroup2 ")):
            for folder, _, _ in os.walk(fields.split()[4]):
                yield folder


def _describe(process: Path) -> str | None:
    command = _gone_is_none(Path.read_text, process / "cmdline")
    if not command:
        return None
    return command.replace("\0", " ").strip()[:120]


def _contained_processes() -> Iterator[str]:
    """Yield the processes in another process namespace, and those run from a sealed copy."""
    ours = os.readlink("/proc/self/ns/pid")
    for process in _processes():
        namespace = _gone_is_none(_read_link, process / "ns/pid")
        program = _gone_is_none(_read_link, process / "exe") or ""
        outside = namespace is not None and namespace != ours
        if (outside or program.startswith("/memfd:")) and (description := _describe(process)):
            yield description


def _descendants(pid: int) -> Iterator[str]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (_gone_is_none(Path.read_text, task / "children") or "").split():
            if description := _describe(Path("/proc") / child):
                yield description
            if Path(f"/proc/{child}").exists():
                yield from _descendants(int(child))


def _descriptors(pid: int) -> Iterator[str]:
    """Yield the kind of every descriptor: sockets and pipes have no names of their own."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        link = _gone_is_none(_read_link, descriptor)
        if link is not None:
            yield re.sub(r":\[\d+\]$", "", link)


def _files(engine: Engine) -> Iterator[str]:
    for root in (engine.data_root, engine.exec_root):
        for folder, directories, files in os.walk(root):
            for name in (*directories, *files):
                if not name.endswith(("-wal", "-shm", "-journal")):
                    yield str(Path(folder, name).relative_to(engine.root))
