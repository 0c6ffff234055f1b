"""``--security-opt systemd=true``."""

from __future__ import annotations

import os

import pytest

from barque.engine.facts import CgroupFacts
from barque.engine.systemd import check_systemd, fill_systemd, runs_systemd, systemd_cgroup
from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig, HostConfig
from support.spec import make_facts

WANTED = ["systemd=true"]
V1 = CgroupFacts(systemd_mount="/sys/fs/cgroup/systemd")


def test_what_it_stands_for() -> None:
    config, host = ContainerConfig(env=["A=b"]), HostConfig(security_opt=WANTED)
    fill_systemd(config, host)
    assert config.env == ["container=barque", "A=b"]
    assert config.stop_signal == "SIGRTMIN+3"
    assert list(host.tmpfs or {}) == ["/run", "/run/lock", "/tmp"]


def test_what_the_user_says_comes_first() -> None:
    config = ContainerConfig(stop_signal="SIGINT", env=["container=mine"])
    host = HostConfig(security_opt=WANTED, tmpfs={"/run": "size=1m"})
    fill_systemd(config, host)
    assert config.stop_signal == "SIGINT"
    assert (host.tmpfs or {})["/run"] == "size=1m"
    assert (config.env or [])[-1] == "container=mine"  # a later entry replaces an earlier one


def test_nothing_is_done_unasked() -> None:
    config, host = ContainerConfig(env=["A=b"]), HostConfig()
    fill_systemd(config, host)
    assert (config.env, config.stop_signal, host.tmpfs) == (["A=b"], "", None)
    assert systemd_cgroup(host, make_facts(cgroups=V1), "/barque/x") is None


def test_only_the_hierarchy_without_limits_is_writable_on_version_1() -> None:
    mount = systemd_cgroup(HostConfig(security_opt=WANTED), make_facts(cgroups=V1), "/barque/x")
    assert mount is not None
    assert mount.source == "/sys/fs/cgroup/systemd/barque/x"
    assert mount.destination == "/sys/fs/cgroup/systemd"
    assert "rw" in mount.options


def test_a_host_without_that_hierarchy() -> None:
    host = HostConfig(security_opt=WANTED)
    with pytest.raises(InvalidArgument, match="name=systemd"):
        check_systemd(host, make_facts(cgroups=CgroupFacts()))
    check_systemd(host, make_facts(cgroups=CgroupFacts(version=2)))
    check_systemd(HostConfig(), make_facts(cgroups=CgroupFacts()))


def test_this_process_is_not_systemd() -> None:
    assert not runs_systemd(os.getpid())
    assert not runs_systemd(0)
