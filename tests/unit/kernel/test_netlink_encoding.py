from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.kernel import netlink


def test_attribute_is_padded_to_four_bytes() -> None:
    assert netlink.attribute(3, b"lo\0") == bytes.fromhex("0700 0300 6c6f00 00")
    assert netlink.nested(18, netlink.attribute(1, b"abcd")) == bytes.fromhex(
        "0c00 1280 0800 0100 61626364"
    )


def test_address_request() -> None:
    request = netlink.add_address(7, "10.77.8.2/24")
    assert request.type == netlink.RTM_NEWADDR
    assert request.body == bytes.fromhex(
        "02 18 00 00 07000000"  # AF_INET, /24, no flags, universe, index 7
        "0800 0200 0a4d0802"  # IFA_LOCAL
        "0800 0100 0a4d0802"  # IFA_ADDRESS
        "0800 0400 0a4d08ff"  # IFA_BROADCAST
    )


def test_ipv6_address_skips_duplicate_detection() -> None:
    request = netlink.add_address(7, "2001:db8::2/64")
    assert request.body[:8] == bytes.fromhex("0a 40 02 00 07000000")


def test_veth_carries_both_ends() -> None:
    request = netlink.add_veth(
        "vethaaaaaaa", namespace_fd=5, master=9, peer="eth0", peer_mac="02:00:00:00:00:01", mtu=1400
    )
    outer = netlink.parse_attributes(request.body, 16)
    assert outer[netlink.IFLA_IFNAME] == b"vethaaaaaaa\0"
    assert outer[netlink.IFLA_NET_NS_FD] == (5).to_bytes(4, "little")
    assert outer[netlink.IFLA_MASTER] == (9).to_bytes(4, "little")
    info = netlink.parse_attributes(outer[netlink.IFLA_LINKINFO])
    assert info[netlink.IFLA_INFO_KIND] == b"veth"
    data = netlink.parse_attributes(info[netlink.IFLA_INFO_DATA])
    inner = netlink.parse_attributes(data[netlink.VETH_INFO_PEER], 16)
    assert inner[netlink.IFLA_IFNAME] == b"eth0\0"
    assert inner[netlink.IFLA_ADDRESS] == bytes.fromhex("020000000001")
    assert inner[netlink.IFLA_MTU] == (1400).to_bytes(4, "little")


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_round_trip(attributes: dict[int, bytes]) -> None:
    encoded = b"".join(netlink.attribute(kind, data) for kind, data in attributes.items())
    assert netlink.parse_attributes(encoded) == attributes


@given(st.binary(max_size=200))
def test_parsing_survives_anything(data: bytes) -> None:
    netlink.parse_attributes(data)


@pytest.mark.parametrize("cidr", ["10.0.0/8", "x/8", "::1::/64"])
def test_bad_addresses_are_refused(cidr: str) -> None:
    with pytest.raises(OSError, match="illegal IP address"):
        netlink.add_address(1, cidr)
