from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import PermissionDenied
from barque.network.config import DEFAULT_ADDRESS_POOLS, AddressPool
from barque.network.ipam import (
    Addresses,
    AddressesExhausted,
    AnyAddress,
    choose_subnet,
    find_overlap,
    first_host,
)

SUBNET = IPv4Network("10.77.8.0/28")
GATEWAY = IPv4Address("10.77.8.1")


def test_next_fit_wraps_round_and_does_not_reuse_at_once() -> None:
    addresses = Addresses(SUBNET, reserved=[GATEWAY])
    first = addresses.allocate()
    assert str(first) == "10.77.8.2"
    addresses.free(first)
    rest = [str(addresses.allocate()) for _ in range(12)]
    assert rest == [f"10.77.8.{n}" for n in range(3, 15)]
    assert addresses.allocate() == first
    with pytest.raises(AddressesExhausted, match="no available addresses on this pool"):
        addresses.allocate()


def test_goes_on_after_the_highest_taken() -> None:
    addresses = Addresses(SUBNET, reserved=[GATEWAY], taken=[IPv4Address("10.77.8.9")])
    assert str(addresses.allocate()) == "10.77.8.10"


def test_range_limits_what_is_handed_out() -> None:
    addresses = Addresses(SUBNET, ip_range=IPv4Network("10.77.8.12/30"), reserved=[GATEWAY])
    assert [str(addresses.allocate()) for _ in range(3)] == [f"10.77.8.{n}" for n in (12, 13, 14)]
    with pytest.raises(AddressesExhausted):
        addresses.allocate()


def test_point_to_point_subnet_has_no_broadcast() -> None:
    addresses = Addresses(IPv4Network("10.77.8.0/31"), reserved=[IPv4Address("10.77.8.0")])
    assert str(addresses.allocate()) == "10.77.8.1"


@given(
    prefix=st.integers(26, 30),
    steps=st.lists(st.one_of(st.none(), st.integers(0, 70)), max_size=200),
)
def test_never_twice_never_reserved_and_exhausted_only_when_full(
    prefix: int, steps: list[int | None]
) -> None:
    subnet = IPv4Network(f"10.77.8.0/{prefix}")
    addresses = Addresses(subnet, reserved=[GATEWAY])
    capacity = subnet.num_addresses - 3
    held: list[AnyAddress] = []
    for step in steps:
        if step is not None and held:
            addresses.free(held.pop(step % len(held)))
            continue
        try:
            address = addresses.allocate()
        except AddressesExhausted:
            assert len(held) == capacity
            continue
        assert address not in held
        assert address in subnet
        assert address not in (subnet.network_address, subnet.broadcast_address, GATEWAY)
        held.append(address)


def test_choose_subnet_skips_what_overlaps() -> None:
    busy = [IPv4Network(text) for text in ("172.17.4.0/30", "172.16.0.0/12")]
    assert str(choose_subnet(DEFAULT_ADDRESS_POOLS, [])) == "172.17.0.0/16"
    assert str(choose_subnet(DEFAULT_ADDRESS_POOLS, busy[:1])) == "172.18.0.0/16"
    assert str(choose_subnet(DEFAULT_ADDRESS_POOLS, busy)) == "192.168.0.0/20"
    small = [AddressPool(base="10.77.0.0/23", size=24)]
    assert str(choose_subnet(small, [IPv4Network("10.77.0.9/32")])) == "10.77.1.0/24"
    assert choose_subnet(small, [IPv4Network("10.0.0.0/8")]) is None


@pytest.mark.parametrize("text", ["fd00::/64", "fd00::/126", "fd00::8/127", "10.0.0.8/31"])
def test_small_and_large_subnets(text: str) -> None:
    subnet = ip_network(text)
    gateway = first_host(subnet)
    addresses = Addresses(subnet, reserved=[gateway])
    found = addresses.allocate()
    assert found in subnet
    assert found != gateway


def test_a_static_address_is_held_once() -> None:
    addresses = Addresses(SUBNET, reserved=[GATEWAY])
    wanted = IPv4Address("10.77.8.2")
    addresses.hold(wanted)
    for taken in (wanted, GATEWAY):
        with pytest.raises(PermissionDenied, match="Address already in use"):
            addresses.hold(taken)
    assert str(addresses.allocate()) == "10.77.8.3"
    addresses.free(wanted)
    addresses.hold(wanted)


@given(
    base=st.integers(8, 24),
    cut=st.integers(0, 6),
    busy=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 30)), max_size=12),
)
def test_a_chosen_subnet_is_free_and_the_first(
    base: int, cut: int, busy: list[tuple[int, int]]
) -> None:
    pool = AddressPool(base=str(ip_network((10 << 24, base))), size=base + cut)
    occupied = [ip_network((number, length), strict=False) for number, length in busy]
    wanted = next(
        (
            subnet
            for subnet in ip_network(pool.base).subnets(new_prefix=pool.size)
            if find_overlap(subnet, occupied) is None
        ),
        None,
    )
    assert choose_subnet([pool], occupied) == wanted


def test_pools_of_ipv6() -> None:
    pools = [AddressPool(base="10.0.0.0/8", size=16), AddressPool(base="fd00::/48", size=64)]
    assert str(choose_subnet(pools, [ip_network("fd00::/63")], 6)) == "fd00:0:0:2::/64"
