"""start, kill, delete, pause, resume and state.

Source: runtime-spec runtime.md "Operations"; runc(8) for texts.
"""

from __future__ import annotations

import select
import signal
import sys

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import (
    BarqueError,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from barque.models import oci
from barque.runtime.command.state import Container, Store, class_of_service
from barque.runtime.gate import open_gate
from barque.runtime.hooks import allowance_s, run_hooks

_KILL_TIMEOUT_S = 10.0
WITHOUT_PROCESS = frozenset({"creating", "stopped"})
"""States without a process to do anything with."""


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
    if container.status in WITHOUT_PROCESS and not everybody:
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
