"""Packets above 64 KiB between host and containers. Needs root and nft; leaves nothing."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.kernel.netlink import Netlink, add_address, add_bridge, set_link
from barque.models.api import HostConfig, NetworkRequest, PortBinding
from barque.models.container import ContainerRecord
from barque.models.launch import Interface
from barque.network.config import BIG_TCP_BYTES, NetworkConfig
from barque.network.service import Networks
from barque.runtime.network import configure
from barque.store.database import Database
from support.network import (
    container,
    current_namespace,
    entered,
    isolated,
    needs_nft,
    needs_root,
    new_namespace,
)
from support.world import ip, make_outside

pytestmark = [needs_root, needs_nft]

needs_tun = pytest.mark.skipif(
    not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun: makes a tap interface"
)

BRIDGE = "tbq7x"
PORT = 7777
BLOCK = os.urandom(1 << 20)
BLOCKS = 200


def find_no_container(ref: str) -> ContainerRecord:
    raise AssertionError(f"no container is looked up here: {ref}")


def blocks(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield BLOCK[number:] + BLOCK[:number]


@functools.cache
def checksum(count: int) -> int:
    return functools.reduce(lambda seen, block: zlib.crc32(block, seen), blocks(count), 0)


def send(client_fd: int, server_fd: int, address: str, port: int, count: int) -> None:
    """Send so many MiB over a TCP connection and assert that just these arrive."""
    with entered(server_fd):
        server = socket.create_server(("0.0.0.0", PORT))
    with entered(client_fd):
        client = socket.socket()
    with server, client:
        server.settimeout(10)
        client.settimeout(60)
        client.connect((address, port))
        accepted, _ = server.accept()

        def push() -> None:
            with client:
                for block in blocks(count):
                    client.sendall(block)

        sender = threading.Thread(target=push)
        sender.start()
        received, seen = 0, 0
        with accepted:
            accepted.settimeout(60)
            while data := accepted.recv(1 << 20):
                received += len(data)
                seen = zlib.crc32(data, seen)
        sender.join()
    assert (received, seen) == (count * len(BLOCK), checksum(count))


def sizes(namespace_fd: int) -> dict[str, int]:
    with entered(namespace_fd), Netlink() as netlink:
        return {link.name: link.gso_max_bytes for link in netlink.links()}


def drops(namespaces: dict[str, int]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many packets interfaces have dropped, of those received and those sent."""
    found = {}
    for where, namespace_fd in namespaces.items():
        with entered(namespace_fd):
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        for line in lines:
            name, _, numbers = line.partition(":")
            counts = numbers.split()
            found[where, name.strip()] = (int(counts[3]), int(counts[11]))
    return found


@isolated
def test_big_packets_arrive_whole_wherever_they_go(tmp_path: Path) -> None:
    host = current_namespace()
    namespaces = {"host": host}

    async def run() -> None:
        networks = Networks(
            Database(tmp_path / "barque.db"),
            NetworkConfig(bridge=BRIDGE, bip="10.177.83.1/24"),
            find_no_container,
        )
        await networks.setup()
        inner = await networks.create(NetworkRequest(name="inner", internal=True))
        namespaces["outside"] = make_outside(host, "10.177.83.0/24", "fd77::/16")
        addresses, links = {}, {}
        published = HostConfig(port_bindings={f"{PORT}/tcp": [PortBinding(host_port="7778")]})
        for digit, name, mode in (
            ("1", "one", "default"),
            ("2", "two", "default"),
            ("3", "three", "inner"),
            ("4", "four", "inner"),
        ):
            plain = HostConfig() if digit != "1" else published
            attachment = networks.attach(container(digit, mode=mode, host=plain))
            inside = namespaces[name] = new_namespace()
            with entered(inside):
                configure(attachment.interfaces, host)
            (endpoint,) = attachment.networks.values()
            addresses[name] = endpoint.ip_address
            links[name] = attachment.interfaces[0].host_name
        here = sizes(host)
        usual = here["lo"]
        big = BIG_TCP_BYTES if usual else 0  # before Linux 6.3 there is no such setting
        assert {here[name] for name in (BRIDGE, inner.bridge, *links.values())} == {big}
        assert sizes(namespaces["one"])["eth0"] == usual
        assert sizes(namespaces["three"])["eth0"] == big
        assert here["uplink"] == usual
        namespaces["nested"] = nest(namespaces["one"], host, addresses["one"])
        count = BLOCKS if usual else BLOCKS // 10
        before = drops(namespaces)  # of the first seconds of interfaces that nobody hears yet
        for client, server, address, port in (
            ("host", "one", addresses["one"], PORT),
            ("host", "one", "127.0.0.1", 7778),
            ("host", "one", "192.0.2.1", 7778),
            ("outside", "one", "192.0.2.1", 7778),
            ("one", "two", addresses["two"], PORT),
            ("one", "host", "10.177.83.1", PORT),
            ("two", "one", "192.0.2.1", 7778),
            ("one", "outside", "192.0.2.9", PORT),
            ("host", "three", addresses["three"], PORT),
            ("three", "four", addresses["four"], PORT),
            ("three", "host", inner.gateway, PORT),
            ("host", "nested", "10.99.0.2", PORT),
            ("nested", "host", "10.177.83.1", PORT),
        ):
            await asyncio.to_thread(
                send, namespaces[client], namespaces[server], address, port, count
            )
        assert drops(namespaces) == before

    asyncio.run(run())


@needs_tun
@isolated
def test_a_bridge_to_which_somebody_adds_a_port_that_takes_less(tmp_path: Path) -> None:
    """The kernel makes the bridge's packets smaller again, and containers start all the same."""
    del tmp_path
    host = current_namespace()
    with Netlink() as netlink:
        netlink.execute(add_bridge(BRIDGE))
        netlink.execute(set_link(netlink.index(BRIDGE), up=True))
    namespaces = []
    for number in (2, 3):
        namespaces.append(new_namespace())
        interface = Interface(
            name="eth0",
            host_name=f"vethbig{number}",
            bridge=BRIDGE,
            mac=f"02:00:00:00:00:0{number}",
            addresses=[f"10.177.83.{number}/24"],
            gso_in_bytes=BIG_TCP_BYTES,
        )
        with entered(namespaces[-1]):
            configure([interface], host)
        usual = sizes(host)["lo"]
        if number == 2:
            assert sizes(host)[BRIDGE] == (BIG_TCP_BYTES if usual else 0)
            ip(host, "tuntap add tap0 mode tap", f"link set tap0 master {BRIDGE}")
        assert sizes(host)[BRIDGE] == usual
    send(namespaces[0], namespaces[1], "10.177.83.3", PORT, BLOCKS // 10)


def nest(inside: int, host: int, address: str) -> int:
    """Make a bridge in a container, as an engine there does, and a container on it."""
    nested = new_namespace()
    with entered(inside):
        with Netlink() as netlink:
            netlink.execute(add_bridge("inner0"))
            index = netlink.index("inner0")
            netlink.execute(add_address(index, "10.99.0.1/24"), set_link(index, up=True))
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        own = current_namespace()
    interface = Interface(
        name="eth0",
        host_name="vethnested",
        bridge="inner0",
        mac="02:00:00:00:00:63",
        addresses=["10.99.0.2/24"],
        gateway="10.99.0.1",
    )
    with entered(nested):
        configure([interface], own)
    os.close(own)
    ip(host, f"route add 10.99.0.0/24 via {address}")
    return nested
