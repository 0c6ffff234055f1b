"""``list`` and ``ps``. Source: runc-list(8) and runc-ps(8), for the columns."""

from __future__ import annotations

import subprocess

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import Conflict, InvalidArgument, Unavailable
from barque.runtime.command.control import WITHOUT_PROCESS
from barque.runtime.command.state import Container, Store

_PS_TIMEOUT_S = 10.0


def show_list(store: Store, *, as_json: bool, quiet: bool) -> str:
    """All containers as a table, as JSON, or by id."""
    containers = store.list()
    if quiet:
        return "\n".join(container.record.id for container in containers)
    rows = []
    for container in containers:
        record, status = container.record, container.status
        pid = 0 if status == "stopped" else record.pid  # 0, too, while it is being created
        rows.append((record.id, str(pid), status, record.bundle, record.created, "root"))
    if as_json:
        listed = [
            {
                "ociVersion": container.record.spec.oci_version,
                "id": row[0],
                "pid": int(row[1]),
                "status": row[2],
                "bundle": row[3],
                "rootfs": container.record.rootfs,
                "created": row[4],
                "owner": row[5],
            }
            for container, row in zip(containers, rows, strict=True)
        ]
        return msgspec.json.encode(listed or None).decode()
    header = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
    table = [header, *rows]
    widths = [max(11, *(len(row[n]) for row in table)) for n in range(len(header))]
    return "\n".join(
        " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def show_processes(container: Container, arguments: list[str], *, as_json: bool) -> str:
    """The container's processes by pid, or as the host's ps shows them."""
    if container.status in WITHOUT_PROCESS:
        raise Conflict("container not running")
    pids = open_cgroup(container.record.cgroup).pids()
    if as_json:
        return msgspec.json.encode(pids).decode()
    try:
        listed = subprocess.run(
            ["ps", *(arguments or ["-ef"])],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PS_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"ps did not end within {_PS_TIMEOUT_S:.0f} s") from None
    if listed.returncode:
        raise InvalidArgument(f"ps: {listed.stderr.strip()}")
    lines = listed.stdout.splitlines()
    columns = lines[0].split()
    if "PID" not in columns:
        raise InvalidArgument("couldn't find PID field in ps output")
    column = columns.index("PID")
    wanted = {str(pid) for pid in pids}
    shown = [line for line in lines[1:] if line.split()[column] in wanted]
    return "\n".join([lines[0], *shown])
