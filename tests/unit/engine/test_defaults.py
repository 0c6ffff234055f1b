from __future__ import annotations

from barque.engine.defaults import ContainerDefaults
from barque.models.api import HostConfig, LogConfig, Ulimit

DEFAULTS = ContainerDefaults(
    shm_size_bytes=1 << 20,
    log_opts={"max-size": "1m", "max-file": "2"},
    ulimits=(Ulimit(name="nofile", soft=10, hard=20), Ulimit(name="core", soft=0, hard=0)),
    init=True,
)


def test_what_is_left_open_is_filled() -> None:
    host = HostConfig()
    DEFAULTS.fill(host)
    assert host.shm_size == 1 << 20
    assert host.init is True
    assert host.log_config == LogConfig(
        type="json-file", config={"max-size": "1m", "max-file": "2"}
    )
    assert host.ulimits == list(DEFAULTS.ulimits)


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
    assert host.ulimits == [own, DEFAULTS.ulimits[1]]
    assert host.log_config.config == {"max-size": "1m", "max-file": "9"}


def test_options_of_another_driver_are_not_given() -> None:
    host = HostConfig(log_config=LogConfig(type="none"))
    DEFAULTS.fill(host)
    assert host.log_config.config == {}
