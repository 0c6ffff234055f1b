"""barque-runtime: network devices of the host that a container takes over."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from support.bundle import Runtime
from support.namespaces import holder

DEVICE, PEER = "bq-given", "bq-peer"
SHOW = "ip -o addr show scope global | awk '{print $2, $4}' | sort; cat /sys/class/net/*/operstate"


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def device(runtime: Runtime) -> Iterator[str]:
    """An interface of the host with addresses, up."""
    ip("link", "add", DEVICE, "type", "veth", "peer", "name", PEER)
    try:
        ip("link", "set", PEER, "up")
        ip("link", "set", DEVICE, "up")
        ip("addr", "add", "10.99.7.5/24", "dev", DEVICE)
        ip("addr", "add", "fd00:99::5/64", "dev", DEVICE, "nodad")
        ip("addr", "add", "10.99.8.5/24", "dev", DEVICE, "valid_lft", "500", "preferred_lft", "500")
        ip("addr", "add", "10.99.9.5/24", "dev", DEVICE, "scope", "link")
        yield DEVICE
    finally:
        subprocess.run(["ip", "link", "del", PEER], check=False, capture_output=True)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("name", "inside"), [("", DEVICE), ("container0", "container0"), ("eth%d", "eth0")]
)
def test_a_device_comes_with_its_lasting_addresses(
    runtime: Runtime, device: str, name: str, inside: str, mapped: bool
) -> None:
    if mapped:
        runtime.add_user_namespace()
    runtime.linux["netDevices"] = {device: {"name": name} if name else {}}
    code, lines = runtime.run(f"{SHOW}; cat /sys/class/net/{inside}/flags")
    assert code == 0, lines
    assert lines[:2] == [f"{inside} 10.99.7.5/24", f"{inside} fd00:99::5/64"]
    assert "10.99.8.5" not in "".join(lines)
    assert int(lines[-1], 16) & 1, "it is up"


def test_a_device_goes_to_a_joined_namespace(runtime: Runtime, device: str) -> None:
    with holder("unshare", "--net", "sleep", "100", kind="net") as path:
        runtime.join("network", path)
        runtime.linux["netDevices"] = {device: {"name": "eth7"}}
        assert runtime.run("ls /sys/class/net") == (0, ["eth7", "lo"])


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ({"bq-given": {"name": "lo"}}, "bq-given to lo: file exists"),
        ({"bq-none": {}}, "bq-none: no such device"),
        ({"bq-given": {"name": "a/b"}}, "cannot be the name"),
        ({"bq-given": {"name": "a b"}}, "cannot be the name"),
        ({"bq-given": {"name": "sixteen-is-a-lot"}}, "cannot be the name"),
        ({"bq-given": {"name": "same"}, "bq-peer": {"name": "same"}}, "the same name"),
        ({"lo": {"name": "other"}}, "lo to other"),
    ],
)
def test_devices_that_cannot_be_moved_stay(
    runtime: Runtime, device: str, devices: dict[str, object], said: str
) -> None:
    before = ip("-o", "addr", "show", "dev", device, "scope", "global", "permanent")
    runtime.linux["netDevices"] = devices
    code, lines = runtime.run("true")
    assert code == 1
    assert said in lines[0]
    assert ip("-o", "addr", "show", "dev", device, "scope", "global", "permanent") == before
    assert "UP" in ip("-o", "link", "show", "dev", "lo")


def test_no_device_without_a_network_namespace(runtime: Runtime, device: str) -> None:
    runtime.linux["netDevices"] = {device: {}}
    runtime.join("network", "/proc/self/ns/net")
    assert "in the namespace joined" in runtime.run("true")[1][0]
    runtime.linux["namespaces"] = [n for n in runtime.linux["namespaces"] if n["type"] != "network"]
    assert "without a private network namespace" in runtime.run("true")[1][0]
