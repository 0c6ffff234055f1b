"""Starts by another OCI runtime of which somebody on the way is killed: all or nothing is left."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import census
from support.agreement import find_shim
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.waiting import wait_until

RUNC = shutil.which("runc")
SLOW = """#!/bin/sh
case " $* " in
*" create "*)
    echo >{marks}/began; sleep 1.5
    {runc} "$@"; code=$?
    echo >{marks}/made; sleep 1.5
    exit $code;;
esac
exec {runc} "$@"
"""
"""runc, with time to be killed before and after it has made the container's init."""

pytestmark = pytest.mark.skipif(RUNC is None, reason="needs runc")


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slow")


@pytest.fixture(scope="module")
def engine(busybox_tar: Path, marks: Path) -> Iterator[Engine]:
    if os.geteuid() or not docker_cli_is_here():
        pytest.skip("needs root and the docker command line")
    program = marks / "slow"
    program.write_text(SLOW.format(marks=marks, runc=RUNC))
    program.chmod(0o755)
    with open_barqued("--add-runtime", f"slow={program}") as opened:
        opened.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        opened.docker("run", "--rm", "--runtime", "slow", "busybox", "true")
        yield opened


@pytest.fixture(autouse=True)
def no_leaks(engine: Engine, marks: Path) -> Iterator[None]:
    for mark in ("began", "made"):
        (marks / mark).unlink(missing_ok=True)
    before = census.take_at_rest()
    yield
    engine.remove_containers()
    assert census.settle(before) == []
    assert list((engine.exec_root / "shims").iterdir()) == []


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("mark", ["began", "made"])
@pytest.mark.parametrize("victim", ["shim", "helper", "engine"])
def test_killed_on_the_way(engine: Engine, marks: Path, victim: str, mark: str) -> None:
    id_ = engine.docker("create", "--name", "c1", "--runtime", "slow", "busybox", "sleep", "1000")
    starting = threading.Thread(target=engine.cli, args=("start", "c1"))
    starting.start()
    wait_until((marks / mark).exists, f"the runtime has got to: {mark}")
    if victim == "engine":
        engine.kill()
    else:
        shim = find_shim(id_)
        helpers = [pid for pid in _children(shim) if _children(pid)]
        os.kill(shim if victim == "shim" else helpers[0], 9)
    starting.join(60)
    if victim == "engine":
        engine.start()  # the start goes on without it
        state = ("inspect", "-f", "{{.State.Running}}", "c1")
        wait_until(lambda: engine.docker(*state) == "true", "the container runs")
        assert engine.docker("exec", "c1", "echo", "well") == "well"
    else:
        assert engine.docker("inspect", "-f", "{{.State.Status}}", "c1") in {"created", "exited"}
        engine.docker("start", "c1")
        assert engine.docker("exec", "c1", "echo", "well") == "well"
