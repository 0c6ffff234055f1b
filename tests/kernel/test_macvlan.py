"""Networks upon an interface of the host: macvlan and ipvlan. Needs root; leaves nothing.

Where the kernel lacks a kind of interface its tests are skipped; scripts/test-cgroup2 runs them
on one that has all: ``make test-cgroup2 ONLY=tests/kernel/test_macvlan.py``.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from barque.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from barque.kernel.netlink import Netlink
from barque.models.api import (
    EndpointIpamConfig,
    EndpointSettings,
    HostConfig,
    Ipam,
    IpamPool,
    NetworkRequest,
    PortBinding,
)
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord
from barque.network.attachment import Attachment
from barque.network.config import NetworkConfig
from barque.network.service import Networks
from barque.runtime.network import configure
from barque.store.database import Database
from support.network import (
    container,
    current_namespace,
    entered,
    has_kind,
    isolated,
    needs_kind,
    needs_nft,
    needs_root,
    new_namespace,
)
from support.world import OUTSIDE_4, ip, make_outside

pytestmark = [needs_root, needs_nft]

macvlan = needs_kind("macvlan", "CONFIG_MACVLAN")
ipvlan = needs_kind("ipvlan", "CONFIG_IPVLAN")
dummy = needs_kind("dummy", "CONFIG_DUMMY")
vlan = needs_kind("vlan", "CONFIG_VLAN_8021Q")

LAN, LAN_6 = "192.0.2.0/24", "2001:db8::/64"
TAGGED = "198.51.100.0/24"


class Scene:
    """A host with an uplink, a machine outside, and containers that are plugged in."""

    def __init__(self, root: Path) -> None:
        self.host = current_namespace()
        self.outside = make_outside(self.host, "10.0.0.0/8", "fd00::/8")
        self.root = root
        self.records: dict[str, ContainerRecord] = {}
        self.inside: dict[str, int] = {}
        self.networks = self.open()

    def open(self) -> Networks:
        def find(ref: str) -> ContainerRecord:
            return next(record for record in self.records.values() if record.id == ref)

        return Networks(Database(self.root / "barque.db"), NetworkConfig(bridge="none"), find)

    async def create(self, name: str, driver: str, subnet: str = LAN, **more: Any) -> NetworkRecord:
        pools = [IpamPool(subnet=subnet, gateway=more.pop("gateway", None) or "")]
        if more.get("enable_ipv6"):
            pools.append(IpamPool(subnet=LAN_6))
        ipam = Ipam(config=pools)
        return await self.networks.create(
            NetworkRequest(name=name, driver=driver, ipam=ipam, **more)
        )

    def start(self, name: str, network: str, **asked: Any) -> EndpointSettings:
        """Start a container; return its endpoint."""
        endpoints = {network: EndpointSettings(**asked)} if asked else None
        ports: dict[str, list[PortBinding] | None] = {"80/tcp": [PortBinding(host_port="8080")]}
        digit = f"{len(self.records) + 1:x}"
        record = container(
            digit, mode=network, networks=endpoints, host=HostConfig(port_bindings=ports)
        )
        self.records[name] = record
        attachment = self.networks.attach(record)
        assert not attachment.ports, "nothing is published by networks with a parent"
        self.inside[name] = new_namespace()
        with entered(self.inside[name]):
            configure(attachment.interfaces, self.host)
        return attachment.networks[network]

    def fd(self, who: str) -> int:
        return {"host": self.host, "outside": self.outside, **self.inside}[who]

    def reaches(self, who: str, whom: str, address: str, *, hopeful: bool = True) -> bool:
        """Whether a TCP connection comes about."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with entered(self.fd(whom)):
            server = socket.create_server((address, 7777), family=family)
        with entered(self.fd(who)):
            client = socket.socket(family)
        with server, client:
            client.settimeout(5 if hopeful else 0.5)
            try:
                client.connect((address, 7777))
            except OSError:
                return False
        return True

    def routes(self, name: str) -> dict[str, str]:
        with entered(self.inside[name]), Netlink() as netlink:
            return {route.destination: route.gateway for route in netlink.routes()}

    def mac(self, who: str, device: str) -> str:
        with entered(self.fd(who)), Netlink() as netlink:
            return next(link.mac for link in netlink.links() if link.name == device)


def devices() -> set[str]:
    with Netlink() as netlink:
        return {link.name for link in netlink.links()}


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(work)


UPLINK = {"parent": "uplink"}
AT = {"gateway": OUTSIDE_4}


@macvlan
@isolated
def test_macvlan_containers_are_on_the_network_of_the_parent(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        before = devices()
        await scene.create("lan", "macvlan", options=UPLINK, enable_ipv6=True, **AT)
        one = scene.start("one", "lan", mac_address="02:00:00:00:00:2a")
        two = scene.start("two", "lan")
        assert scene.mac("one", "eth0") == one.mac_address == "02:00:00:00:00:2a"
        assert scene.mac("two", "eth0") == two.mac_address != scene.mac("host", "uplink")
        for address in (one.ip_address, one.global_ipv6_address):
            assert scene.reaches("outside", "one", address)
            assert scene.reaches("two", "one", address)
            assert not scene.reaches("host", "one", address, hopeful=False)
        assert scene.reaches("one", "outside", OUTSIDE_4)
        assert scene.routes("one")["0.0.0.0/0"] == one.gateway == OUTSIDE_4
        with pytest.raises(PermissionDenied, match="has active endpoints"):
            await scene.networks.remove("lan")
        for record in scene.records.values():
            scene.networks.release(record.id)
        await scene.networks.remove("lan")
        assert devices() == before
        scene.networks.close()

    run(check())


@macvlan
@isolated
def test_macvlan_modes(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        await scene.create("alone", "macvlan", options={**UPLINK, "macvlan_mode": "private"}, **AT)
        one = scene.start("one", "alone")
        scene.start("two", "alone")
        assert scene.reaches("outside", "one", one.ip_address)
        assert not scene.reaches("two", "one", one.ip_address, hopeful=False)
        with pytest.raises(PermissionDenied, match="cannot use mode passthru"):
            await scene.create(
                "through", "macvlan", TAGGED, options={**UPLINK, "macvlan_mode": "passthru"}
            )
        with pytest.raises(InvalidArgument, match="requested macvlan mode 'wild' is not valid"):
            await scene.create("x", "macvlan", TAGGED, options={"macvlan_mode": "wild"})
        with pytest.raises(InvalidArgument, match="loopback interface is not a valid macvlan"):
            await scene.create("x", "macvlan", TAGGED, options={"parent": "lo"})
        with pytest.raises(InvalidArgument, match="nowhere was not found on this host"):
            await scene.create("x", "macvlan", TAGGED, options={"parent": "nowhere"})
        assert [network.name for network in scene.networks.list()] == ["alone", "host", "none"]
        scene.networks.close()

    run(check())


@macvlan
@isolated
def test_connect_and_disconnect_while_running(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        await scene.create("lan", "macvlan", options=UPLINK, **AT)
        await scene.create("more", "macvlan", "192.0.3.0/24", options=UPLINK, internal=True)
        one = scene.start("one", "lan")
        record, inside = scene.records["one"], scene.inside["one"]
        options = {"com.docker.network.endpoint.ifname": "second"}
        asked = EndpointSettings(driver_opts=options)
        kept: list[Attachment] = []
        now = await scene.networks.connect(record, "more", asked, os.dup(inside))
        assert scene.mac("one", "second") == now.networks["more"].mac_address
        assert scene.routes("one")["0.0.0.0/0"] == OUTSIDE_4
        await scene.networks.disconnect(record, "lan", os.dup(inside), kept.append)
        assert list(kept[0].networks) == ["more"]
        assert "0.0.0.0/0" not in scene.routes("one"), "an internal network is no way out"
        with entered(inside):
            assert devices() == {"lo", "second"}
        now = await scene.networks.connect(record, "lan", EndpointSettings(), os.dup(inside))
        assert now.networks["lan"].ip_address != one.ip_address, "it is not used again at once"
        assert scene.reaches("outside", "one", now.networks["lan"].ip_address)
        scene.networks.close()

    run(check())


@macvlan
@isolated
def test_several_subnets_are_filled_one_after_the_other(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        ip(scene.outside, "address add 198.51.100.1/29 dev wan0")
        pools = [IpamPool(subnet="203.0.113.0/30"), IpamPool(subnet="198.51.100.0/29")]
        overlapping = [*pools, IpamPool(subnet="198.51.100.4/30")]
        wanted = NetworkRequest(name="lan", driver="macvlan", options=UPLINK)
        with pytest.raises(PermissionDenied, match="overlaps with other one"):
            await scene.networks.create(structs.replace(wanted, ipam=Ipam(config=overlapping)))
        await scene.networks.create(structs.replace(wanted, ipam=Ipam(config=pools)))
        first, second = scene.start("one", "lan"), scene.start("two", "lan")
        assert (first.ip_address, first.gateway) == ("203.0.113.2", "203.0.113.1")
        assert (second.ip_address, second.gateway) == ("198.51.100.2", "198.51.100.1")
        assert (first.ip_prefix_len, second.ip_prefix_len) == (30, 29)
        assert scene.routes("two")["0.0.0.0/0"] == "198.51.100.1"
        assert scene.reaches("outside", "two", second.ip_address)
        asked = EndpointIpamConfig(ipv4_address="198.51.100.5")
        third = scene.start("three", "lan", ipam_config=asked)
        assert (third.ip_address, third.gateway) == ("198.51.100.5", "198.51.100.1")
        assert scene.reaches("two", "three", third.ip_address)
        scene.networks.release(scene.records["one"].id)
        scene.networks.close()
        again = scene.open()
        await again.setup([scene.records["two"], scene.records["three"]])
        beside = container("9", mode="lan")
        assert again.attach(beside).networks["lan"].ip_address == "203.0.113.2", "it was given back"
        again.release(beside.id)
        again.close()

    run(check())


@macvlan
@isolated
def test_what_an_engine_made_that_was_killed_before_it_recorded_it_is_removed(
    tmp_path: Path,
) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        await scene.create("lan", "macvlan", options=UPLINK, **AT)
        await scene.create("more", "macvlan", "192.0.3.0/24", options=UPLINK, internal=True)
        joined = scene.start("one", "lan")
        inside = scene.inside["one"]
        recorded = structs.replace(scene.records["one"], networks={"lan": joined})
        await scene.networks.connect(recorded, "more", EndpointSettings(), os.dup(inside))
        with entered(inside):
            assert devices() == {"lo", "eth0", "eth1"}
        scene.networks.close()  # and the record does not say that it is on two
        for _ in range(2):
            again = scene.open()
            await again.setup([recorded])
            assert again.needs_namespace(recorded.id)
            await again.resume(recorded, os.dup(inside))
            with entered(inside):
                assert devices() == {"lo", "eth0"}
            again.close()
        assert scene.reaches("outside", "one", joined.ip_address)
        ip(inside, "address flush dev eth0", "address add 192.0.2.77/24 dev eth0")
        again = scene.open()
        await again.setup([recorded])
        await again.resume(recorded, os.dup(inside))
        with entered(inside):
            assert devices() == {"lo", "eth0"}, "its own stays, whatever address it gave itself"
        again.close()

    run(check())


@macvlan
@dummy
@isolated
def test_without_a_parent_containers_meet_and_nobody_else(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        before = devices()
        made = await scene.create("own", "macvlan", "10.177.5.0/24")
        assert devices() - before == {f"dm-{made.id[:12]}"}
        one = scene.start("one", "own")
        scene.start("two", "own")
        assert scene.reaches("two", "one", one.ip_address)
        assert "0.0.0.0/0" not in scene.routes("one")
        assert not scene.reaches("outside", "one", one.ip_address, hopeful=False)
        for record in scene.records.values():
            scene.networks.release(record.id)
        ip(scene.host, f"link delete dm-{made.id[:12]}")
        scene.start("three", "own")  # somebody took the parent away: it is made again
        scene.networks.release(scene.records["three"].id)
        await scene.networks.remove("own")
        assert devices() == before
        scene.networks.close()

    run(check())


@macvlan
@vlan
@isolated
def test_vlan_sub_interfaces_come_and_go_with_their_networks(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        before = devices()
        ip(
            scene.outside,
            "link add link wan0 name wan0.50 type vlan id 50",
            "address add 198.51.100.9/24 dev wan0.50",
            "link set wan0.50 up",
        )
        tagged = {"parent": "uplink.50"}
        await scene.create("first", "macvlan", TAGGED, options=tagged, gateway="198.51.100.9")
        await scene.create("second", "macvlan", "203.0.113.0/24", options=tagged)
        assert devices() - before == {"uplink.50"}
        one = scene.start("one", "first")
        assert scene.reaches("outside", "one", one.ip_address)
        scene.networks.release(scene.records["one"].id)
        await scene.networks.remove("first")
        assert "uplink.50" in devices(), "the second network has it"
        scene.networks.close()
        scene.networks = scene.open()
        await scene.networks.setup()
        await scene.networks.remove("second")
        assert devices() == before
        for parent, text in {
            "uplink.x": "unable to parse a valid vlan id from: x",
            "uplink.4095": "vlan id must be between 1-4094, received: 4095",
            "absent.5": "-o parent interface was not found on the host: absent",
        }.items():
            with pytest.raises(InvalidArgument, match=text):
                await scene.create("x", "macvlan", TAGGED, options={"parent": parent})
        assert devices() == before
        scene.networks.close()

    run(check())


@ipvlan
@isolated
def test_ipvlan_l2(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        await scene.create("lan", "ipvlan", options=UPLINK, enable_ipv6=True, **AT)
        one, two = scene.start("one", "lan"), scene.start("two", "lan")
        assert scene.mac("one", "eth0") == scene.mac("host", "uplink")
        assert one.mac_address == two.mac_address == ""
        assert scene.reaches("outside", "one", one.ip_address)
        assert scene.reaches("outside", "one", one.global_ipv6_address)
        assert scene.reaches("two", "one", one.ip_address)
        assert scene.routes("one")["0.0.0.0/0"] == OUTSIDE_4
        with pytest.raises(InvalidArgument, match="do not support custom mac"):
            scene.start("three", "lan", mac_address="02:00:00:00:00:2a")
        scene.networks.close()

    run(check())


@ipvlan
@isolated
def test_ipvlan_l3_and_flags(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        options = {**UPLINK, "ipvlan_mode": "l3"}
        await scene.create("lan", "ipvlan", "10.177.6.0/24", options=options)
        one = scene.start("one", "lan")
        scene.start("two", "lan")
        assert scene.routes("one")["0.0.0.0/0"] == ""
        assert one.gateway == ""
        assert scene.reaches("two", "one", one.ip_address)
        # In this mode nobody answers ARP: the subnet is routed to the host.
        assert scene.reaches("outside", "one", one.ip_address)
        assert scene.reaches("one", "outside", OUTSIDE_4)
        scene.networks.close()

    run(check())


@ipvlan
@isolated
def test_ipvlan_private(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene(tmp_path)
        await scene.networks.setup()
        options = {**UPLINK, "ipvlan_flag": "private"}
        await scene.create("lan", "ipvlan", options=options, **AT)
        one = scene.start("one", "lan")
        scene.start("two", "lan")
        assert not scene.reaches("two", "one", one.ip_address, hopeful=False)
        assert scene.reaches("outside", "one", one.ip_address)
        scene.networks.close()

    run(check())


@pytest.mark.parametrize(
    ("driver", "kind", "option", "options"),
    [
        ("macvlan", "macvlan", "CONFIG_MACVLAN", UPLINK),
        ("ipvlan", "ipvlan", "CONFIG_IPVLAN", UPLINK),
        ("macvlan", "dummy", "CONFIG_DUMMY", {}),
        ("macvlan", "vlan", "CONFIG_VLAN_8021Q", {"parent": "uplink.50"}),
    ],
)
def test_what_the_kernel_lacks_is_named(
    driver: str, kind: str, option: str, options: dict[str, str], tmp_path: Path
) -> None:
    if has_kind(kind):
        pytest.skip(f"this kernel has {kind}")

    async def check(root: Path) -> None:
        scene = Scene(root)
        await scene.networks.setup()
        before = devices()
        with pytest.raises(FailedPrecondition, match=f"modprobe .*, or run a kernel .* {option}"):
            await scene.create("x", driver, options=options)
        assert devices() == before
        assert [network.name for network in scene.networks.list()] == ["host", "none"]
        scene.networks.close()

    isolated(lambda root: run(check(root)))(tmp_path)
