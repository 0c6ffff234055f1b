"""Networks by the stock docker command line: the same commands against barque and dockerd.

What needs the firewall or the docker-proxy is asked of barque alone, as the dockerd beside it is
told to leave the machine's rules alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from support.engine import Engine

WEB = ("sh", "-c", "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www")
GET = ("wget", "-qO-")
DEADLINE_S = 10.0


@pytest.fixture(autouse=True)
def no_networks_left(engine: Engine) -> Iterator[None]:
    yield
    engine.remove_containers()
    engine.docker("network", "prune", "-f")


def inspect(engine: Engine, kind: str, name: str) -> dict[str, Any]:
    (document,) = json.loads(engine.docker(kind, "inspect", name))
    assert isinstance(document, dict)
    return document


def names(engine: Engine, *filters: str) -> set[str]:
    asked = [word for text in filters for word in ("--filter", text)]
    return set(engine.docker("network", "ls", "--format", "{{.Name}}", *asked).split())


def get(address: str, timeout_s: float = DEADLINE_S) -> str:
    """Fetch a page from the host; the server may just be starting."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=2) as answer:
                return str(answer.read().decode().strip())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def test_create_list_inspect_remove(engine: Engine) -> None:
    id_ = engine.docker(
        "network", "create", "--subnet", "10.219.1.0/24", "--ip-range", "10.219.1.128/25",
        "--gateway", "10.219.1.7", "--aux-address", "router=10.219.1.9", "--label", "tier=back",
        "-o", "com.docker.network.driver.mtu=1400", "shop",
    )  # fmt: skip
    shown = inspect(engine, "network", "shop")
    assert shown["Id"] == id_
    assert shown["IPAM"]["Config"] == [
        {
            "Subnet": "10.219.1.0/24",
            "IPRange": "10.219.1.128/25",
            "Gateway": "10.219.1.7",
            "AuxiliaryAddresses": {"router": "10.219.1.9"},
        }
    ]
    assert shown["Options"] == {"com.docker.network.driver.mtu": "1400"}
    assert shown["Labels"] == {"tier": "back"}
    assert names(engine) == {"bridge", "host", "none", "shop"}
    assert names(engine, "type=custom") == {"shop"}
    assert names(engine, "label=tier=back", "driver=bridge") == {"shop"}
    assert names(engine, f"id={id_[:10]}") == {"shop"}
    assert names(engine, "dangling=true") == {"shop"}
    engine.docker("run", "-d", "--name", "ctr", "--network", "shop", "busybox", "sleep", "60")
    assert engine.docker("exec", "ctr", "hostname", "-i").startswith("10.219.1.1")
    assert "mtu 1400" in engine.docker("exec", "ctr", "ip", "link", "show", "eth0")
    refused = engine.cli("network", "rm", "shop")
    assert refused.returncode == 1
    assert "has active endpoints" in refused.stderr
    engine.docker("rm", "-f", "ctr")
    assert engine.docker("network", "rm", "shop") == "shop"
    assert names(engine) == {"bridge", "host", "none"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("create", "bridge"), "operation is not permitted on predefined bridge network"),
        (("rm", "bridge"), "bridge is a pre-defined network and cannot be removed"),
        (("rm", "nothing"), "nothing not found"),
        (("inspect", "nothing"), "nothing not found"),
        (("connect", "nothing", "ctr"), "nothing not found"),
        (("disconnect", "none", "ctr"), "is not connected to"),
        (("connect", "none", "ctr"), "private (none) mode"),
        (("create", "--driver", "nothing", "x"), "nothing"),
    ],
)
def test_refusals(engine: Engine, arguments: tuple[str, ...], text: str) -> None:
    if arguments[:2] == ("connect", "nothing"):
        only_barque(engine)  # dockerd 20.10 takes it silently where the container does not run
    engine.docker("create", "--name", "ctr", "busybox")
    done = engine.cli("network", *arguments)
    assert done.returncode == 1
    assert text in done.stderr


def test_overlapping_subnets(engine: Engine) -> None:
    engine.docker("network", "create", "--subnet", "10.219.1.0/24", "a")
    done = engine.cli("network", "create", "--subnet", "10.219.0.0/16", "b")
    assert "Pool overlaps with other one on this address space" in done.stderr


def test_fixed_addresses_aliases_and_names(engine: Engine) -> None:
    engine.docker("network", "create", "--subnet", "10.219.1.0/24", "shop")
    engine.docker(
        "run", "-d", "--name", "web", "--network", "shop", "--ip", "10.219.1.77",
        "--network-alias", "www", "busybox", *WEB,
    )  # fmt: skip
    endpoint = inspect(engine, "container", "web")["NetworkSettings"]["Networks"]["shop"]
    assert endpoint["IPAddress"] == "10.219.1.77"
    short = engine.docker("ps", "-q", "--filter", "name=web")
    for name in ("web", "www", "WWW", short, "web.shop"):
        seen = engine.docker(
            "run", "--rm", "--network", "shop", "busybox", "ping", "-c", "1", "-W", "5", name
        )
        assert "(10.219.1.77)" in seen
    reverse = engine.docker(
        "run", "--rm", "--network", "shop", "busybox", "nslookup", "10.219.1.77"
    )
    assert "web.shop" in reverse
    engine.docker("rename", "web", "store")
    again = engine.docker(
        "run", "--rm", "--network", "shop", "busybox", "ping", "-c", "1", "-W", "5", "store"
    )
    assert "(10.219.1.77)" in again
    taken = engine.cli("run", "--rm", "--network", "shop", "--ip", "10.219.1.77", "busybox", "true")
    assert "Address already in use" in taken.stderr
    default = engine.cli("run", "--rm", "--ip", "10.0.0.5", "busybox", "true")
    assert "user" in default.stderr
    assert default.returncode == 125


def test_connect_and_disconnect_while_running(engine: Engine) -> None:
    engine.docker("network", "create", "--subnet", "10.219.1.0/24", "one")
    engine.docker("network", "create", "--subnet", "10.219.2.0/24", "two")
    engine.docker("run", "-d", "--name", "ctr", "--network", "one", "busybox", "sleep", "60")
    engine.docker("run", "-d", "--name", "peer", "--network", "two", "busybox", "sleep", "60")
    assert engine.cli("exec", "peer", "ping", "-c", "1", "-W", "1", "ctr").returncode
    engine.docker("network", "connect", "--alias", "late", "--ip", "10.219.2.9", "two", "ctr")
    assert "(10.219.2.9)" in engine.docker("exec", "peer", "ping", "-c", "1", "-W", "5", "late")
    assert "10.219.2.9" in engine.docker("exec", "ctr", "cat", "/etc/hosts")
    assert set(inspect(engine, "network", "two")["Containers"]) == {
        inspect(engine, "container", name)["Id"] for name in ("ctr", "peer")
    }
    engine.docker("network", "disconnect", "one", "ctr")
    assert "eth0" not in engine.docker("exec", "ctr", "ip", "-o", "address")
    assert "default via 10.219.2.1" in engine.docker("exec", "ctr", "ip", "route")
    engine.docker("restart", "-t", "0", "ctr")
    assert "(10.219.2.9)" in engine.docker("exec", "peer", "ping", "-c", "1", "-W", "5", "late")
    engine.docker("network", "disconnect", "-f", "two", "ctr")
    assert inspect(engine, "container", "ctr")["NetworkSettings"]["Networks"] == {}


def test_several_networks_at_once(engine: Engine) -> None:
    only_barque(engine)  # needs API 1.44
    engine.docker("network", "create", "--subnet", "10.219.1.0/24", "one")
    engine.docker("network", "create", "--subnet", "10.219.2.0/24", "two")
    engine.docker(
        "run", "-d", "--name", "ctr", "--network", "name=one,ip=10.219.1.9,alias=first",
        "--network", "name=two,gw-priority=5,mac-address=02:00:00:00:00:77", "busybox", "sleep", "60",
    )  # fmt: skip
    shown = inspect(engine, "container", "ctr")["NetworkSettings"]["Networks"]
    assert shown["one"]["IPAddress"] == "10.219.1.9"
    assert shown["two"]["MacAddress"] == "02:00:00:00:00:77"
    assert "default via 10.219.2.1" in engine.docker("exec", "ctr", "ip", "route")
    assert "02:00:00:00:00:77" in engine.docker("exec", "ctr", "ip", "link", "show", "eth1")
    beside = ("run", "--rm", "--network", "one", "busybox", "ping", "-c", "1", "-W", "5", "first")
    assert "(10.219.1.9)" in engine.docker(*beside)
    mixed = engine.cli("run", "--rm", "--network", "one", "--network", "host", "busybox", "true")
    assert mixed.returncode == 125


def test_files(engine: Engine) -> None:
    engine.docker("network", "create", "shop")
    run = ("run", "--rm", "--network", "shop", "--add-host", "there:192.0.2.5",
           "--dns", "192.0.2.53", "--dns-search", "example.com", "--dns-option", "timeout:1")  # fmt: skip
    resolv = engine.docker(*run, "busybox", "cat", "/etc/resolv.conf").splitlines()
    assert "nameserver 127.0.0.11" in resolv
    assert "search example.com" in resolv
    assert "options timeout:1 ndots:0" in resolv
    assert "192.0.2.5\tthere" in engine.docker(*run, "busybox", "cat", "/etc/hosts")
    only_barque(engine)  # dockerd 20.10 overwrites what was edited
    engine.docker("run", "-d", "--name", "ctr", "--network", "shop", "busybox", "sleep", "60")
    engine.docker("exec", "ctr", "sh", "-c", "echo nameserver 192.0.2.1 > /etc/resolv.conf")
    engine.docker("restart", "-t", "0", "ctr")
    assert engine.docker("exec", "ctr", "cat", "/etc/resolv.conf") == "nameserver 192.0.2.1"


def only_barque(engine: Engine) -> None:
    if engine.name != "barqued":
        pytest.skip("not so with this dockerd, which leaves the machine's firewall alone")


def test_published_ports(engine: Engine) -> None:
    only_barque(engine)
    engine.docker("network", "create", "shop")
    engine.docker(
        "run", "-d", "--name", "web", "--hostname", "it", "--network", "shop", "-p", "80",
        "-p", "127.0.0.1:0:80", "-p", "53/udp", "busybox", *WEB,
    )  # fmt: skip
    ports = inspect(engine, "container", "web")["NetworkSettings"]["Ports"]
    everywhere, six, local = ports["80/tcp"]
    assert (everywhere["HostIp"], six["HostIp"], local["HostIp"]) == ("0.0.0.0", "::", "127.0.0.1")
    assert everywhere["HostPort"] == six["HostPort"]
    assert ports["53/udp"][0]["HostPort"]
    for address in ("127.0.0.1", "localhost", "[::1]", str(engine.subnet[1])):
        assert get(f"{address}:{everywhere['HostPort']}") == "it"
    assert get(f"127.0.0.1:{local['HostPort']}") == "it"
    assert set(engine.docker("port", "web", "80/tcp").split()) == {
        f"0.0.0.0:{everywhere['HostPort']}",
        f"[::]:{everywhere['HostPort']}",
        f"127.0.0.1:{local['HostPort']}",
    }
    listed = engine.docker("ps", "--format", "{{.Ports}}")
    assert f"0.0.0.0:{everywhere['HostPort']}->80/tcp" in listed
    engine.restart()
    assert get(f"127.0.0.1:{everywhere['HostPort']}") == "it"
    assert get(f"[::1]:{everywhere['HostPort']}") == "it"
    assert engine.docker("exec", "web", *GET, "http://web/") == "it"
    clash = engine.cli("run", "--rm", "-p", f"{everywhere['HostPort']}:80", "busybox", "true")
    assert clash.returncode == 125
    assert "port is already allocated" in clash.stderr
    engine.docker("stop", "-t", "0", "web")
    with pytest.raises(OSError, match="refused"):
        get(f"127.0.0.1:{everywhere['HostPort']}", timeout_s=0)


def test_an_internal_network_leads_nowhere(engine: Engine) -> None:
    only_barque(engine)
    engine.docker("network", "create", "--internal", "inner")
    engine.docker("run", "-d", "--name", "web", "--network", "inner", "busybox", *WEB)
    assert engine.docker("run", "--rm", "--network", "inner", "busybox", *GET, "http://web/")
    inside = ("run", "--rm", "--network", "inner", "busybox")
    assert "default" not in engine.docker(*inside, "ip", "route")
    assert "SERVFAIL" in engine.cli(*inside, "nslookup", "example.com").stdout


def test_links_on_the_default_network(engine: Engine) -> None:
    only_barque(engine)
    engine.docker("run", "-d", "--name", "db", "busybox", *WEB)
    linked = engine.docker("run", "--rm", "--link", "db:store", "busybox", *GET, "http://store/")
    assert linked == engine.docker("exec", "db", "hostname")


def test_settings_are_taken_from_another_network(engine: Engine) -> None:
    engine.docker(
        "network", "create", "--config-only", "--subnet", "10.219.4.0/24", "--label", "tier=back",
        "-o", "com.docker.network.driver.mtu=1400", "settings",
    )  # fmt: skip
    shown = inspect(engine, "network", "settings")
    assert (shown["ConfigOnly"], shown["Driver"]) == (True, "null")
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.219.4.0/24"}]
    engine.docker("network", "create", "--config-from", "settings", "shop")
    shown = inspect(engine, "network", "shop")
    assert shown["ConfigFrom"] == {"Network": "settings"}
    assert shown["IPAM"]["Config"][0]["Subnet"] == "10.219.4.0/24"
    assert shown["Labels"] == {"tier": "back"}
    link = ("run", "--rm", "--network", "shop", "busybox", "ip", "link", "show", "eth0")
    assert "mtu 1400" in engine.docker(*link)
    for arguments, text in (
        (("create", "--config-from", "settings", "--label", "a=b", "x"), "user specified config"),
        (("create", "--config-from", "settings", "-o", "a=b", "x"), "network driver options"),
        (("create", "--config-from", "nothing", "x"), "nothing"),
        (("create", "--config-only", "--internal", "x"), "configuration network can only"),
        (("rm", "settings"), "is in use"),
    ):
        refused = engine.cli("network", *arguments)
        assert refused.returncode == 1, arguments
        assert text in refused.stderr, arguments
    used = engine.cli("run", "--rm", "--network", "settings", "busybox", "true")
    assert used.returncode == 125
    engine.docker("network", "rm", "shop")
    engine.docker("network", "rm", "settings")


def test_a_network_with_ipv6_only(engine: Engine) -> None:
    only_barque(engine)  # needs API 1.47
    create = ("network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd19:7::/64")
    engine.docker(*create, "six")
    shown = inspect(engine, "network", "six")
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (False, True)
    engine.docker("run", "-d", "--name", "web", "--network", "six", "-p", "80", "busybox", *WEB)
    endpoint = inspect(engine, "container", "web")["NetworkSettings"]["Networks"]["six"]
    assert (endpoint["IPAddress"], endpoint["GlobalIPv6Address"]) == ("", "fd19:7::2")
    (binding,) = inspect(engine, "container", "web")["NetworkSettings"]["Ports"]["80/tcp"]
    assert get(f"[::1]:{binding['HostPort']}")
    inside = ("run", "--rm", "--network", "six", "busybox")
    assert engine.docker(*inside, "ping", "-6", "-c", "1", "-W", "5", "web")
    assert "fd19:7::1" in engine.docker(*inside, "ip", "-6", "route")
    neither = engine.cli("network", "create", "--ipv4=false", "x")
    assert "IPv4 or IPv6 must be enabled" in neither.stderr


def test_options_of_an_endpoint(engine: Engine) -> None:
    only_barque(engine)  # needs API 1.48
    engine.docker("network", "create", "shop")
    sysctl = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    name = "com.docker.network.endpoint.ifname=shop0"
    run = ("run", "--rm", "--network", f'name=shop,"driver-opt={sysctl}",driver-opt={name}')
    read = "cat /proc/sys/net/ipv4/conf/shop0/log_martians; ip route"
    seen = engine.docker(*run, "busybox", "sh", "-c", read).splitlines()
    assert seen[0] == "1"
    assert "dev shop0" in seen[1]
    other = sysctl.replace("IFNAME", "all")
    refused = engine.cli("run", "--rm", "--network", f"name=shop,driver-opt={other}", "busybox")
    assert refused.returncode == 125
    assert "unable to parse sysctl" in refused.stderr
    absent = sysctl.replace("log_martians", "nothing")
    failed = engine.cli("run", "--rm", "--network", f"name=shop,driver-opt={absent}", "busybox")
    assert failed.returncode
    assert "/proc/sys/net/ipv4/conf/eth0/nothing" in failed.stderr


def test_where_ports_are_published_by_default(engine: Engine) -> None:
    only_barque(engine)
    option = "com.docker.network.bridge.host_binding_ipv4=127.0.0.1"
    engine.docker("network", "create", "-o", option, "local")
    engine.docker("run", "-d", "--name", "web", "--network", "local", "-p", "80", "busybox", *WEB)
    (binding,) = inspect(engine, "container", "web")["NetworkSettings"]["Ports"]["80/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    assert get(f"127.0.0.1:{binding['HostPort']}")
    with pytest.raises(OSError, match="refused"):
        get(f"{engine.subnet[1]}:{binding['HostPort']}", timeout_s=0)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--subnet", "10.219.1.7/24"), "10.219.1.0/24"),
        (("--subnet", "10.219.1.0/24", "--ip-range", "10.219.2.0/25"), "10.219.2.0/25"),
        (("--subnet", "10.219.1.0/24", "--gateway", "10.219.2.1"), "10.219.2.1"),
        (("--subnet", "10.219.1.0/24", "--aux-address", "a=10.219.2.1"), "10.219.2.1"),
        (("--ip-range", "10.219.2.0/25"), "subnet"),
        (("--subnet", "10.219.1.0/33"), "10.219.1.0/33"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated"), "internal network"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv4=odd"), "odd"),
        (("--subnet", "10.219.1.0/24", "--subnet", "10.219.2.0/24"), "support multiple subnets"),
    ],
)
def test_networks_that_cannot_be(engine: Engine, flags: tuple[str, ...], text: str) -> None:
    only_barque(engine)  # 20.10 takes some of them
    refused = engine.cli("network", "create", *flags, "x")
    assert refused.returncode == 1
    assert text in refused.stderr
    assert names(engine) == {"bridge", "host", "none"}


COMPOSE = """
version: "2.4"
services:
  front:
    image: busybox
    command: ["sh", "-c", "mkdir -p /www; echo front > /www/index.html; exec httpd -f -p 80 -h /www"]
    networks: {outer: {}, inner: {aliases: [entry]}}
    ports: ["80"]
  app:
    image: busybox
    command: ["sleep", "100"]
    networks: [inner]
  db:
    image: busybox
    command: ["sh", "-c", "mkdir -p /www; echo db > /www/index.html; exec httpd -f -p 80 -h /www"]
    networks: {inner: {ipv4_address: 10.219.7.9}}
networks:
  outer: {}
  inner: {internal: true, ipam: {config: [{subnet: 10.219.7.0/24}]}}
"""


def test_compose_brings_up_three_services_on_two_networks(engine: Engine) -> None:
    only_barque(engine)
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("needs docker-compose (1.29)")
    project = engine.root / "project"
    project.mkdir(exist_ok=True)
    (project / "docker-compose.yml").write_text(COMPOSE)

    def compose(*arguments: str) -> str:
        done = subprocess.run(
            [program, "--no-ansi", *arguments],
            cwd=project,
            env=engine.client_environment() | {"COMPOSE_PROJECT_NAME": "shop"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    compose("up", "-d")
    try:
        assert {"shop_outer", "shop_inner"} <= names(engine)
        assert compose("exec", "-T", "app", *GET, "http://db/") == "db"
        assert compose("exec", "-T", "app", *GET, "http://entry/") == "front"
        assert compose("exec", "-T", "front", *GET, "http://10.219.7.9/") == "db"
        port = compose("port", "front", "80").rpartition(":")[2]
        assert get(f"127.0.0.1:{port}") == "front"
    finally:
        compose("down", "-t", "0")
    assert names(engine) == {"bridge", "host", "none"}
