from __future__ import annotations

import pytest

from barque.errors import InvalidArgument, NotImplementedHere
from barque.network.endpointoptions import (
    OPTION_NAME,
    OPTION_SYSCTLS,
    check_options,
    get_name,
    parse_sysctls,
)


def test_options_are_read() -> None:
    options = {
        OPTION_NAME: "lan0",
        OPTION_SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.mtu=1400",
    }
    check_options(options)
    assert get_name(options) == "lan0"
    assert parse_sysctls(options) == [
        ("ipv4/conf/IFNAME/log_martians", "1"),
        ("ipv6/conf/IFNAME/mtu", "1400"),
    ]
    check_options(None)
    assert (get_name(None), parse_sysctls(None)) == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.eth0.log_martians=1",
        "net.ipv4.conf.all.log_martians=1",
        "kernel.x.y.IFNAME.z=1",
        "net.ipv4.conf.IFNAME.../../../x=1",
        "net.ipv4.conf.IFNAME.log_martians",
        "net.ipv4.conf/../../x.IFNAME.a=1",
    ],
)
def test_settings_of_anything_but_the_interface_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="unable to parse sysctl"):
        check_options({OPTION_SYSCTLS: text})


@pytest.mark.parametrize("name", ["", "lo", "all", "a/b", "sixteen-letters-", "..", "a b"])
def test_names_that_no_interface_has(name: str) -> None:
    with pytest.raises(InvalidArgument, match="ifname"):
        check_options({OPTION_NAME: name})


def test_what_we_do_not_have() -> None:
    with pytest.raises(NotImplementedHere, match="unheard"):
        check_options({"com.docker.network.endpoint.unheard": "1"})
