"""Which networks a container is on, in which order, and by which it goes out."""

from __future__ import annotations

import pytest
from msgspec import structs

from barque.errors import InvalidArgument, NotFound
from barque.models.api import ContainerConfig, EndpointSettings
from barque.models.network import IpamConfig, NetworkRecord
from barque.network.config import BIG_TCP_BYTES
from barque.network.endpoints import (
    Asked,
    Target,
    Way,
    choose_gateway,
    find_target,
    list_asked,
    list_dns_names,
    list_ways,
    make_interface,
    next_interface,
    order_for_names,
)
from support.network import container


def network(
    name: str, *subnets: str, driver: str = "bridge", internal: bool = False
) -> NetworkRecord:
    pools = [IpamConfig(subnet=text, gateway=text.partition("/")[0] + "1") for text in subnets]
    return NetworkRecord(
        id=name * 8, name=name, driver=driver, created="", ipam=pools, internal=internal
    )


NETWORKS = {
    record.name: record
    for record in (
        network("bridge"),
        network("host", driver="host"),
        network("none", driver="null"),
        network("a", "fd00:a::/64"),
        network("b", "fd00:b::/64"),
    )
}


def get(ref: str) -> NetworkRecord:
    for record in NETWORKS.values():
        if ref in (record.name, record.id):
            return record
    raise NotFound(ref)


def names(mode: str, *networks: str) -> list[str]:
    record = container(mode=mode, networks={name: EndpointSettings() for name in networks})
    return [asked.network.name for asked in list_asked(record, get)]


def test_the_network_mode_comes_first_and_is_not_counted_twice() -> None:
    assert names("b", "a", "b") == ["b", "a"]
    assert names("b" * 8, "b", "a") == ["b", "a"]
    assert names("default") == ["bridge"]
    assert names("bridge", "default") == ["bridge"]


def test_a_network_that_was_left_is_not_joined_again() -> None:
    assert names("a", "b") == ["b"]


def test_host_and_none_stand_alone() -> None:
    assert names("host", "host") == ["host"]
    for alone, text in (("host", "host network mode"), ("none", "private")):
        with pytest.raises(InvalidArgument, match=text):
            names("a", "a", alone)
    with pytest.raises(NotFound):
        names("nothing")


def asked(record: NetworkRecord, priority: int = 0, **endpoint: str) -> Asked:
    return Asked(record, EndpointSettings(gw_priority=priority, **endpoint))  # type: ignore[arg-type]


FOUR = network("four", "10.0.1.0/24")
DUAL = network("zdual", "10.0.2.0/24", "fd00:2::/64")
INNER = network("inner", "10.0.3.0/24", internal=True)


def test_the_way_out() -> None:
    assert choose_gateway([asked(FOUR), asked(DUAL)], 4) == "zdual"
    assert choose_gateway([asked(FOUR, 1), asked(DUAL)], 4) == "four"
    assert choose_gateway([asked(FOUR, 1), asked(DUAL)], 6) == "zdual"
    assert choose_gateway([asked(INNER, 9), asked(FOUR)], 4) == "four"
    assert choose_gateway([asked(INNER)], 4) == ""
    assert order_for_names([asked(INNER), asked(FOUR), asked(DUAL)]) == ["zdual", "four", "inner"]


def test_ports_follow_the_way_out() -> None:
    both = [
        asked(FOUR, 1, ip_address="10.0.1.2", mac_address="m4", endpoint_id="e4"),
        asked(DUAL, ip_address="10.0.2.2", global_ipv6_address="fd00:2::2", mac_address="m6"),
    ]
    assert find_target(both) == (Target("10.0.1.2", "fd00:2::2"), "e4")
    assert list_ways(both) == [Way("10.0.1.2", "10.0.1.01"), Way("fd00:2::2", "fd00:2::1")]


def test_names_of_an_endpoint() -> None:
    record = container("1", config=ContainerConfig(hostname="host"))
    endpoint = EndpointSettings(aliases=["db", "c1"])
    assert list_dns_names(record, endpoint) == ["c1", "db", "1" * 12, "host"]


def test_interfaces_take_the_first_free_number() -> None:
    assert next_interface(["lo", "eth0", "eth2"], "eth") == "eth1"


def test_big_packets_go_out_only_where_no_nic_can_be_behind() -> None:
    endpoint = EndpointSettings(endpoint_id="e" * 64, ip_address="10.0.0.2", ip_prefix_len=24)
    internal = network("inner", "10.0.0.0/24", internal=True)
    adopted = structs.replace(internal, adopted=True)
    upon = network("upon", "10.0.0.0/24", driver="macvlan", internal=True)
    interfaces = [
        make_interface(case, endpoint, "eth0")
        for case in (network("out", "10.0.0.0/24"), internal, adopted, upon)
    ]
    assert [(interface.gso_in_bytes, interface.gso_out_bytes) for interface in interfaces] == [
        (BIG_TCP_BYTES, 0),
        (BIG_TCP_BYTES, BIG_TCP_BYTES),
        (0, 0),
        (0, 0),
    ]
    interface = make_interface(internal, endpoint, "eth0", big_tcp=False)
    assert (interface.gso_in_bytes, interface.gso_out_bytes) == (0, 0)
