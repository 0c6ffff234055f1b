"""What a container may do that asks for nothing, and what must work all the same."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine, open_barqued
from support.rootfs import find_distribution

ELEVEN = "00000000800405fb"


@pytest.fixture
def barque(barqued: Engine) -> Iterator[Engine]:
    yield barqued
    barqued.remove_containers()


def read_capabilities(engine: Engine, *options: str) -> dict[str, str]:
    output = engine.docker("run", "--rm", *options, "busybox", "grep", "Cap", "/proc/self/status")
    return dict(line.split(":\t") for line in output.splitlines())


def test_capabilities(barque: Engine) -> None:
    nothing = "0" * 16
    assert read_capabilities(barque) == {
        "CapInh": nothing,
        "CapPrm": ELEVEN,
        "CapEff": ELEVEN,
        "CapBnd": ELEVEN,
        "CapAmb": nothing,
    }
    assert read_capabilities(barque, "-u", "7") == {
        "CapInh": nothing,
        "CapPrm": nothing,
        "CapEff": nothing,
        "CapBnd": ELEVEN,
        "CapAmb": nothing,
    }
    id_ = barque.docker("run", "-d", "busybox", "sleep", "1000")
    assert ELEVEN in barque.docker("exec", id_, "grep", "CapBnd", "/proc/self/status")
    assert barque.docker("inspect", "-f", "{{.HostConfig.CapAdd}}", id_) == "[]"


def test_limits_are_applied_and_not_shown_as_asked(barque: Engine) -> None:
    id_ = barque.docker("run", "-d", "busybox", "sleep", "1000")
    shown = barque.docker("exec", id_, "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Hc")
    soft, hard, core = map(int, shown.split())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (soft, core) == (1024, 0)
    assert hard == 524288 or hard == most < 524288
    assert barque.docker("exec", id_, "sh", "-c", PIDS) == "4096"
    asked = json.loads(barque.docker("inspect", "-f", "{{json .HostConfig}}", id_))
    assert (asked["PidsLimit"], asked["Ulimits"]) == (0, [])
    barque.docker("update", "--pids-limit", "-1", id_)
    assert barque.docker("exec", id_, "sh", "-c", PIDS) == "max"


PIDS = "cat /sys/fs/cgroup/pids/pids.max 2> /dev/null || cat /sys/fs/cgroup/pids.max"


def test_paths_that_docker_or_podman_masks(barque: Engine) -> None:
    id_ = barque.docker("create", "busybox")
    masked = json.loads(barque.docker("inspect", "-f", "{{json .HostConfig.MaskedPaths}}", id_))
    assert {"/proc/asound", "/proc/interrupts", "/sys/dev/block", "/sys/fs/selinux"} <= set(masked)
    assert barque.docker("run", "--rm", "busybox", "ls", "-A", "/sys/dev/block") == ""


def test_ping_works_without_raw_sockets(barque: Engine) -> None:
    archive = find_distribution("alpine-3.20")
    if archive is None:
        pytest.skip("needs BARQUE_TEST_IMAGES to name a folder with alpine-3.20-rootfs.tar.gz")
    barque.docker("import", str(archive), "alpine")
    name = barque.docker("run", "-d", "busybox", "sleep", "1000")
    address = barque.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
    for user in ("0", "1000"):
        # On a busy machine the kernel takes a while to open a new link: ENOBUFS until then.
        ping = f"until ping -c 1 -q {address} 2> /dev/null; do sleep 0.1; done"
        output = barque.docker(
            "run", "--rm", "-u", user, "alpine", "timeout", "20", "sh", "-c", ping
        )
        assert "1 packets received" in output
    sysctls = ("--sysctl", "net.ipv4.ping_group_range=1 0")
    refused = barque.cli("run", "--rm", *sysctls, "alpine", "ping", "-c", "1", address)
    assert "permission denied" in refused.stderr, "the user's own setting counts"


def test_a_user_may_listen_on_port_80(barque: Engine) -> None:
    script = "nc -l -p 80 & sleep 0.5; grep -c ':0050 ' /proc/net/tcp /proc/net/tcp6"
    output = barque.docker("run", "--rm", "--init", "-u", "1000", "busybox", "sh", "-c", script)
    assert ":1" in output


@pytest.mark.usefixtures("may_run_engines")
def test_daemon_json_says_otherwise(busybox_tar: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    configuration = {
        "default-capabilities": ["KILL"],
        "default-pids-limit": 77,
        "default-ulimits": {"nofile": {"Soft": 55, "Hard": 66}},
        "no-new-privileges": True,
        "default-ipc-mode": "shareable",
        "default-cgroupns-mode": "host",
        "init": True,
        "seccomp-profile": str(profile),
    }
    with open_barqued(configuration=configuration) as engine:
        engine.docker("import", str(busybox_tar), "busybox")
        script = f"grep -E '^(CapEff|NoNewPrivs):' /proc/self/status; ulimit -n; ulimit -c; {PIDS}"
        run = ("run", "--name", "c1", "--cgroupns", "private", "busybox", "sh", "-c", script)
        assert engine.docker(*run).split() == [
            "CapEff:",
            "0000000000000020",
            "NoNewPrivs:",
            "1",
            "55",
            "0",
            "77",
        ]
        modes = "{{.HostConfig.IpcMode}} {{.HostConfig.Init}}"
        assert engine.docker("inspect", "-f", modes, "c1") == "shareable true"
        id_ = engine.docker("create", "busybox", "true")
        mode = engine.docker("inspect", "-f", "{{.HostConfig.CgroupnsMode}}", id_)
        assert mode == "host"
        options = json.loads(engine.docker("info", "-f", "{{json .SecurityOptions}}"))
        assert f"name=seccomp,profile={profile}" in options
        assert "name=no-new-privileges" in options
