"""The bridge network on a real kernel. Needs root and nft; leaves the machine untouched."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from dnslib import DNSRecord
from msgspec import structs

from barque.errors import Conflict, FailedPrecondition, KernelError, NotFound
from barque.kernel.netlink import (
    LOOPBACK,
    Netlink,
    add_address,
    add_bridge,
    add_default_route,
    add_veth,
    set_link,
)
from barque.models.api import (
    ContainerConfig,
    EndpointIpamConfig,
    EndpointSettings,
    HostConfig,
    Ipam,
    IpamPool,
    NetworkRequest,
)
from barque.models.container import ContainerRecord
from barque.models.launch import Interface
from barque.network.advertise import announcement
from barque.network.attachment import Attachment, clear_endpoints
from barque.network.config import AddressPool, NetworkConfig
from barque.network.files import RESOLVER
from barque.network.namespaces import remove_interface
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

BRIDGE = "tbq7x"
CONFIG = NetworkConfig(bridge=BRIDGE, bip="10.177.83.1/24", mtu=1400)


def open_networks(
    root: Path, config: NetworkConfig = CONFIG, *records: ContainerRecord
) -> Networks:
    def find(ref: str) -> ContainerRecord:
        for record in records:
            if record.id.startswith(ref):
                return record
        raise NotFound(f"No such container: {ref}")

    return Networks(Database(root / "barque.db"), config, find)


def census() -> tuple[list[str], str]:
    with Netlink() as netlink:
        links = sorted(link.name for link in netlink.links())
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True, text=True)
    return links, rules.stdout


def run_in(namespace_fd: int, attachment: Attachment, host_fd: int) -> None:
    with entered(namespace_fd):
        configure(attachment.interfaces, host_fd)


def connects(client_fd: int, server_fd: int, address: str, timeout_s: float = 5) -> str | None:
    """Whether a TCP connection comes about: the client's address as the server sees it."""
    family, any_address = (socket.AF_INET, "0.0.0.0")
    if ":" in address:
        family, any_address = (socket.AF_INET6, "::")
    with entered(server_fd):
        server: socket.socket = socket.create_server((any_address, 7777), family=family)
    with entered(client_fd):
        client = socket.socket(family)
    with server, client:
        client.settimeout(timeout_s)
        server.settimeout(timeout_s)
        try:
            client.connect((address, 7777))
        except OSError:
            return None
        accepted, peer = server.accept()
        accepted.close()
        return str(peer[0])


def make_outside(host_fd: int) -> int:
    """A namespace that plays the world: 192.0.2.9, its neighbour the host 192.0.2.1."""
    outside = new_namespace()
    with entered(outside), Netlink() as netlink:
        pair = add_veth("uplink", namespace_fd=host_fd, master=0, peer="wan0")
        netlink.execute(set_link(LOOPBACK, up=True), pair)
        index = netlink.index("wan0")
        netlink.execute(
            add_address(index, "192.0.2.9/24"),
            set_link(index, up=True),
            add_default_route(index, "192.0.2.1"),
        )
    with Netlink() as netlink:
        netlink.execute(add_address(netlink.index("uplink"), "192.0.2.1/24"))
    return outside


@isolated
def test_containers_reach_each_other_and_the_world_but_not_the_reverse(tmp_path: Path) -> None:
    host = current_namespace()
    networks = open_networks(tmp_path)
    asyncio.run(networks.setup())
    outside = make_outside(host)
    one, two = new_namespace(), new_namespace()
    first = networks.attach(container("1"))
    second = networks.attach(container("2"))
    run_in(one, first, host)
    run_in(two, second, host)
    address = first.networks["bridge"].ip_address
    assert (address, second.networks["bridge"].ip_address) == ("10.177.83.2", "10.177.83.3")
    assert connects(two, one, address) == "10.177.83.3"
    assert connects(host, one, address) == "10.177.83.1"
    assert connects(one, outside, "192.0.2.9") == "192.0.2.1"
    assert connects(outside, one, address, timeout_s=1) is None


@isolated
def test_without_icc_containers_do_not_meet(tmp_path: Path) -> None:
    host = current_namespace()
    networks = open_networks(
        tmp_path, NetworkConfig(bridge=BRIDGE, bip="10.177.83.1/24", icc=False)
    )
    asyncio.run(networks.setup())
    one, two = new_namespace(), new_namespace()
    first = networks.attach(container("1"))
    run_in(one, first, host)
    run_in(two, networks.attach(container("2")), host)
    address = first.networks["bridge"].ip_address
    assert connects(two, one, address, timeout_s=1) is None
    assert connects(host, one, address)


@isolated
def test_inside_there_is_what_was_asked(tmp_path: Path) -> None:
    host = current_namespace()
    networks = open_networks(tmp_path)
    asyncio.run(networks.setup())
    asked = {"bridge": EndpointSettings(mac_address="02:00:00:00:00:2a")}
    attachment = networks.attach(container("1", networks=asked))
    inside = new_namespace()
    run_in(inside, attachment, host)
    with entered(inside), Netlink() as netlink:
        links = {link.name: link for link in netlink.links()}
        assert links["lo"].up
        eth0 = links["eth0"]
        assert (eth0.up, eth0.mtu, eth0.mac) == (True, 1400, "02:00:00:00:00:2a")
        mine = [a.cidr for a in netlink.addresses() if a.ifindex == eth0.ifindex]
        assert mine == ["10.177.83.2/24"]
        defaults = [r.gateway for r in netlink.routes() if r.destination == "0.0.0.0/0"]
        assert defaults == ["10.177.83.1"]
        assert read_sysctl("eth0") == "1"
        assert read_sysctl("default") == "0"
        assert read_sysctl("lo") == "0"
    with Netlink() as netlink:
        bridge = netlink.index(BRIDGE)
        ports = [link.name for link in netlink.links() if link.master == bridge]
        assert ports == [attachment.interfaces[0].host_name]
        assert ports[0].startswith("veth")


def read_sysctl(interface: str) -> str:
    return Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").read_text().strip()


@isolated
def test_no_interfaces_is_loopback_alone(tmp_path: Path) -> None:
    del tmp_path
    inside = new_namespace()
    with entered(inside), Netlink() as netlink:
        configure([], -1)
        assert [(link.name, link.up) for link in netlink.links() if link.up] == [("lo", True)]


@isolated
def test_failures_name_the_step_and_leave_nothing(tmp_path: Path) -> None:
    del tmp_path
    host = current_namespace()
    with Netlink() as netlink:
        netlink.execute(add_bridge(BRIDGE))
        interface = Interface(
            name="eth0",
            host_name="vethfail",
            bridge=BRIDGE,
            mac="02:00:00:00:00:01",
            addresses=["10.177.83.2/24"],
            gateway="10.99.99.1",
        )
        inside = new_namespace()
        with entered(inside), pytest.raises(KernelError, match="add default route via"):
            configure([interface], host)
        with entered(new_namespace()), pytest.raises(KernelError, match="add veth vethfail: file"):
            configure([interface], host)
        interface.bridge = "missing"
        with entered(new_namespace()), pytest.raises(KernelError, match="find link missing"):
            configure([interface], host)


@isolated
def test_setup_repairs_and_teardown_leaves_nothing(tmp_path: Path) -> None:
    before = census()
    networks = open_networks(tmp_path)
    asyncio.run(networks.setup())
    held = networks.attach(container("1")).networks["bridge"].ip_address
    made = census()
    subprocess.run(["nft", "flush", "table", "inet", f"barque-{BRIDGE}"], check=True)
    again = open_networks(tmp_path)
    asyncio.run(again.setup())
    assert census() == made
    assert again.get("bridge") == networks.get("bridge")
    assert again.holders() == {container("1").id}
    assert again.attach(container("2")).networks["bridge"].ip_address != held
    again.release(container("1").id)
    again.release(container("1").id)
    assert asyncio.run(again.teardown())
    assert census() == before
    assert asyncio.run(again.teardown())


@isolated
def test_teardown_waits_for_containers_and_keeps_an_adopted_bridge(tmp_path: Path) -> None:
    host = current_namespace()
    with Netlink() as netlink:
        netlink.execute(add_bridge(BRIDGE))
        netlink.execute(add_address(netlink.index(BRIDGE), "10.178.1.9/24"))
    adopting = open_networks(tmp_path, NetworkConfig(bridge=BRIDGE))
    asyncio.run(adopting.setup())
    assert adopting.get("bridge").gateway == "10.178.1.9"
    assert asyncio.run(adopting.teardown())
    assert BRIDGE in census()[0]
    (tmp_path / "two").mkdir()
    own = open_networks(tmp_path / "two", NetworkConfig(bridge="tbq8x", bip="10.179.1.1/24"))
    asyncio.run(own.setup())
    inside = new_namespace()
    run_in(inside, own.attach(container("1")), host)
    assert not asyncio.run(own.teardown())
    assert "barque-tbq8x" in census()[1]


@isolated
def test_pools_skip_what_the_host_uses_and_the_choice_is_kept(tmp_path: Path) -> None:
    pools = [AddressPool(base="10.180.0.0/22", size=24)]
    with Netlink() as netlink:
        netlink.execute(add_bridge("busy"))
        index = netlink.index("busy")
        netlink.execute(add_address(index, "10.180.0.77/25"), set_link(index, up=True))
    config = NetworkConfig(bridge=BRIDGE, default_address_pools=pools)
    networks = open_networks(tmp_path, config)
    asyncio.run(networks.setup())
    assert networks.get("bridge").subnet == "10.180.1.0/24"
    (tmp_path / "two").mkdir()
    two = open_networks(
        tmp_path / "two", NetworkConfig(bridge="tbq8x", default_address_pools=pools)
    )
    asyncio.run(two.setup())
    assert two.get("bridge").subnet == "10.180.2.0/24"
    assert asyncio.run(networks.teardown())
    after_reboot = open_networks(tmp_path, config)
    asyncio.run(after_reboot.setup())
    assert after_reboot.get("bridge").subnet == "10.180.1.0/24"
    (tmp_path / "three").mkdir()
    full = open_networks(
        tmp_path / "three", NetworkConfig(bridge="tbq9x", default_address_pools=pools[:1])
    )
    asyncio.run(full.setup())
    (tmp_path / "four").mkdir()
    late = open_networks(
        tmp_path / "four", NetworkConfig(bridge="tbqax", default_address_pools=pools)
    )
    with pytest.raises(FailedPrecondition, match="have been fully subnetted"):
        asyncio.run(late.setup())


@isolated
def test_modes(tmp_path: Path) -> None:
    other = container("b", running=True)
    stopped = container("c")
    networks = open_networks(tmp_path, CONFIG, other, stopped)
    asyncio.run(networks.setup())
    assert [network.name for network in networks.list()] == ["bridge", "host", "none"]
    none = networks.attach(container("1", mode="none"))
    assert (none.interfaces, none.host, list(none.networks)) == ([], False, ["none"])
    host = networks.attach(container("1", mode="host"))
    assert (host.interfaces, host.host, list(host.networks)) == ([], True, ["host"])
    assert networks.attach(container("1", mode=f"container:{other.id}")).join == other.id
    with pytest.raises(Conflict, match="cannot join network namespace of a non running container"):
        networks.attach(container("1", mode=f"container:{stopped.id}"))
    with pytest.raises(FailedPrecondition, match="cannot join own network namespace"):
        networks.attach(container("b", mode=f"container:{other.id}"))
    with pytest.raises(NotFound, match="network shop not found"):
        networks.attach(container("1", mode="shop"))
    by_id = networks.attach(container("1", mode=networks.get("bridge").id[:12]))
    assert list(by_id.networks) == ["bridge"]
    cleared = clear_endpoints(by_id.networks)["bridge"]
    assert (cleared.ip_address, cleared.endpoint_id) == ("", "")
    assert cleared.network_id == networks.get("bridge").id
    disabled = ContainerConfig(network_disabled=True)
    assert networks.attach(container("1", config=disabled)).networks == {}
    assert networks.holders() == frozenset()


@isolated
def test_addresses_run_out(tmp_path: Path) -> None:
    networks = open_networks(tmp_path, NetworkConfig(bridge=BRIDGE, bip="10.177.83.1/30"))
    asyncio.run(networks.setup())
    networks.attach(container("1"))
    networks.attach(container("1"))
    with pytest.raises(FailedPrecondition, match="no available IPv4 addresses on this network's"):
        networks.attach(container("2"))
    networks.release(container("1").id)
    networks.attach(container("2"))


@isolated
def test_no_default_network(tmp_path: Path) -> None:
    before = census()
    networks = open_networks(tmp_path, NetworkConfig(bridge="none"))
    asyncio.run(networks.setup())
    assert [network.name for network in networks.list()] == ["host", "none"]
    assert networks.attach(container("1")).interfaces == []
    assert census() == before


@isolated
def test_files(tmp_path: Path) -> None:
    networks = open_networks(tmp_path)
    asyncio.run(networks.setup())
    host_config = HostConfig(dns=["9.9.9.9"], extra_hosts=["gate:host-gateway"])
    record = container("1", host=host_config)
    attachment = networks.attach(record)
    directory = networks.files_directory(record, tmp_path / "containers")
    directory.mkdir(parents=True)
    networks.write_files(record, attachment, directory)
    assert (directory / "hostname").read_text() == "111111111111\n"
    hosts = (directory / "hosts").read_text()
    assert hosts.endswith("10.177.83.1\tgate\n10.177.83.2\t111111111111\n")
    assert (directory / "resolv.conf").read_text().startswith("nameserver 9.9.9.9\n")
    assert oct((directory / "resolv.conf").stat().st_mode & 0o777) == "0o644"
    (directory / "resolv.conf").write_text("nameserver 1.2.3.4\n")
    networks.write_files(record, networks.attach(record), directory)
    assert (directory / "resolv.conf").read_text() == "nameserver 1.2.3.4\n"
    assert "10.177.83.3\t111111111111\n" in (directory / "hosts").read_text()
    shared = open_networks(tmp_path, CONFIG, record)
    sharer = container("2", mode=f"container:{record.id}")
    assert shared.files_directory(sharer, tmp_path / "containers") == directory
    of_host = tmp_path / "of-host"
    of_host.mkdir()
    networks.write_files(
        container("3", mode="host"), networks.attach(container("3", mode="host")), of_host
    )
    assert (of_host / "hosts").read_bytes() == Path("/etc/hosts").read_bytes()
    assert (of_host / "hostname").read_text() == f"{socket.gethostname()}\n"


async def resolve(namespace_fd: int, name: str) -> list[str]:
    """Ask as a program in the container does; return the addresses."""
    loop = asyncio.get_running_loop()
    with entered(namespace_fd):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.setblocking(False)
        async with asyncio.timeout(5):
            await loop.sock_sendto(asking, DNSRecord.question(name).pack(), ("127.0.0.11", 53))
            answer = DNSRecord.parse(await loop.sock_recv(asking, 1500))
    return [str(record.rdata) for record in answer.rr]


@isolated
def test_who_gets_the_address_of_another_is_reached_at_once(tmp_path: Path) -> None:
    """Although host and neighbour have just talked to the one before, at another MAC address."""
    host = current_namespace()

    async def run() -> None:
        networks = open_networks(tmp_path)
        await networks.setup()
        pool = IpamPool(subnet="10.178.9.0/24")
        pool6 = IpamPool(subnet="fd17:9::/64")
        await networks.create(
            NetworkRequest(name="own", enable_ipv6=True, ipam=Ipam(config=[pool, pool6]))
        )
        neighbour = new_namespace()
        run_in(neighbour, networks.attach(container("1", mode="own")), host)
        fixed = EndpointIpamConfig(ipv4_address="10.178.9.9", ipv6_address="fd17:9::9")
        endpoints = {"own": EndpointSettings(ipam_config=fixed)}
        macs = set()
        for digit in "234":
            record = container(digit, mode="own", networks=endpoints)
            attachment = networks.attach(record)
            macs.add(attachment.networks["own"].mac_address)
            inside = new_namespace()
            run_in(inside, attachment, host)
            networks.advertise(record.id)
            await asyncio.sleep(0.1)
            for client in (host, neighbour):
                assert connects(client, inside, "10.178.9.9", timeout_s=2), digit
                assert connects(client, inside, "fd17:9::9", timeout_s=2), digit
            networks.release(record.id)
            remove_interface(attachment.interfaces[0].host_name)
            os.close(inside)
        assert len(macs) == 3

    asyncio.run(run())


@isolated
def test_neighbours_are_told_as_often_as_is_asked(tmp_path: Path) -> None:
    host = current_namespace()

    async def run() -> None:
        networks = open_networks(tmp_path)
        await networks.setup()
        option = "com.docker.network.advertise_addr_"
        heard = {}
        for count, expected in (("", 1), ("0", 0), ("3", 3)):
            name = f"own{count}"
            options = {f"{option}nmsgs": count, f"{option}ms": "100"} if count else {}
            await networks.create(NetworkRequest(name=name, options=options))
            neighbour = new_namespace()
            there = networks.attach(container("1", mode=name))
            run_in(neighbour, there, host)
            assert connects(host, neighbour, there.networks[name].ip_address)  # it hears
            with entered(neighbour):
                ears = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
            ears.setblocking(False)
            record = container("2", mode=name)
            attachment = networks.attach(record)
            run_in(new_namespace(), attachment, host)
            endpoint = attachment.networks[name]
            wanted = announcement(endpoint.mac_address, endpoint.ip_address)
            frames: list[bytes] = []

            def listen(
                ears: socket.socket = ears, wanted: bytes = wanted, frames: list[bytes] = frames
            ) -> int:
                with suppress(BlockingIOError):
                    while True:
                        frames.append(ears.recv(2048))
                return sum(frame.startswith(wanted) for frame in frames)

            networks.advertise(record.id)
            until = time.monotonic() + 10
            while listen() < expected and time.monotonic() < until:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)  # another one would have been sent by now
            heard[count] = listen()
            ears.close()
            networks.release(record.id)
        assert heard == {"": 1, "0": 0, "3": 3}

    asyncio.run(run())


@isolated
def test_a_container_that_is_connected_while_it_is_resumed_resolves_names(tmp_path: Path) -> None:
    async def run() -> None:
        first = open_networks(tmp_path)
        await first.setup()
        for name in ("own", "other"):
            await first.create(NetworkRequest(name=name))
        record = container("1", mode="own", running=True)
        attachment = first.attach(record)
        record = structs.replace(record, networks=attachment.networks)
        inside = await first.open_namespace(record, attachment)
        assert inside is not None
        inside = os.dup(inside)
        first.close()
        for _ in range(20):
            networks = open_networks(tmp_path)
            await networks.setup([record])
            await asyncio.gather(
                networks.connect(record, "other", EndpointSettings(), os.dup(inside)),
                networks.resume(record, os.dup(inside)),
            )
            assert await resolve(inside, "c1.own") == [attachment.networks["own"].ip_address]
            await networks.disconnect(record, "other", os.dup(inside), lambda now: now)
            networks.close()

    asyncio.run(run())


@isolated
def test_a_program_that_asks_by_one_socket_is_answered_by_the_next_engine(tmp_path: Path) -> None:
    async def run() -> None:
        first = open_networks(tmp_path)
        await first.setup()
        await first.create(NetworkRequest(name="own"))
        record = container("1", mode="own", running=True)
        attachment = first.attach(record)
        record = structs.replace(record, networks=attachment.networks)
        inside = await first.open_namespace(record, attachment)
        assert inside is not None
        inside = os.dup(inside)
        with entered(inside):
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.setblocking(False)
        question = DNSRecord.question("c1.own").pack()
        loop = asyncio.get_running_loop()

        async def ask() -> bool:
            asking.sendto(question, (RESOLVER, 53))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    return bool(await loop.sock_recv(asking, 1500))
            return False

        assert await ask()
        first.close()
        assert not await ask()
        second = open_networks(tmp_path)
        await second.setup([record])
        await second.resume(record, os.dup(inside))
        assert await ask()
        second.close()
        asking.close()
        os.close(inside)

    asyncio.run(run())


@isolated
def test_without_nft_the_message_says_what_to_do(tmp_path: Path) -> None:
    os.environ["PATH"] = str(tmp_path)
    networks = open_networks(tmp_path)
    with pytest.raises(FailedPrecondition, match="install the package nftables"):
        asyncio.run(networks.setup())


@isolated
def test_obstacles_are_named(tmp_path: Path) -> None:
    networks = open_networks(tmp_path)
    asyncio.run(networks.setup())
    assert networks.obstacles == []
    chain = "{ type filter hook forward priority 0; policy drop; };"
    subprocess.run(["nft", f"table ip other {{ chain FORWARD {chain} }}"], check=True)
    asyncio.run(networks.look_for_obstacles())
    (warning,) = networks.obstacles
    assert BRIDGE in warning


@isolated
def test_a_name_of_another_kind_is_refused(tmp_path: Path) -> None:
    networks = open_networks(tmp_path, NetworkConfig(bridge="lo"))
    with pytest.raises(FailedPrecondition, match="and no bridge"):
        asyncio.run(networks.setup())
