"""The resolver over real sockets: what it answers itself, and what it asks of others."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from barque.network.names import Named, Names
from barque.network.namespaces import ResolverSockets
from barque.network.resolver import Resolver, Upstream, View

LOOPBACK = "127.0.0.1"
ANSWER = "192.0.2.7"


def bind(kind: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.bind((LOOPBACK, 0))
    opened.setblocking(False)
    if kind == socket.SOCK_STREAM:
        opened.listen()
    return opened


async def open_plainly(upstream: Upstream, kind: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.setblocking(False)
    return opened


class Server(asyncio.DatagramProtocol):
    """A name server that knows one address, or only ever says ``code``."""

    def __init__(self, code: int = RCODE.NOERROR) -> None:
        self.code = code
        self.asked = 0
        self.port = 0

    def answer(self, query: bytes) -> bytes:
        self.asked += 1
        reply = DNSRecord.parse(query).reply()
        reply.header.rcode = self.code
        if self.code == RCODE.NOERROR:
            reply.add_answer(RR(reply.q.qname, QTYPE.A, rdata=A(ANSWER)))
        return bytes(reply.pack())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.answer(data), addr)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(size))
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()

    async def start(self) -> Upstream:
        loop = asyncio.get_running_loop()
        self.tcp = await asyncio.start_server(self.serve_tcp, LOOPBACK, 0)
        self.port = self.tcp.sockets[0].getsockname()[1]
        await loop.create_datagram_endpoint(lambda: self, (LOOPBACK, self.port))
        return Upstream(LOOPBACK, inside=False, port=self.port)

    def stop(self) -> None:
        self.transport.close()
        self.tcp.close()


Ask = Callable[[str, int], Awaitable[DNSRecord]]


def play(scenario: Callable[[Ask, Resolver], Awaitable[None]], *servers: Server) -> None:
    async def run() -> None:
        names = Names()
        names.put("shop", "1", Named(("web",), ("10.0.0.2",)))
        before = len(os.listdir("/proc/self/fd"))
        sockets = ResolverSockets(bind(socket.SOCK_DGRAM), bind(socket.SOCK_STREAM))
        upstreams = tuple([await server.start() for server in servers])
        view = View(networks=("shop",), upstreams=upstreams)
        resolver = Resolver(sockets, names, view, open_plainly)
        places = {kind: opened.getsockname() for kind, opened in _by_kind(sockets)}

        async def ask(name: str, kind: int) -> DNSRecord:
            return DNSRecord.parse(
                await exchange(places[kind], DNSRecord.question(name).pack(), kind)
            )

        async with asyncio.timeout(20):
            await scenario(ask, resolver)
        resolver.close()
        resolver.close()
        for server in servers:
            server.stop()
        for _ in range(200):
            if len(os.listdir("/proc/self/fd")) <= before:
                break
            await asyncio.sleep(0.01)
        assert len(os.listdir("/proc/self/fd")) <= before

    asyncio.run(run())


def _by_kind(sockets: ResolverSockets) -> tuple[tuple[int, socket.socket], ...]:
    return ((socket.SOCK_DGRAM, sockets.udp), (socket.SOCK_STREAM, sockets.tcp))


async def exchange(place: tuple[str, int], query: bytes, kind: int) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, kind) as client:
        client.setblocking(False)
        await loop.sock_connect(client, place)
        if kind == socket.SOCK_DGRAM:
            await loop.sock_sendall(client, query)
            return await loop.sock_recv(client, 4096)
        await loop.sock_sendall(client, len(query).to_bytes(2, "big") + query)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            part = await loop.sock_recv(client, 4096)
            assert part
            data += part
        return data[2:]


def test_own_names_by_udp_and_tcp() -> None:
    async def scenario(ask: Ask, resolver: Resolver) -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_DGRAM):
            answer = await ask("web", kind)
            assert [str(rr.rdata) for rr in answer.rr] == ["10.0.0.2"]
        resolver._names.remove("shop", "1")
        gone = await ask("web", socket.SOCK_DGRAM)
        assert gone.header.rcode == RCODE.SERVFAIL  # nobody else may be asked

    play(scenario)


def test_other_names_are_asked_of_the_servers_in_order() -> None:
    busy, good, unused = Server(RCODE.SERVFAIL), Server(), Server()

    async def scenario(ask: Ask, resolver: Resolver) -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            answer = await ask("example.com", kind)
            assert [str(rr.rdata) for rr in answer.rr] == [ANSWER]
        assert (busy.asked, good.asked, unused.asked) == (2, 2, 0)

    play(scenario, busy, good, unused)


def test_that_a_name_does_not_exist_is_passed_on() -> None:
    absent, other = Server(RCODE.NXDOMAIN), Server()

    async def scenario(ask: Ask, resolver: Resolver) -> None:
        answer = await ask("nobody.example", socket.SOCK_DGRAM)
        assert answer.header.rcode == RCODE.NXDOMAIN
        assert other.asked == 0

    play(scenario, absent, other)


def test_a_server_that_is_not_there_is_passed_over() -> None:
    gone, good = Server(), Server()

    async def scenario(ask: Ask, resolver: Resolver) -> None:
        gone.transport.close()
        await asyncio.sleep(0)
        answer = await ask("example.com", socket.SOCK_DGRAM)
        assert [str(rr.rdata) for rr in answer.rr] == [ANSWER]

    play(scenario, gone, good)


def test_what_is_no_query_is_answered_with_formerr() -> None:
    async def scenario(ask: Ask, resolver: Resolver) -> None:
        place = resolver._sockets.udp.getsockname()
        answer = await exchange(place, b"\x12\x34nonsense", socket.SOCK_DGRAM)
        assert answer[:2] == b"\x12\x34"
        assert answer[3] & 0xF == RCODE.FORMERR

    play(scenario)
