"""Each test of a client runs against barque and, to show what it should see, dockerd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.engine import Engine, dockerd_is_here

BARQUED = "barqued_as_docker"  # what containers are allowed shows, for instance mknod
ENGINES = ("dockerd", BARQUED) if dockerd_is_here() else (BARQUED,)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One engine after the other, without containers before and after."""
    engine: Engine = request.getfixturevalue(request.param)
    yield engine
    engine.remove_containers()
