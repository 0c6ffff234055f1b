from __future__ import annotations

import pytest

from barque.engine.defaults import ContainerDefaults, own_ulimits, parse_capabilities
from barque.errors import InvalidArgument
from barque.models.api import HostConfig, LogConfig, Ulimit
from barque.runtime import capabilities

DEFAULTS = ContainerDefaults(
    shm_size_bytes=1 << 20,
    log_opts={"max-size": "1m", "max-file": "2"},
    ulimits=(Ulimit(name="nofile", soft=10, hard=20), Ulimit(name="core", soft=0, hard=0)),
    init=True,
    ipc_mode="shareable",
    cgroupns_mode="host",
)


def test_what_is_left_open_is_filled() -> None:
    host = HostConfig()
    DEFAULTS.fill(host)
    assert host.shm_size == 1 << 20
    assert host.init is True
    assert host.log_config == LogConfig(
        type="json-file", config={"max-size": "1m", "max-file": "2"}
    )
    assert (host.ipc_mode, host.cgroupns_mode) == ("shareable", "host")
    assert host.ulimits is None, "what is allowed is decided at the start"
    assert DEFAULTS.choose_ulimits(host) == list(DEFAULTS.ulimits)


def test_what_is_given_stays() -> None:
    own = Ulimit(name="nofile", soft=5, hard=5)
    host = HostConfig(
        shm_size=5,
        init=False,
        ulimits=[own],
        log_config=LogConfig(type="json-file", config={"max-file": "9"}),
    )
    DEFAULTS.fill(host)
    assert host.shm_size == 5
    assert host.init is False
    assert host.ulimits == [own]
    assert DEFAULTS.choose_ulimits(host) == [own, DEFAULTS.ulimits[1]]
    assert host.log_config.config == {"max-size": "1m", "max-file": "9"}


@pytest.mark.parametrize(("most", "hard"), [(1 << 20, 524288), (20_000, 20_000), (512, 512)])
def test_our_own_limits_are_what_the_machine_permits(most: int, hard: int) -> None:
    files, core = own_ulimits(most)
    assert (files.name, files.soft, files.hard) == ("nofile", min(1024, hard), hard)
    assert (core.name, core.soft, core.hard) == ("core", 0, 0)


def test_capabilities_are_named_or_dockers() -> None:
    assert parse_capabilities("docker") == capabilities.DOCKER
    assert parse_capabilities(["chown", "CAP_CHOWN", "kill"]) == ("CAP_CHOWN", "CAP_KILL")
    assert parse_capabilities([]) == ()
    with pytest.raises(InvalidArgument, match="give a list of names"):
        parse_capabilities("podman")
    with pytest.raises(InvalidArgument, match="unknown capability"):
        parse_capabilities(["fly"])


def test_options_of_another_driver_are_not_given() -> None:
    host = HostConfig(log_config=LogConfig(type="none"))
    DEFAULTS.fill(host)
    assert host.log_config.config == {}
