from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.network import files

HOST = """# comment
; another
domain example.org
nameserver 127.0.0.1
nameserver 10.1.2.3
nameserver fe80::1%eth0
search a.example b.example
options edns0 timeout:2
sortlist 10.0.0.0
"""


def test_hosts_of_a_bridged_container() -> None:
    text = files.render_hosts(
        extra=[("10.9.9.9", "db")], addresses=["10.77.8.2"], hostname="web", domainname="ex.org"
    )
    assert text == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::\tip6-localnet\n"
        "ff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n"
        "10.9.9.9\tdb\n"
        "10.77.8.2\tweb.ex.org web\n"
    )


def test_hosts_without_network_or_ipv6() -> None:
    assert files.render_hosts(hostname="web", ipv6=False) == "127.0.0.1\tlocalhost\n"
    dotted = files.render_hosts(addresses=["10.77.8.2"], hostname="a.b.c", ipv6=False)
    assert dotted.endswith("10.77.8.2\ta.b.c a\n")


def test_extra_hosts() -> None:
    entries = ["db:10.9.9.9", "six:2001:db8::1", "seven:[2001:db8::2]", "host:host-gateway"]
    assert files.resolve_extra_hosts(entries, ["10.77.8.1"]) == [
        ("10.9.9.9", "db"),
        ("2001:db8::1", "six"),
        ("2001:db8::2", "seven"),
        ("10.77.8.1", "host"),
    ]
    with pytest.raises(InvalidArgument, match="unable to derive the IP value for host-gateway"):
        files.resolve_extra_hosts(["host:host-gateway"], [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("db", 'bad format for add-host: "db"'),
        (":10.0.0.1", 'bad format for add-host: ":10.0.0.1"'),
        ("db:10.0.0", 'invalid IP address in add-host: "10.0.0"'),
        ("db:10.0.0.1\nevil", "invalid IP address in add-host"),
    ],
)
def test_bad_extra_hosts(entry: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        files.parse_extra_host(entry)


def test_resolv_conf_drops_what_the_container_cannot_reach() -> None:
    assert files.render_resolv_conf(HOST) == (
        "nameserver 10.1.2.3\nsearch a.example b.example\noptions edns0 timeout:2\n"
        "sortlist 10.0.0.0\n"
    )
    assert files.render_resolv_conf("nameserver 127.0.0.53\n") == (
        "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    )


def test_resolv_conf_parts_are_replaced() -> None:
    text = files.render_resolv_conf(
        HOST, servers=["9.9.9.9", "127.0.0.7"], search=["."], options=["ndots:3"]
    )
    assert text == (
        "nameserver 9.9.9.9\nnameserver 127.0.0.7\noptions ndots:3\nsortlist 10.0.0.0\n"
    )
    kept = files.render_resolv_conf("nameserver 127.0.0.1\n", search=["x"], keep_local=True)
    assert kept == "nameserver 127.0.0.1\nsearch x\n"


def test_systemd_stub_is_looked_behind() -> None:
    texts = {
        "/etc/resolv.conf": "nameserver 127.0.0.53\n",
        "/run/systemd/resolve/resolv.conf": "nameserver 10.1.1.1\n",
    }
    assert files.read_host_resolv_conf(lambda path: texts.get(path, "")) == "nameserver 10.1.1.1\n"
    del texts["/run/systemd/resolve/resolv.conf"]
    assert "127.0.0.53" in files.read_host_resolv_conf(lambda path: texts.get(path, ""))


@given(st.text())
def test_any_resolv_conf_gives_a_server(text: str) -> None:
    assert files.list_nameservers(files.render_resolv_conf(text))


@pytest.mark.parametrize(
    ("comment", "servers"),
    [
        ("# ExtServers: [host(10.0.0.53) 10.0.0.54]", ["10.0.0.53", "10.0.0.54"]),
        ("# ExtServers: [host(127.0.0.53) fe80::1]", ["8.8.8.8", "8.8.4.4"]),
        ("# ExtServers: []", ["8.8.8.8", "8.8.4.4"]),
        ("", ["8.8.8.8", "8.8.4.4"]),
    ],
)
def test_servers_behind_the_resolver_of_an_engine_around(comment: str, servers: list[str]) -> None:
    around = f"nameserver 127.0.0.11\noptions ndots:0\n\n{comment}\n"
    assert files.list_nameservers(files.render_resolv_conf(around)) == servers
    kept = files.render_resolv_conf(around, keep_local=True)
    assert files.list_nameservers(kept) == ["127.0.0.11"]
