"""Starting a container in a user namespace, by the shim's helper.

What the helper has entered in advance belongs to the host's user namespace, so none of it is used
(docs/adr/0008). Where the engine has something to do in the container's network namespace, it is
asked between the init's question for its ids and the answer.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from barque.errors import FailedPrecondition
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, receive, send
from barque.models.launch import ContainerLaunch
from barque.runtime.init import InitIo, run_init
from barque.runtime.outside import clone_inside, prepare, settle
from barque.runtime.status import Reporter
from barque.shim import protocol as p
from barque.shim.task import START_TIMEOUT_S, Process, Starting, follow, open_birthplace


def is_mapped(launch: p.Launch) -> bool:
    """Whether the container runs in a user namespace, its own or another container's."""
    return bool(launch.clone_flags & kp.CLONE_NEWUSER) or "user" in launch.joins


def start_mapped(
    launch: p.Launch,
    document: ContainerLaunch,
    joins: dict[str, int],
    control: Socket,
    make_io: Callable[[Reporter, tuple[int, int, int] | None], InitIo],
) -> Process:
    """Start it and wait until its program runs. Raises StartError, BarqueError."""
    ground, binds = prepare(document, joins, launch.mount_point)
    joined = "user" in joins
    between = 0

    def child(reporter: Reporter, stdio: tuple[int, int, int] | None) -> None:
        io = make_io(reporter, stdio)._replace(ground=ground, binds=binds)
        run_init(lambda: document, io)

    def make() -> tuple[int, int]:
        nonlocal between
        if joined:
            pid, pidfd, between = clone_inside(launch.clone_flags, joins, sibling=True)
            return pid, pidfd
        group = open_birthplace(launch.cgroups_path, create=True)
        return kp.clone_sibling(launch.clone_flags, group)

    def settled(pid: int) -> list[str]:
        warnings = settle(pid, document, joined=joined)
        if launch.wired:
            _have_wired(control, pid)
        return warnings

    starting = Starting(launch.streams, make, child, launch.owner, settled)
    return follow(starting)._replace(between=between)


def _have_wired(control: Socket, pid: int) -> None:
    """Have the engine do its part. Raises FailedPrecondition."""
    namespace = kp.open_namespace(pid, "network")
    try:
        send(control, p.encode(p.Wire()), [namespace])
    finally:
        os.close(namespace)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if not poll.poll(1000 * START_TIMEOUT_S):
        raise FailedPrecondition(
            f"the engine did not wire the network within {START_TIMEOUT_S:.0f} s"
        )
    data, _ = receive(control)
    if not data:
        raise FailedPrecondition("the engine went away while it wired the network")
    answer = p.decode_wired(data)
    if answer.error:
        raise FailedPrecondition(answer.error)
