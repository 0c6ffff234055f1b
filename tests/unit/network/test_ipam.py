from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.network.config import DEFAULT_ADDRESS_POOLS, AddressPool
from barque.network.ipam import Addresses, AddressesExhausted, AnyAddress, choose_subnet

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
