"""Who reaches whom: the promises of the firewall, on a real kernel.

A namespace plays the host, another one a machine outside that even routes to the bridges'
subnets. Needs root and nft; leaves the machine untouched.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from barque.errors import BarqueError
from barque.kernel.netlink import Netlink, add_address, add_veth, set_link
from barque.models.api import (
    EndpointSettings,
    HostConfig,
    Ipam,
    IpamPool,
    NetworkRequest,
    PortBinding,
)
from barque.models.container import ContainerRecord
from barque.network import bridge as bridge_module
from barque.network.config import AddressPool, NetworkConfig
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

pytestmark = [needs_root, needs_nft]

PATIENCE_S = 0.4
"""How long what does not come about is waited for: everything here is on one machine."""
RESTORED_S = 1.0
"""When rules are back that somebody took away: it takes 10 ms, with the machine overloaded 80."""
HOPE_S = 10.0
"""How long what must come about is waited for."""

ROUTED = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
UNPROTECTED = {"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"}
ISOLATED = {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}
TRUSTING = {"com.docker.network.bridge.trusted_host_interfaces": "eth7:uplink"}
NO_ICC = {"com.docker.network.bridge.enable_icc": "false"}

NETWORKS: dict[str, dict[str, Any]] = {
    "a": {"subnet": "10.177.1.0/24", "subnet6": "fd77:1::/64"},
    "b": {"subnet": "10.177.2.0/24", "subnet6": "fd77:2::/64"},
    "inner": {"subnet": "10.177.3.0/24", "internal": True},
    "apart": {"subnet": "10.177.4.0/24", "options": NO_ICC},
    "routed": {"subnet": "10.177.5.0/24", "options": ROUTED},
    "unprotected": {"subnet": "10.177.6.0/24", "options": UNPROTECTED},
    "isolated": {"subnet": "10.177.7.0/24", "options": ISOLATED, "internal": True},
    "trusting": {"subnet": "10.177.8.0/24", "options": TRUSTING},
}
PORTS: dict[str, dict[str, list[PortBinding]]] = {
    "web": {
        "80/tcp": [PortBinding(host_port="8080")],
        "81/tcp": [PortBinding(host_ip="127.0.0.1", host_port="8081")],
        "82/tcp": [PortBinding(host_ip="192.0.2.1", host_port="8082")],
        "80/udp": [PortBinding(host_port="8053")],
        "81/udp": [PortBinding(host_ip="127.0.0.1", host_port="8054")],
    },
    "far": {"80/tcp": [PortBinding(host_port="8090")]},
    "open": {"80/tcp": [PortBinding(host_port="8095")]},
    "plain": {"80/tcp": [PortBinding(host_port="8070")]},
    "bare": {"80/tcp": [PortBinding(host_port="8060")]},
    "kind": {"80/tcp": [PortBinding(host_port="8061")]},
}
WHERE = {
    "web": "a", "near": "a", "other": "b", "in1": "inner", "in2": "inner", "far": "apart",
    "lone": "apart", "open": "routed", "plain": "default", "bare": "unprotected", "iso1": "isolated",
    "iso2": "isolated", "kind": "trusting",
}  # fmt: skip

# who, how, what (container, its port), expected: None does not come about, else the client's
# address as the container sees it ("": any)
MATRIX: list[tuple[str, str, str, int, tuple[str, int], str | None]] = [
    # from outside
    ("outside", "tcp", "192.0.2.1", 8080, ("web", 80), "192.0.2.9"),
    ("outside", "tcp", "192.0.2.1", 8082, ("web", 82), "192.0.2.9"),
    ("outside", "tcp", "192.0.2.1", 8081, ("web", 81), None),
    ("outside", "tcp", "127.0.0.1", 8081, ("web", 81), None),
    ("outside", "tcp", "127.0.0.1", 8080, ("web", 80), None),
    ("outside", "tcp", "web", 80, ("web", 80), None),
    ("outside", "tcp", "web", 84, ("web", 84), None),
    ("outside", "tcp", "in1", 80, ("in1", 80), None),
    ("outside", "tcp", "plain", 80, ("plain", 80), None),
    ("outside", "tcp", "192.0.2.1", 8070, ("plain", 80), "192.0.2.9"),
    ("outside", "tcp", "open", 80, ("open", 80), "192.0.2.9"),
    ("outside", "tcp", "open", 84, ("open", 84), None),
    ("outside", "tcp", "bare", 84, ("bare", 84), "192.0.2.9"),
    ("outside", "tcp", "192.0.2.1", 8060, ("bare", 80), "192.0.2.9"),
    ("outside", "tcp", "iso1", 84, ("iso1", 84), None),
    ("outside", "tcp", "kind", 80, ("kind", 80), "192.0.2.9"),
    ("outside", "tcp", "kind", 84, ("kind", 84), None),
    ("outside", "tcp", "192.0.2.1", 8061, ("kind", 80), "192.0.2.9"),
    ("outside", "udp", "192.0.2.1", 8053, ("web", 80), "192.0.2.9"),
    ("outside", "udp", "192.0.2.1", 8054, ("web", 81), None),
    ("outside", "udp", "web", 80, ("web", 80), None),
    ("outside", "tcp", "2001:db8::1", 8080, ("web", 80), "2001:db8::9"),
    ("outside", "tcp", "web6", 80, ("web", 80), None),
    ("outside", "tcp", "web6", 84, ("web", 84), None),
    ("outside", "udp", "2001:db8::1", 8053, ("web", 80), "2001:db8::9"),
    # from the host
    ("host", "tcp", "127.0.0.1", 8080, ("web", 80), "10.177.1.1"),
    ("host", "tcp", "127.0.0.1", 8081, ("web", 81), "10.177.1.1"),
    ("host", "tcp", "127.0.0.1", 8082, ("web", 82), None),
    ("host", "tcp", "192.0.2.1", 8080, ("web", 80), ""),
    ("host", "tcp", "192.0.2.1", 8082, ("web", 82), ""),
    ("host", "tcp", "192.0.2.1", 8081, ("web", 81), None),
    ("host", "tcp", "10.177.2.1", 8080, ("web", 80), ""),
    ("host", "tcp", "::1", 8080, ("web", 80), "fd77:1::1"),
    ("host", "tcp", "2001:db8::1", 8080, ("web", 80), ""),
    ("host", "tcp", "::1", 8070, ("plain", 80), "10.177.83.1"),
    ("host", "tcp", "web", 84, ("web", 84), "10.177.1.1"),
    ("host", "tcp", "in1", 84, ("in1", 84), "10.177.3.1"),
    ("host", "tcp", "iso1", 84, ("iso1", 84), None),
    ("host", "udp", "127.0.0.1", 8053, ("web", 80), "10.177.1.1"),
    ("host", "udp", "127.0.0.1", 8054, ("web", 81), "10.177.1.1"),
    # from containers
    ("web", "tcp", "192.0.2.1", 8080, ("web", 80), "10.177.1.1"),
    ("web", "tcp", "10.177.1.1", 8080, ("web", 80), "10.177.1.1"),
    ("web", "tcp", "192.0.2.9", 7777, ("outside", 7777), "192.0.2.1"),
    ("web", "tcp", "2001:db8::9", 7777, ("outside", 7777), "2001:db8::1"),
    ("web", "tcp", "192.0.2.1", 22222, ("host", 22222), "10.177.1.2"),
    ("near", "tcp", "web", 80, ("web", 80), "10.177.1.3"),
    ("near", "tcp", "web", 84, ("web", 84), "10.177.1.3"),
    ("near", "tcp", "web6", 84, ("web", 84), "fd77:1::3"),
    ("near", "tcp", "192.0.2.1", 8080, ("web", 80), "10.177.1.1"),
    ("near", "udp", "192.0.2.1", 8053, ("web", 80), "10.177.1.1"),
    ("other", "tcp", "web", 80, ("web", 80), None),
    ("other", "tcp", "web", 84, ("web", 84), None),
    ("other", "tcp", "web6", 80, ("web", 80), None),
    ("other", "tcp", "192.0.2.1", 8080, ("web", 80), "10.177.1.1"),
    ("other", "tcp", "10.177.1.1", 8080, ("web", 80), "10.177.1.1"),
    ("other", "tcp", "192.0.2.1", 8081, ("web", 81), None),
    ("other", "tcp", "in1", 84, ("in1", 84), None),
    ("plain", "tcp", "web", 84, ("web", 84), None),
    ("plain", "tcp", "192.0.2.1", 8080, ("web", 80), ""),
    ("in1", "tcp", "in2", 84, ("in2", 84), "10.177.3.2"),
    ("in1", "tcp", "192.0.2.9", 7777, ("outside", 7777), None),
    ("in1", "tcp", "10.177.3.1", 8080, ("web", 80), None),
    ("in1", "tcp", "web", 80, ("web", 80), None),
    ("lone", "tcp", "far", 80, ("far", 80), None),
    ("lone", "tcp", "far", 84, ("far", 84), None),
    ("lone", "tcp", "192.0.2.1", 8090, ("far", 80), "10.177.4.1"),  # but see ``bridged``
    ("lone", "tcp", "192.0.2.9", 7777, ("outside", 7777), "192.0.2.1"),
    ("bare", "tcp", "192.0.2.9", 7777, ("outside", 7777), "192.0.2.1"),
    ("web", "tcp", "kind", 80, ("kind", 80), None),
    ("web", "tcp", "bare", 84, ("bare", 84), "10.177.6.1"),  # masqueraded
    ("iso1", "tcp", "iso2", 84, ("iso2", 84), "10.177.7.2"),
    ("iso1", "tcp", "192.0.2.1", 8080, ("web", 80), None),
    ("open", "tcp", "192.0.2.9", 7777, ("outside", 7777), "10.177.5.2"),
]  # fmt: skip


@dataclass
class World:
    """The host, the machine outside and the containers, each a namespace with servers in it."""

    networks: Networks
    namespaces: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    records: dict[str, ContainerRecord] = field(default_factory=dict)
    servers: dict[tuple[str, str, int], list[socket.socket]] = field(default_factory=dict)

    def add(self, name: str, digit: str, network: str, ports: dict[str, list[PortBinding]]) -> None:
        """Start a container: a namespace that is wired up, with servers in it."""
        host = HostConfig(port_bindings=dict(ports) or None)
        record = self.records[name] = container(digit, mode=network, host=host)
        attachment = self.networks.attach(record)
        inside = self.namespaces[name] = new_namespace()
        with entered(inside):
            configure(attachment.interfaces, self.namespaces["host"])
        (endpoint,) = attachment.networks.values()
        self.addresses[name] = endpoint.ip_address
        self.addresses[f"{name}6"] = endpoint.global_ipv6_address
        self.serve(name, 80, 81, 82, 84)

    def serve(self, name: str, *ports: int) -> None:
        """Listen at ports of IPv4 and IPv6, TCP and UDP."""
        with entered(self.namespaces[name]):
            for port in ports:
                for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                    for kind in ("tcp", "udp"):
                        stream = kind == "tcp"
                        server = socket.socket(
                            family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
                        )
                        if family == socket.AF_INET6:
                            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        server.bind((any_address, port))
                        if stream:
                            server.listen(64)
                        server.setblocking(False)
                        self.servers.setdefault((name, kind, port), []).append(server)

    async def probe(
        self,
        who: str,
        kind: str,
        address: str,
        port: int,
        whom: tuple[str, int],
        *,
        hopeful: bool = False,
    ) -> str | None:
        """Return the client's address as ``whom`` sees it; None if it was not reached.

        Who is ``hopeful`` waits longer: this may be a busy machine.
        """
        loop = asyncio.get_running_loop()
        target = self.addresses.get(address, address)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        stream = kind == "tcp"
        servers = self.servers[whom[0], kind, whom[1]]
        with entered(self.namespaces[who]):
            client = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        with client:
            client.setblocking(False)
            try:
                async with asyncio.timeout(HOPE_S if hopeful else PATIENCE_S):
                    await loop.sock_connect(client, (target, port))
                    if not stream:
                        await loop.sock_sendall(client, b"question")
                    peer = await _first(servers, stream=stream)
                    if not stream:
                        assert await loop.sock_recv(client, 64) == b"answer"
            except (OSError, TimeoutError):
                return None
        return peer


async def _first(servers: list[socket.socket], *, stream: bool) -> str:
    """Wait for a client at any of the servers; return its address."""
    while True:
        for server in servers:
            try:
                if stream:
                    accepted, (peer, *_) = server.accept()
                    accepted.close()
                else:
                    _, client = server.recvfrom(64)
                    peer = client[0]
                    server.sendto(b"answer", client)
            except BlockingIOError:
                continue
            return str(peer).partition("%")[0]
        await asyncio.sleep(0.002)


def ip(namespace_fd: int, *commands: str) -> None:
    with entered(namespace_fd):
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def make_outside(host_fd: int) -> int:
    """A machine at 192.0.2.9 that routes to every subnet, and 127.0.0.1, by way of the host."""
    outside = new_namespace()
    with entered(outside), Netlink() as netlink:
        netlink.execute(add_veth("uplink", namespace_fd=host_fd, master=0, peer="wan0"))
        index = netlink.index("wan0")
        netlink.execute(
            add_address(index, "192.0.2.9/24"),
            add_address(index, "2001:db8::9/64"),
            set_link(index, up=True),
        )
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
    ip(
        outside,
        "route add 10.177.0.0/16 via 192.0.2.1",
        "-6 route add fd77::/16 via 2001:db8::1",
        "route add 127.0.0.1/32 via 192.0.2.1 src 192.0.2.9",
    )
    with Netlink() as netlink:
        index = netlink.index("uplink")
        netlink.execute(add_address(index, "192.0.2.1/24"), add_address(index, "2001:db8::1/64"))
    return outside


def request(name: str) -> NetworkRequest:
    wanted = NETWORKS[name]
    pools = [IpamPool(subnet=str(wanted["subnet"]))]
    if "subnet6" in wanted:
        pools.append(IpamPool(subnet=str(wanted["subnet6"])))
    return NetworkRequest(
        name=name,
        internal=bool(wanted.get("internal")),
        enable_ipv6="subnet6" in wanted,
        ipam=Ipam(config=pools),
        options=wanted.get("options"),
    )


def open_networks(
    root: Path,
    records: dict[str, ContainerRecord],
    *,
    bridge: str = "tbq7x",
    bip: str = "10.177.83.1/24",
) -> Networks:
    config = NetworkConfig(
        bridge=bridge,
        bip=bip,
        default_address_pools=[AddressPool(base="10.178.0.0/16", size=24)],
    )
    by_id = records.values
    return Networks(
        Database(root / "barque.db"),
        config,
        lambda ref: next(record for record in by_id() if record.id == ref),
    )


async def make_world(root: Path) -> World:
    host = current_namespace()
    records: dict[str, ContainerRecord] = {}
    world = World(open_networks(root, records), {"host": host}, records=records)
    world.namespaces["outside"] = make_outside(host)
    with entered(world.namespaces["outside"]), Netlink() as netlink:
        assert netlink.index("wan0")
    await world.networks.setup()
    for name in NETWORKS:
        await world.networks.create(request(name))
    for number, (name, network) in enumerate(WHERE.items(), start=1):
        world.add(name, f"{number:x}", network, PORTS.get(name, {}))
    world.serve("outside", 7777)
    world.serve("host", 22222)
    return world


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(work)


def show(expected: str | None) -> str:
    return {None: "nobody", "": "somebody"}.get(expected, str(expected))


def is_bridged_through_the_firewall() -> bool:
    """Whether br_netfilter takes part: it bridges translated packets, and ports are apart."""
    try:
        return Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text().strip() == "1"
    except FileNotFoundError:
        return False


async def list_differences(world: World) -> list[str]:
    differences = []
    bridged = is_bridged_through_the_firewall()
    for who, kind, address, port, whom, promised in MATRIX:
        expected = None if bridged and (who, port) == ("lone", 8090) else promised
        hopeful = expected is not None
        seen = await world.probe(who, kind, address, port, whom, hopeful=hopeful)
        if seen != expected and not (expected == "" and seen):
            differences.append(
                f"{who} to {kind} {address}:{port} ({whom[0]}:{whom[1]}): "
                f"expected {show(expected)}, came {show(seen)}"
            )
    return differences


@isolated
def test_everybody_reaches_whom_they_may_and_nobody_else(tmp_path: Path) -> None:
    async def check() -> None:
        world = await make_world(tmp_path)
        differences = await list_differences(world)
        assert not differences, "\n".join(differences)
        world.networks.close()

    run(check())


@isolated
def test_the_rules_of_an_engine_that_is_gone_stop_nobody(tmp_path: Path) -> None:
    """Its table stays for its containers; its bridge goes, and another has the subnet now."""

    async def check() -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        other = open_networks(gone, {}, bridge="tbq8x", bip="10.179.9.1/24")
        await other.setup()
        for name in NETWORKS:
            await other.create(request(name))
        devices = [network.bridge for network in other.list() if network.bridge]
        other.close()
        ip(current_namespace(), *(f"link delete {device}" for device in devices))
        world = await make_world(tmp_path)
        differences = await list_differences(world)
        assert not differences, "\n".join(differences)
        world.networks.close()

    run(check())


@isolated
def test_another_engine_comes_and_goes(tmp_path: Path) -> None:
    """Both choose subnets of the same pools; the containers of one talk all the while."""

    async def come_and_go(until: asyncio.Event) -> int:
        times = 0
        while not until.is_set():
            other = open_networks(tmp_path / "other", {}, bridge="tbq8x", bip="10.179.9.1/24")
            await other.setup()
            for internal in (False, True):
                made = await other.create(NetworkRequest(name="own", internal=internal))
                assert made.subnet == "10.178.1.0/24", "the other engine has the first"
                await other.remove("own")
            other.close()
            if times % 2:
                assert await other.teardown()
            times += 1
        return times

    async def check() -> None:
        (tmp_path / "other").mkdir()
        world = await make_world(tmp_path)
        own = await world.networks.create(NetworkRequest(name="own"))
        assert own.subnet == "10.178.0.0/24"
        done = asyncio.Event()
        other = asyncio.create_task(come_and_go(done))
        differences = [*await list_differences(world), *await list_differences(world)]
        done.set()
        assert await other > 3
        assert not differences, "\n".join(differences)
        world.networks.close()

    run(check())


@isolated
def test_two_engines_that_choose_the_same_subnet_at_once(tmp_path: Path) -> None:
    """The one that comes second finds the address of the first, withdraws and chooses again."""

    async def check() -> None:
        networks = open_networks(tmp_path, {})
        await networks.setup()
        opened = bridge_module.open_bridge
        first: list[str] = []

        def open_second(name: str, **settings: Any) -> None:
            if not first:
                first.append(settings["addresses"][0])
                opened("rival", mtu=1500, addresses=first, ipv6=False)
            opened(name, **settings)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bridge_module, "open_bridge", open_second)
            made = await networks.create(NetworkRequest(name="x"))
        assert first == ["10.178.0.1/24"]
        assert made.subnet == "10.178.1.0/24"
        networks.close()

    run(check())


@isolated
def test_rules_come_back_when_somebody_takes_them_away(tmp_path: Path) -> None:
    table = "barque-tbq7x"

    async def check() -> None:
        world = await make_world(tmp_path)
        wanted = ("outside", "tcp", "192.0.2.1", 8080, ("web", 80))
        for vandalism in (
            ["flush", "ruleset"],
            ["delete", "table", "inet", table],
            ["flush", "chain", "inet", table, "translate"],
            ["flush", "map", "inet", table, "any4"],
        ):
            assert await world.probe(*wanted, hopeful=True) == "192.0.2.9"
            process = await asyncio.create_subprocess_exec("nft", *vandalism)
            assert await process.wait() == 0
            begin = time.monotonic()
            while await world.probe(*wanted) is None:
                assert time.monotonic() - begin < RESTORED_S, vandalism
        assert not await list_differences(world)
        world.networks.close()

    run(check())


@isolated
def test_bridges_come_back_when_somebody_takes_them_away(tmp_path: Path) -> None:
    """With their addresses and their containers, as if nothing had been."""

    async def check() -> None:
        world = await make_world(tmp_path)
        for name in ("a", "inner", "apart", "bridge"):
            device = world.networks.get(name).bridge
            process = await asyncio.create_subprocess_exec("ip", "link", "delete", device)
            assert await process.wait() == 0
        begin = time.monotonic()
        while await world.probe("near", "tcp", "web", 80, ("web", 80)) is None:
            assert time.monotonic() - begin < 15
        differences = await list_differences(world)
        assert not differences, "\n".join(differences)
        world.networks.close()

    run(check())


@isolated
def test_pools_that_are_used_up(tmp_path: Path) -> None:
    async def check() -> None:
        pools = [AddressPool(base="10.178.0.0/23", size=24)]
        config = NetworkConfig(bridge="none", default_address_pools=pools)
        networks = Networks(Database(tmp_path / "barque.db"), config, lambda _: container())
        await networks.setup()
        for name in ("a", "b"):
            await networks.create(NetworkRequest(name=name))
        with pytest.raises(BarqueError, match="all predefined address pools have been fully sub"):
            await networks.create(NetworkRequest(name="c"))
        assert [network.name for network in networks.list()] == ["a", "b", "host", "none"]
        await networks.remove("a")
        assert (await networks.create(NetworkRequest(name="c"))).subnet == "10.178.0.0/24"
        networks.close()

    run(check())


@isolated
def test_ports_go_with_their_container(tmp_path: Path) -> None:
    async def check() -> None:
        world = await make_world(tmp_path)
        record = world.records["web"]
        clash = container("f", host=HostConfig(port_bindings=dict(PORTS["web"])))
        world.records["clash"] = clash
        with pytest.raises(BarqueError, match=r"0\.0:8080 failed: port is already allocated"):
            world.networks.attach(clash)
        stranger = socket.socket()
        with pytest.raises(OSError, match="Address already in use"):
            stranger.bind(("0.0.0.0", 8080))
        world.networks.release(record.id)
        assert await world.probe("outside", "tcp", "192.0.2.1", 8080, ("web", 80)) is None
        stranger.bind(("0.0.0.0", 8080))
        stranger.listen()
        with pytest.raises(BarqueError, match="8080/tcp: address already in use"):
            world.networks.attach(clash)
        stranger.close()
        world.networks.attach(clash)
        world.networks.close()

    run(check())


@isolated
def test_udp_flows_follow_a_port_to_where_it_leads_now(tmp_path: Path) -> None:
    async def check() -> None:
        world = await make_world(tmp_path)
        with entered(world.namespaces["outside"]):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(("192.0.2.1", 8053))
        client.send(b"question")
        async with asyncio.timeout(15):
            assert await _first(world.servers["web", "udp", 80], stream=False) == "192.0.2.9"
        world.networks.release(world.records["web"].id)
        world.add("next", "f", "a", PORTS["web"])
        async with asyncio.timeout(15):
            asked = asyncio.ensure_future(_first(world.servers["next", "udp", 80], stream=False))
            while not asked.done():
                client.send(b"question")  # the same flow goes on all the while
                await asyncio.sleep(0.02)
        assert asked.result() == "192.0.2.9"
        client.close()
        world.networks.close()

    run(check())


@isolated
def test_a_new_engine_goes_on_with_ports_and_names(tmp_path: Path) -> None:
    async def check() -> None:
        world = await make_world(tmp_path)
        running = []
        for name, record in world.records.items():
            place = world.networks._places[record.id]
            running.append(
                container(
                    record.id[0],
                    mode=WHERE[name],
                    host=record.host_config,
                    running=True,
                    networks={asked.network.name: asked.endpoint for asked in place.asked},
                    ports=place.held.published,
                )
            )
        world.networks.close()
        world.records.update(zip(world.records, running, strict=True))
        world.networks = open_networks(tmp_path, world.records)
        await world.networks.setup(running)
        assert not await list_differences(world)
        assert world.networks._names.find(["a"], "cA", {}) is None
        assert world.networks._names.find(["a"], "c1", {}) == ["10.177.1.2", "fd77:1::2"]
        world.networks.close()

    run(check())


@isolated
def test_subnets_that_are_taken(tmp_path: Path) -> None:
    async def check() -> None:
        networks = open_networks(tmp_path, {})
        await networks.setup()
        refused = {
            "10.177.83.128/25": "Pool overlaps with other one on this address space",
            "192.0.2.0/25": "overlaps the addresses of this host's interface uplink",
        }
        make_outside(current_namespace())
        for subnet, text in refused.items():
            with pytest.raises(BarqueError, match=text):
                await networks.create(
                    NetworkRequest(name="x", ipam=Ipam(config=[IpamPool(subnet=subnet)]))
                )
        assert [network.name for network in networks.list()] == ["bridge", "host", "none"]
        first = await networks.create(NetworkRequest(name="x"))
        assert first.subnet == "10.178.0.0/24"
        await networks.remove("x")
        assert (await networks.create(NetworkRequest(name="y"))).subnet == "10.178.0.0/24"
        networks.close()

    run(check())


@isolated
def test_gateways_of_several_networks(tmp_path: Path) -> None:
    async def check() -> None:
        records: dict[str, ContainerRecord] = {}
        networks = open_networks(tmp_path, records)
        await networks.setup()
        for name in ("a", "b", "inner"):
            await networks.create(request(name))
        asked = {
            "a": EndpointSettings(),
            "b": EndpointSettings(gw_priority=5),
            "inner": EndpointSettings(gw_priority=9),
        }
        record = records["c"] = container("c", mode="a", networks=asked)
        attachment = networks.attach(record)
        ways = {i.name: (i.gateway, i.gateway6) for i in attachment.interfaces}
        assert ways == {"eth0": ("", ""), "eth1": ("10.177.2.1", "fd77:2::1"), "eth2": ("", "")}
        networks.close()

    run(check())
