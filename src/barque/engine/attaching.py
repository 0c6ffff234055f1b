"""Attaching clients: to a running task, or to a container that is about to be started."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import aclosing
from struct import Struct
from typing import Any, cast

from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import TaskHost
from barque.engine.handle import Handle
from barque.engine.logfiles import LogEntry
from barque.engine.logs import LogQuery, Logs
from barque.engine.shims import Client
from barque.engine.tasks import Tasks
from barque.errors import Conflict, NotImplementedHere, Unavailable
from barque.models.container import ContainerRecord

REPLAY_STALL_S = 10.0
_STREAMS = {"stdout": 1, "stderr": 2}
_header = Struct(">BxxxL")


class Attaching:
    """Puts clients on containers' streams."""

    def __init__(self, shims: TaskHost, tasks: Tasks, logs: Logs, events: ContainerEvents) -> None:
        self._shims = shims
        self._tasks = tasks
        self._logs = logs
        self._events = events

    async def attach(self, handle: Handle, client: Client, *, logs: bool, stream: bool) -> None:
        """Attach ``client``, whose descriptor is taken whatever happens.

        ``logs`` sends first what the log has; ``stream`` goes on with what comes. To a
        container that does not run the client stays attached until it is started.
        """
        try:
            check_attachable(handle.record)
            self._events.publish(handle.record, "attach")
            if logs:
                await self._replay(handle, client)
        except BaseException:
            os.close(client.fd)
            raise
        if not stream:
            os.close(client.fd)
            return
        await self._join(handle, client)

    async def _join(self, handle: Handle, client: Client) -> None:
        try:
            async with self._tasks.locked(handle) as record:
                running = record.state.running and not record.state.restarting
                if not running:
                    handle.keep_client(client)
        except BaseException:
            os.close(client.fd)
            raise
        if running:
            await self._shims.attach(handle.id, client)

    async def _replay(self, handle: Handle, client: Client) -> None:
        query = LogQuery(stdout=client.stdout, stderr=client.stderr)
        try:
            batches = self._logs.read(handle, query)
        except NotImplementedHere:
            return  # a container without a log has nothing to show
        async with aclosing(cast("Any", batches)):
            async for batch in batches:
                await send_all(client.fd, _encode(batch, multiplexed=client.multiplexed))


def check_attachable(record: ContainerRecord) -> None:
    """Raise Conflict if nobody can attach now."""
    if record.state.removing or record.state.dead:
        raise Conflict(f"container {record.id} is marked for removal and cannot be attached to")
    if record.state.paused:
        raise Conflict(f"Container {record.id} is paused, unpause the container before attach")
    if record.state.restarting:
        raise Conflict(f"Container {record.id} is restarting, wait until the container is running")


def _encode(batch: list[LogEntry], *, multiplexed: bool) -> bytes:
    lines = [(_STREAMS.get(entry.stream, 1), entry.line) for entry in batch]
    if multiplexed:
        return b"".join([_header.pack(stream, len(line)) + line for stream, line in lines])
    return b"".join([line for _, line in lines])


async def send_all(fd: int, data: bytes, stall_s: float = REPLAY_STALL_S) -> None:
    """Send ``data`` to the socket ``fd``, which is left as it is, without ever blocking.

    Raises Unavailable if the peer takes nothing for ``stall_s`` seconds, OSError if it is gone.
    """
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    with socket.socket(fileno=os.dup(fd)) as duplicate:
        while view:
            try:
                sent = duplicate.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await _wait_writable(loop, duplicate, stall_s)
            else:
                view = view[sent:]


async def _wait_writable(
    loop: asyncio.AbstractEventLoop, peer: socket.socket, stall_s: float
) -> None:
    writable = asyncio.Event()
    loop.add_writer(peer, writable.set)
    try:
        async with asyncio.timeout(stall_s):
            await writable.wait()
    except TimeoutError:
        raise Unavailable(
            f"the attached client has read nothing for {stall_s:.0f} s and was let go"
        ) from None
    finally:
        loop.remove_writer(peer)
