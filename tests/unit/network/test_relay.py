"""Datagrams through the relay, over the machine's own loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from barque.network import relay as module
from barque.network.bridge import has_ipv6
from barque.network.relay import Relay

pytestmark = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")


def open_udp(family: int, address: str) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((address, 0))
    opened.setblocking(False)
    return opened


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with open_udp(socket.AF_INET6, "::") as opened:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        yield opened


async def ask(client: socket.socket, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        await loop.sock_sendall(client, question)
        return await loop.sock_recv(client, 100)


async def answer(server: socket.socket) -> None:
    """Answer each datagram with itself and the port of who sent it."""
    loop = asyncio.get_running_loop()
    while True:
        data, client = await loop.sock_recvfrom(server, 100)
        await loop.sock_sendto(server, b"%s from %d" % (data, client[1]), client)


def test_each_client_has_its_own_way_and_gets_its_own_answers(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FLOWS", 2)

    async def check() -> None:
        with open_udp(socket.AF_INET, "127.0.0.1") as server:
            answering = asyncio.create_task(answer(server))
            relay = Relay()
            relay.start(listener, *server.getsockname())
            clients = [open_udp(socket.AF_INET6, "::1") for _ in range(3)]
            for client in clients:
                client.connect(("::1", listener.getsockname()[1]))
            first = await ask(clients[0], b"a")
            assert first.startswith(b"a from ")
            assert await ask(clients[0], b"a") == first, "the same way as before"
            assert await ask(clients[1], b"a") != first
            third = await ask(clients[2], b"a")
            assert third != first
            # The first was silent longest and gave way to the third: it gets a new way.
            assert (await ask(clients[0], b"b")).startswith(b"b from ")
            assert await ask(clients[2], b"a") == third
            relay.stop(listener)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ask(clients[0], b"a")
            answering.cancel()
            for client in clients:
                client.close()

    asyncio.run(check())


def test_clients_that_are_silent_are_forgotten(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 1.0)
    monkeypatch.setattr(module, "_SWEEP_S", 0.01)

    async def check() -> None:
        with open_udp(socket.AF_INET, "127.0.0.1") as server:
            answering = asyncio.create_task(answer(server))
            relay = Relay()
            relay.start(listener, *server.getsockname())
            with open_udp(socket.AF_INET6, "::1") as client:
                client.connect(("::1", listener.getsockname()[1]))
                seen = {await ask(client, b"a")}
                while len(seen) < 2:  # by another way after a while
                    await asyncio.sleep(1.1)
                    seen.add(await ask(client, b"a"))
            relay.close()
            answering.cancel()

    asyncio.run(check())
