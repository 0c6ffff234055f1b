"""Carries TCP connections from a listening socket of the host to a container.

Only for what the kernel cannot translate: IPv6 to the host's own ``::1``, and to containers
that have no IPv6. The container sees the gateway's address as the client's. A half that is
closed is closed on the other side, too. Connections end with the engine; the port does not.
"""

from __future__ import annotations

import asyncio
import logging
import socket

_CONNECT_S = 10.0
_CHUNK = 1 << 16
_MOST = 4096
"""Connections at a time, over all ports; further ones wait in the kernel's queue."""

_log = logging.getLogger("barque.network")


class Relay:
    """All relayed connections of this engine. Use on the loop's thread."""

    def __init__(self) -> None:
        self._listeners: dict[socket.socket, asyncio.Task[None]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_MOST)

    def start(self, listener: socket.socket, address: str, port: int) -> None:
        """Relay what comes to ``listener``, which stays the caller's, until ``stop``."""
        work = self._accept(listener, address, port)
        self._listeners[listener] = asyncio.get_running_loop().create_task(work)

    def stop(self, listener: socket.socket) -> None:
        """Accept no more. To be called before the socket is closed. Idempotent."""
        task = self._listeners.pop(listener, None)
        if task is not None:
            task.cancel()
            asyncio.get_running_loop().remove_reader(listener.fileno())

    def close(self) -> None:
        """End everything."""
        for listener in list(self._listeners):
            self.stop(listener)
        for task in self._connections:
            task.cancel()

    async def _accept(self, listener: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                self._room.release()
                _log.debug("relay to %s:%s: %s", address, port, error)
                await asyncio.sleep(0.1)
                continue
            except BaseException:
                self._room.release()
                raise
            task = loop.create_task(self._serve(client, address, port))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(lambda _: self._room.release())

    async def _serve(self, client: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with client, socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as server:
            client.setblocking(False)
            server.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await loop.sock_connect(server, (address, port))
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copy(client, server))
                    both.create_task(_copy(server, client))
            except* OSError as errors:
                _log.debug("relay to %s:%s: %s", address, port, errors.exceptions[0])


async def _copy(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(_CHUNK)
    while size := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(target, memoryview(buffer)[:size])
    target.shutdown(socket.SHUT_WR)
