"""Whether an engine's records, the kernel and the disk tell the same story.

For every container that runs: its process lives and has one shim, a cgroup, an address of its
own and a port of the bridge. For every other one, and for what has no record: none of these.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

from barque.cgroups import open_cgroup
from barque.daemon.wiring import cgroup_parent
from support.engine import Engine
from support.scale import patient
from support.wire import call

SETTLE_S = 15.0


def settle(engine: Engine, deadline_s: float = SETTLE_S) -> list[str]:
    """Return the contradictions that are still there after a while, or none."""
    until = time.monotonic() + patient(deadline_s)
    while found := contradictions(engine):
        if time.monotonic() > until:
            return found
        time.sleep(0.1)
    return []


def contradictions(engine: Engine) -> list[str]:
    """Return a readable line for everything that does not fit, now."""
    status, listed = call(engine.socket, "GET", "/containers/json?all=1")
    assert status == 200, listed
    details = [call(engine.socket, "GET", f"/containers/{c['Id']}/json")[1] for c in listed]
    containers = {detail["Id"]: detail for detail in details}
    running = {id_ for id_, detail in containers.items() if detail["State"]["Running"]}
    addressed = {id_: _address(containers[id_]) for id_ in running if _address(containers[id_])}
    shims = find_shims(engine)
    everything = Counter(containers.keys())
    found = []
    for id_, detail in containers.items():
        state = detail["State"]
        if state["Status"] in {"removing", "dead"}:
            found.append(f"{id_[:12]} is {state['Status']}: {state['Error']}")
        if id_ in running:
            found += _look_inside(id_, state["Pid"], addressed.get(id_, ""))
    found += _compare("running and shims", Counter(running), Counter(shims.values()))
    found += _compare("running and cgroups", Counter(running), Counter(_cgroups(engine)))
    found += _compare("running and shim directories", Counter(running), Counter(_names(engine)))
    found += _compare("known and recorded", everything, Counter(_rows(engine, "id")))
    folders = os.listdir(engine.data_root / "containers")
    found += _compare("known and directories", everything, Counter(folders))
    found += _compare("known and snapshots", everything, Counter(_snapshots(engine)))
    found += _compare("addresses", Counter(addressed.items()), Counter(_addresses(engine)))
    ports = len(os.listdir(f"/sys/class/net/{engine.bridge}/brif"))
    if ports != len(addressed):
        found.append(f"{len(addressed)} containers with an address, {ports} ports on the bridge")
    if trash := os.listdir(engine.data_root / "trash"):
        found.append(f"in the trash: {', '.join(trash)}")
    return found


def _look_inside(id_: str, pid: int, address: str) -> list[str]:
    try:
        inside = Path(f"/proc/{pid}/net/fib_trie").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return [f"{id_[:12]} runs, its process {pid} does not"]
    if address and f" {address}\n" not in inside:
        return [f"{id_[:12]} has not its address {address}"]
    return []


def find_shims(engine: Engine) -> dict[int, str]:
    """Return the ids of containers by the processes that hold their shim directories.

    These are the shims, whether the engine knows them or not, and for a moment their helpers
    and what these make.
    """
    shims = f"{engine.exec_root}/shims/"
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if not (process / "comm").read_text().startswith("barque-shim"):
                continue
            links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        for link in links:
            if link.startswith(shims):
                found[int(process.name)] = link.removeprefix(shims)
    return found


def find_shim(id_: str) -> int:
    """Return the shim that ps shows as ``barque-shim ID``."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                title = (process / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if title.startswith(f"barque-shim {id_[:20]}".encode()):
                return int(process.name)
    raise AssertionError(f"container {id_} has no shim")


def _compare(what: str, left: Counter[Any], right: Counter[Any]) -> list[str]:
    lines = [f"{what}: only in the first: {item}" for item in left - right]
    return lines + [f"{what}: only in the second: {item}" for item in right - left]


def _address(container: Any) -> str:
    endpoint = container["NetworkSettings"]["Networks"].get("bridge") or {}
    return str(endpoint.get("IPAddress", ""))


def _cgroups(engine: Engine) -> list[str]:
    return open_cgroup(cgroup_parent(engine.exec_root)).children()


def _names(engine: Engine) -> list[str]:
    return os.listdir(engine.exec_root / "shims")


def _query(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{engine.data_root / 'barque.db'}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def _rows(engine: Engine, column: str) -> list[str]:
    return [row[0] for row in _query(engine, f"SELECT {column} FROM containers")]


def _snapshots(engine: Engine) -> list[str]:
    """Return the keys of writable snapshots; each must have its directory."""
    rows = _query(engine, "SELECT number, key, kind FROM snapshots")
    (driver,) = (engine.data_root / "snapshots").iterdir()
    folders = {name for name in os.listdir(driver) if name.isdigit()}
    keys = [key for number, key, kind in rows if kind != "committed"]
    numbers = {str(number) for number, _, _ in rows}
    return keys + [f"directory {name}" for name in folders ^ numbers]


def _addresses(engine: Engine) -> list[tuple[str, str]]:
    rows = _query(engine, "SELECT container_id, address FROM addresses")
    return [(id_, address.partition("/")[0]) for id_, address in rows]
