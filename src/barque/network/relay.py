"""Carries TCP connections and UDP datagrams from a socket of the host to a container.

Only for what the kernel cannot translate: IPv6 to the host's own ``::1``, and to containers
that have no IPv6. The container sees the gateway's address as the client's. A half that is
closed is closed on the other side, too. Connections end with the engine; the port does not.

Each client of a UDP port has a socket of its own towards the container, by which answers find
back; it is closed after 90 s without a datagram. Answers come from the address that was asked.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from dataclasses import dataclass

_CONNECT_S = 10.0
_CHUNK = 1 << 16
_MOST = 4096
"""Connections at a time, over all ports; further ones wait in the kernel's queue."""
_FLOWS = 1024
"""Clients of one UDP port; a further one takes the place of the one that is silent longest."""
_IDLE_S = 90.0
_SWEEP_S = 15.0
_BURST = 64
"""Datagrams that are read in a row, before others have their turn."""
_DATAGRAM = 1 << 16
_PACKET_INFO = struct.Struct("16si")  # struct in6_pktinfo

_log = logging.getLogger("barque.network")


class Relay:
    """All relayed connections of this engine. Use on the loop's thread."""

    def __init__(self) -> None:
        self._listeners: dict[socket.socket, asyncio.Task[None]] = {}
        self._datagrams: dict[socket.socket, _Datagrams] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_MOST)

    def start(self, listener: socket.socket, address: str, port: int) -> None:
        """Relay what comes to ``listener``, which stays the caller's, until ``stop``."""
        if listener.type == socket.SOCK_DGRAM:
            self._datagrams[listener] = _Datagrams(listener, (address, port))
            return
        work = self._accept(listener, address, port)
        self._listeners[listener] = asyncio.get_running_loop().create_task(work)

    def stop(self, listener: socket.socket) -> None:
        """Accept no more. To be called before the socket is closed. Idempotent."""
        datagrams = self._datagrams.pop(listener, None)
        if datagrams is not None:
            datagrams.close()
        task = self._listeners.pop(listener, None)
        if task is not None:
            task.cancel()
            asyncio.get_running_loop().remove_reader(listener.fileno())

    def close(self) -> None:
        """End everything."""
        for listener in [*self._listeners, *self._datagrams]:
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


@dataclass
class _Flow:
    """One client of a UDP port: who, which of our addresses it asked, its way on."""

    client: tuple[str, int, int, int]
    asked: bytes
    server: socket.socket
    used: float


class _Datagrams:
    """The clients of one UDP port."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self._listener = listener
        self._target = target
        self._flows: dict[tuple[tuple[str, int, int, int], bytes], _Flow] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener.fileno(), self._on_questions)
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def close(self) -> None:
        """Forget all clients. To be called before the listener is closed."""
        self._sweeping.cancel()
        self._loop.remove_reader(self._listener.fileno())
        for key in list(self._flows):
            self._drop(key)

    def _on_questions(self) -> None:
        for _ in range(_BURST):
            try:
                data, ancillary, _, client = self._listener.recvmsg(
                    _DATAGRAM, socket.CMSG_SPACE(_PACKET_INFO.size)
                )
            except OSError:
                return
            asked = b"".join(
                content[:16]
                for level, kind, content in ancillary
                if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
            )
            try:
                self._find((client, asked)).server.send(data)
            except OSError as error:  # nobody listens in the container: as if it had been lost
                _log.debug("relay to %s: %s", self._target, error)

    def _find(self, key: tuple[tuple[str, int, int, int], bytes]) -> _Flow:
        flow = self._flows.pop(key, None)
        if flow is None:
            if len(self._flows) >= _FLOWS:
                self._drop(next(iter(self._flows)))
            family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            flow = _Flow(*key, socket.socket(family, kind), 0.0)
            try:
                flow.server.connect(self._target)
            except OSError:
                flow.server.close()
                raise
            self._loop.add_reader(flow.server.fileno(), self._on_answers, flow)
        flow.used = time.monotonic()
        self._flows[key] = flow  # at the end: the first is the one that is silent longest
        return flow

    def _on_answers(self, flow: _Flow) -> None:
        source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PACKET_INFO.pack(flow.asked, 0))
        for _ in range(_BURST):
            try:
                data = flow.server.recv(_DATAGRAM)
                self._listener.sendmsg([data], [source] if flow.asked else [], 0, flow.client)
            except OSError:
                return
            flow.used = time.monotonic()

    def _sweep(self) -> None:
        until = time.monotonic() - _IDLE_S
        for key in [key for key, flow in self._flows.items() if flow.used < until]:
            self._drop(key)
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def _drop(self, key: tuple[tuple[str, int, int, int], bytes]) -> None:
        flow = self._flows.pop(key)
        self._loop.remove_reader(flow.server.fileno())
        flow.server.close()
