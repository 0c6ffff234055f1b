"""A host with an engine, a machine outside, and containers: who of them answers whom.

The calling process's network namespace plays the host. Containers are those of a real engine,
driven by the docker command line; what runs in them are servers of this process, which answer
with their own name, so that any number of questions can be under way at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from barque.kernel.netlink import Netlink, add_address, add_veth, set_link
from support.engine import Engine
from support.network import current_namespace, entered, new_namespace

PATIENCE_S = 1.0
"""How long what does not come about is waited for: everything here is on one machine."""
AGAIN_S = 0.25
MOST_AT_ONCE = 200

HOST_4, HOST_6 = "192.0.2.1", "2001:db8::1"
OUTSIDE_4, OUTSIDE_6 = "192.0.2.9", "2001:db8::9"


def ip(namespace_fd: int, *commands: str) -> None:
    """Run ip(8) commands in a namespace."""
    with entered(namespace_fd):
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def make_outside(host_fd: int, routes_4: str, routes_6: str) -> int:
    """Make a machine beside the host that routes the subnets, and 127.0.0.1, by way of it."""
    outside = new_namespace()
    with entered(outside), Netlink() as netlink:
        netlink.execute(add_veth("uplink", namespace_fd=host_fd, master=0, peer="wan0"))
        index = netlink.index("wan0")
        netlink.execute(
            add_address(index, f"{OUTSIDE_4}/24"),
            add_address(index, f"{OUTSIDE_6}/64"),
            set_link(index, up=True),
        )
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
    ip(
        outside,
        f"route add {routes_4} via {HOST_4}",
        f"-6 route add {routes_6} via {HOST_6}",
        f"route add 127.0.0.1/32 via {HOST_4} src {OUTSIDE_4}",
    )
    with Netlink() as netlink:
        index = netlink.index("uplink")
        netlink.execute(add_address(index, f"{HOST_4}/24"), add_address(index, f"{HOST_6}/64"))
    return outside


class _Echo(asyncio.DatagramProtocol):
    """Answers every datagram with a name."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are sent by."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        del data
        self._transport.sendto(self._name, addr)


@dataclass
class World:
    """Who there is, each with a network namespace, and the addresses of containers."""

    engine: Engine
    namespaces: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    """By ``NAME/4`` and ``NAME/6``: on the network where the container was started."""
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))

    async def docker(self, *arguments: str) -> str:
        """Run a docker command line while the servers go on answering."""
        return await asyncio.to_thread(self.engine.docker, *arguments)

    async def add(self, name: str, network: str, *arguments: str, ports: Sequence[int]) -> None:
        """Start a container and its servers."""
        flags = ("run", "-d", "--name", name, "--network", network, *arguments)
        await self.docker(*flags, "busybox", "sleep", "10000")
        endpoint = f'index .NetworkSettings.Networks "{network}"'
        shown = await self.docker(
            "inspect",
            "--format",
            f"{{{{.State.Pid}}}} {{{{({endpoint}).IPAddress}}}} "
            f"{{{{({endpoint}).GlobalIPv6Address}}}}",
            name,
        )
        pid, *addresses = shown.split()
        self.namespaces[name] = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        for address in addresses:
            self.addresses[f"{name}/{6 if ':' in address else 4}"] = address
        await self.serve(name, *ports)

    async def serve(self, name: str, *ports: int, at: Sequence[str] = ("0.0.0.0", "::")) -> None:
        """Answer ``NAME:PORT`` at ports of addresses; TCP and UDP."""
        loop = asyncio.get_running_loop()
        for port in ports:
            said = f"{name}:{port}".encode()

            async def greet(
                _: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes = said
            ) -> None:
                writer.write(said)
                writer.close()

            for address in at:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                with entered(self.namespaces[name]):
                    stream = socket.socket(family, socket.SOCK_STREAM)
                    datagram = socket.socket(family, socket.SOCK_DGRAM)
                for opened in (stream, datagram):
                    if family == socket.AF_INET6:
                        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    opened.bind((address, port))
                    opened.setblocking(False)
                await asyncio.start_server(greet, sock=stream, backlog=256)
                await loop.create_datagram_endpoint(partial(_Echo, said), sock=datagram)

    async def ask(self, who: str, kind: str, address: str, port: int) -> str:
        """Return who answers there, as ``NAME:PORT``; "" for nobody."""
        target = self.addresses.get(address, address)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        stream = kind == "tcp"
        async with self._room:
            with entered(self.namespaces[who]):
                client = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
            with client:
                client.setblocking(False)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        return await _converse(client, (target, port), stream=stream)
                except (OSError, TimeoutError):
                    return ""


async def _converse(client: socket.socket, where: tuple[str, int], *, stream: bool) -> str:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, where)
    if stream:
        return (await loop.sock_recv(client, 64)).decode()
    while True:
        try:
            async with asyncio.timeout(AGAIN_S):
                await loop.sock_sendall(client, b"question")
                return (await loop.sock_recv(client, 64)).decode()
        except TimeoutError:
            continue  # the first datagram may have been lost


def open_host() -> dict[str, int]:
    """Return the namespace that plays the host, by its name in questions."""
    return {"host": current_namespace()}
