"""An engine to be attacked, with a secret in its environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attackers import Attacker
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.secret import secret_environment
from support.sentinels import heavier, weigh
from support.waiting import wait_until


@pytest.fixture(scope="session")
def engine(busybox_tar: Path) -> Iterator[Engine]:
    """A private barqued with the image ``busybox``, and ``SECRET`` in its environment.

    After all attacks neither it nor its spawner may have more descriptors or memory.
    """
    if os.geteuid():
        pytest.skip("needs root: starts an engine")
    if not docker_cli_is_here():
        pytest.skip("needs the docker command line")
    with secret_environment(), open_barqued(prefix="attacked-") as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        engine.docker("run", "--rm", "busybox", "true")
        before = weigh(engine.pid)
        yield engine
        engine.remove_containers()
        trash = engine.data_root / "trash"  # what it holds open while it removes it is no leak
        wait_until(lambda: not list(trash.iterdir()), "the trash is removed", 60)
        assert heavier(before, weigh(engine.pid)) == []


@pytest.fixture(scope="session")
def attacker(engine: Engine) -> Attacker:
    """Containers of the attacked engine."""
    return Attacker(engine)
