"""Engines for tests that need a running one. Both are private and leave nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import rootfs
from support.engine import Engine, docker_cli_is_here, dockerd_is_here, open_barqued, open_dockerd

_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _patient)
settings.register_profile("same", _patient, derandomize=True, database=None)
settings.load_profile("same")


def pytest_configure() -> None:
    """Let the files that tests make have the usual modes: other users walk to some of them."""
    os.umask(0o022)


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BusyBox root file system, as a tar archive."""
    if not rootfs.busybox_is_here():
        pytest.skip(f"needs {rootfs.BUSYBOX}: install busybox-static")
    return rootfs.write_busybox_tar(tmp_path_factory.mktemp("busybox") / "rootfs.tar")


@pytest.fixture(scope="session")
def may_run_engines() -> None:
    """What tests need that start an engine and talk to it by the stock command line."""
    if os.geteuid():
        pytest.skip("needs root: starts an engine")
    if not docker_cli_is_here():
        pytest.skip("needs the docker command line")


@pytest.fixture(scope="session")
def barqued(may_run_engines: None, busybox_tar: Path) -> Iterator[Engine]:
    """A private barqued with the image ``busybox``, for tests that leave no container."""
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        yield engine


@pytest.fixture(scope="session")
def barqued_as_docker(may_run_engines: None, busybox_tar: Path) -> Iterator[Engine]:
    """A private barqued that allows what docker allows, to be compared with dockerd."""
    with open_barqued(configuration={"default-capabilities": "docker"}) as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        yield engine


@pytest.fixture(scope="session")
def dockerd(may_run_engines: None, busybox_tar: Path) -> Iterator[Engine]:
    """A private dockerd with the image ``busybox``, to compare with."""
    if not dockerd_is_here():
        pytest.skip("needs dockerd: install docker.io")
    with open_dockerd() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        yield engine
