"""Requests for networks: what is refused, with which words, and what becomes of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from barque.errors import (
    AlreadyExists,
    BarqueError,
    InvalidArgument,
    NotFound,
    NotImplementedHere,
    PermissionDenied,
    Unavailable,
)
from barque.models.api import Ipam, IpamPool, NetworkRequest
from barque.models.network import OPTION_BRIDGE, NetworkRecord
from barque.network.definition import check_request, parse_pools, wanted_versions

OTHERS = [
    NetworkRecord(
        id="7" * 64, name="shop", driver="bridge", created="", options={OPTION_BRIDGE: "br-shop"}
    )
]
BRIDGE = "com.docker.network.bridge."
ADVERTISE = "com.docker.network.advertise_addr_"


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"name": " "}, InvalidArgument, "invalid name: name is empty"),
        ({"name": "host"}, PermissionDenied, "not permitted on predefined host network"),
        ({"name": "shop"}, AlreadyExists, "network with name shop already exists"),
        ({"driver": "host"}, PermissionDenied, 'only one instance of "host" network is allowed'),
        ({"driver": "overlay"}, PermissionDenied, "This node is not a swarm manager"),
        (
            {"driver": "macvlan", "options": {"parent": "lo"}},
            InvalidArgument,
            "loopback interface is not a valid macvlan parent link",
        ),
        (
            {"driver": "ipvlan", "options": {"ipvlan_mode": "l4"}},
            InvalidArgument,
            "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default",
        ),
        ({"driver": "weave"}, NotFound, "could not find plugin weave in v1 plugin registry"),
        ({"ingress": True}, PermissionDenied, "Ingress network can only be global"),
        ({"scope": "swarm"}, Unavailable, "not a swarm manager"),
        ({"config_only": True, "internal": True}, PermissionDenied, "network specific fields"),
        ({"options": {f"{BRIDGE}enable_icc": "perhaps"}}, InvalidArgument, "ParseBool"),
        ({"options": {f"{BRIDGE}name": "br-shop"}}, PermissionDenied, "same bridge name"),
        ({"options": {f"{BRIDGE}name": 'a"; drop'}}, InvalidArgument, "invalid bridge name"),
        ({"options": {f"{BRIDGE}trusted_host_interfaces": "a:b/c"}}, InvalidArgument, "b/c"),
        ({"options": {f"{BRIDGE}unheard_of": "a"}}, NotImplementedHere, "unheard_of"),
        ({"options": {ADVERTISE + "nmsgs": "x"}}, InvalidArgument, '"x" must be an integer'),
        ({"options": {ADVERTISE + "nmsgs": "4"}}, InvalidArgument, "in the range 0 to 3"),
        ({"options": {ADVERTISE + "ms": "99"}}, InvalidArgument, "in the range 100 to 2000"),
        (
            {"driver": "macvlan", "options": {ADVERTISE + "ms": "100"}},
            NotImplementedHere,
            "only bridges",
        ),
        ({"options": {"com.docker.network.driver.mtu": "9"}}, InvalidArgument, "invalid MTU"),
        ({"options": {f"{BRIDGE}gateway_mode_ipv4": "x"}}, InvalidArgument, "unknown gateway mode"),
        ({"options": {f"{BRIDGE}gateway_mode_ipv4": "isolated"}}, InvalidArgument, "internal"),
        ({"options": {f"{BRIDGE}host_binding_ipv4": "x"}}, InvalidArgument, "not an IP address"),
    ],
)
def test_refusals(fields: dict[str, Any], kind: type[BarqueError], text: str) -> None:
    with pytest.raises(kind, match=text):
        check_request(NetworkRequest(**{"name": "new", **fields}), OTHERS)


def test_what_is_fine() -> None:
    check_request(
        NetworkRequest(
            name="new",
            driver="bridge",
            attachable=True,
            options={f"{BRIDGE}enable_icc": "false", "vendor.label": "x"},
        ),
        OTHERS,
    )


def pools(*config: IpamPool, **fields: Any) -> NetworkRequest:
    return NetworkRequest(name="new", ipam=Ipam(config=list(config)), **fields)


@pytest.mark.parametrize(
    ("pool", "text"),
    [
        (IpamPool(subnet="10.0.0.1/8"), "invalid subnet 10.0.0.1/8: it should be 10.0.0.0/8"),
        (IpamPool(subnet="x"), "invalid subnet x"),
        (IpamPool(subnet="10.1.0.0/16", gateway="10.2.0.1"), "doesn't contain this address"),
        (IpamPool(subnet="10.1.0.0/16", gateway="fd00::1"), "is an IPv4 block"),
        (IpamPool(subnet="10.1.0.0/16", ip_range="10.2.0.0/24"), "doesn't contain ip-range"),
        (IpamPool(subnet="10.1.0.0/16", ip_range="10.0.0.0/8"), "is bigger than its parent"),
        (IpamPool(subnet="10.1.0.0/16", ip_range="10.1.0.7/24"), "it should be 10.1.0.0/24"),
        (
            IpamPool(subnet="10.1.0.0/16", auxiliary_addresses={"router": "10.9.0.1"}),
            "invalid auxiliary address 10.9.0.1",
        ),
    ],
)
def test_subnets_that_cannot_be(pool: IpamPool, text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid network config:\n") as caught:
        parse_pools(pools(pool))
    assert text in str(caught.value)


def test_subnets() -> None:
    request = pools(
        IpamPool(subnet="10.1.0.0/16", ip_range="10.1.4.0/24"),
        IpamPool(subnet="fd00:1::/64", gateway="fd00:1::99"),
        enable_ipv6=True,
    )
    found = parse_pools(request)
    ((four,), (six,)) = found[4], found[6]
    assert (four.gateway, four.ip_range, four.given) == ("10.1.0.1", "10.1.4.0/24", True)
    assert six.gateway == "fd00:1::99"
    request.enable_ipv6 = False
    assert list(parse_pools(request)) == [4]


def test_several_subnets_of_one_version() -> None:
    several = [IpamPool(subnet="10.1.0.0/16"), IpamPool(subnet="10.2.0.0/16")]
    request = pools(*several)
    with pytest.raises(PermissionDenied, match="bridge driver doesn't support multiple subnets"):
        parse_pools(request)
    request.driver = "macvlan"
    assert [pool.gateway for pool in parse_pools(request)[4]] == ["10.1.0.1", "10.2.0.1"]


def test_versions() -> None:
    assert wanted_versions(NetworkRequest(name="n")) == {4: True, 6: False}
    by_option = NetworkRequest(name="n", options={"com.docker.network.enable_ipv6": "true"})
    assert wanted_versions(by_option) == {4: True, 6: True}
    with pytest.raises(InvalidArgument, match="must be enabled"):
        wanted_versions(NetworkRequest(name="n", enable_ipv4=False))
