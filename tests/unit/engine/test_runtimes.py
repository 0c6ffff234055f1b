"""Runtimes by name."""

from __future__ import annotations

import pytest

from barque.engine.runtimes import Runtimes
from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.api import HostConfig
from barque.models.launch import ExternalRuntime

CRUN = ExternalRuntime(path="/usr/bin/crun")


@pytest.mark.parametrize("name", ["", "barque", "runc", "io.containerd.runc.v2"])
def test_names_of_the_built_in_one(name: str) -> None:
    assert Runtimes().find(name) is None


def test_others_by_name_also_docker_s_default() -> None:
    runtimes = Runtimes({"crun": CRUN, "runc": CRUN}, "crun")
    assert runtimes.find("crun") is runtimes.find("runc") is runtimes.find("") is CRUN
    assert runtimes.find("barque") is None
    assert list(runtimes.describe()) == ["barque", "runc", "crun"]


def test_an_unknown_one() -> None:
    with pytest.raises(InvalidArgument, match=r"^unknown or invalid runtime name: runsc$"):
        Runtimes().find("runsc")


def test_what_a_container_gets() -> None:
    host = HostConfig()
    Runtimes({"crun": CRUN}, "crun").fill(host)
    assert host.runtime == "crun"
    with pytest.raises(NotImplementedHere, match="--runtime barque"):
        Runtimes({"crun": CRUN}).fill(HostConfig(runtime="crun", init=True))
    Runtimes({"crun": CRUN}).fill(HostConfig(init=True))
