"""start, kill, delete, pause, resume, ps, state and list.

Source: runtime-spec runtime.md "Operations"; runc(8) for texts and columns.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from typing import Any

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import (
    BarqueError,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from barque.models import oci
from barque.runtime.command.state import Container, Store, class_of_service
from barque.runtime.gate import open_gate
from barque.runtime.hooks import allowance_s, run_hooks

_KILL_TIMEOUT_S = 10.0
_PS_TIMEOUT_S = 10.0
_WITHOUT_PROCESS = frozenset({"creating", "stopped"})


def start(container: Container) -> None:
    """Let the created process become its program, then run the poststart hooks."""
    status = container.status
    if status == "stopped":
        raise Conflict("cannot start a container that has stopped")
    if status == "creating":
        raise Conflict("cannot start a container that is still being created")
    if status != "created":
        raise Conflict("cannot start an already running container")
    record = container.record
    hooks = record.spec.hooks or oci.Hooks()
    open_gate(container.directory, allowance_s(hooks.start_container))
    if hooks.poststart:
        try:
            run_hooks("poststart", hooks.poststart, record.state("running"), record.bundle)
        except BarqueError:
            end(container)
            raise


def parse_signal(text: str) -> int:
    """A signal by number or name, with or without SIG. Raises InvalidArgument."""
    if text.isdecimal() and int(text) in signal.valid_signals():
        return int(text)
    name = text.upper()
    number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(number, signal.Signals):
        raise InvalidArgument(f"unknown signal {text!r}")
    return number


def kill(container: Container, number: int, *, everybody: bool) -> None:
    """Signal the first process, or all; SIGKILL without a PID namespace of its own goes to all."""
    if container.status in _WITHOUT_PROCESS and not everybody:
        raise Conflict("container not running")
    namespaces = container.record.spec.linux.namespaces
    shared = not any(ns.type == "pid" and not ns.path for ns in namespaces)
    if everybody or (shared and number == signal.SIGKILL):
        cgroup = open_cgroup(container.record.cgroup)
        if number == signal.SIGKILL:
            cgroup.kill()
        else:
            cgroup.signal(number)
        return
    with container.open_init() as init:
        init.signal(number)
    if number == signal.SIGKILL and container.status == "paused":
        open_cgroup(container.record.cgroup).thaw()  # what is frozen would not die of it


def end(container: Container) -> None:
    """SIGKILL, and wait for the end. Raises FailedPrecondition if it does not come."""
    open_cgroup(container.record.cgroup).kill()
    try:
        with container.open_init() as init:
            init.signal(signal.SIGKILL)
            ended, _, _ = select.select([init.pidfd], [], [], _KILL_TIMEOUT_S)
    except Conflict:
        return
    if not ended:
        raise FailedPrecondition(
            f"container {container.record.id} did not end {_KILL_TIMEOUT_S:.0f} s after SIGKILL"
        )


def delete(store: Store, id_: str, *, force: bool) -> None:
    """Remove a stopped container, or one that was never started; with ``force`` any."""
    try:
        container = store.get(id_)
    except NotFound:
        if force:
            store.forget(id_)
            return
        raise
    status = container.status
    if status in {"creating", "running", "paused"} and not force:
        raise Conflict(f"cannot delete container {id_} that is not stopped: {status}")
    if status != "stopped":
        end(container)
    destroy(container)


def destroy(container: Container) -> None:
    """Remove what a create has made, and run the poststop hooks."""
    cgroup = open_cgroup(container.record.cgroup)
    if cgroup.exists():
        cgroup.kill()
        cgroup.remove()
    if (service := class_of_service(container.record)) is not None:
        service.remove()
    hooks = container.record.spec.hooks
    state = container.record.state("stopped")
    container.store.forget(container.record.id)
    for hook in hooks.poststop if hooks else ():
        try:
            run_hooks("poststop", [hook], state, container.record.bundle)
        except BarqueError as error:
            sys.stderr.write(f"{error}\n")  # the specification: warn, and go on


def pause(container: Container) -> None:
    """Freeze all processes."""
    if container.status not in {"running", "created"}:
        raise Conflict(f"container not running or created: {container.status}")
    open_cgroup(container.record.cgroup).freeze()


def resume(container: Container) -> None:
    """Let them go on."""
    if container.status != "paused":
        raise Conflict("container not paused")
    open_cgroup(container.record.cgroup).thaw()


def show_state(container: Container) -> str:
    """The state, with what runc adds to it."""
    status = container.status
    state: dict[str, object] = msgspec.to_builtins(container.record.state(status))
    state.update(status=status, rootfs=container.record.rootfs, created=container.record.created)
    state["owner"] = ""
    return msgspec.json.format(msgspec.json.encode(state), indent=2).decode()


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
    if container.status in _WITHOUT_PROCESS:
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


def default_document() -> dict[str, Any]:
    """What ``spec`` writes, with what others require and we take for granted."""
    document: dict[str, Any] = msgspec.to_builtins(_default_spec())
    document["process"].update(cwd="/", user={"uid": 0, "gid": 0})
    document["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    return document


def _default_spec() -> oci.Spec:
    """A shell with few privileges, in the oldest version that has it all, for all runtimes."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return oci.Spec(
        oci_version="1.0.2",
        process=oci.Process(
            terminal=True,
            args=["sh"],
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            cwd="/",
            capabilities=oci.Capabilities(
                bounding=capabilities, effective=capabilities, permitted=capabilities
            ),
            rlimits=[oci.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024)],
            no_new_privileges=True,
        ),
        root=oci.Root(path="rootfs", readonly=True),
        hostname="barque",
        mounts=[
            oci.Mount(destination="/proc", type="proc", source="proc"),
            _mount("/dev", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
            _mount("/dev/pts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
            _mount("/dev/shm", "tmpfs", "nosuid noexec nodev mode=1777 size=65536k", "shm"),
            _mount("/dev/mqueue", "mqueue", "nosuid noexec nodev"),
            _mount("/sys", "sysfs", "nosuid noexec nodev ro"),
            _mount("/sys/fs/cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
        ],
        linux=oci.Linux(
            resources=oci.Resources(),
            namespaces=[
                oci.Namespace(type=kind)
                for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            masked_paths=[
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi", "/proc/interrupts", "/sys/devices/virtual/powercap",
            ],
            readonly_paths=[
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        ),
    )  # fmt: skip


def _mount(destination: str, type_: str, options: str, source: str = "") -> oci.Mount:
    return oci.Mount(
        destination=destination, type=type_, source=source or type_, options=options.split()
    )
