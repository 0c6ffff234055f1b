"""The engine killed without warning while containers run: none of them notices."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from barque.shim.protocol import EXIT_RECORD
from support import census
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.rootfs import busybox_is_here, write_busybox_tar
from support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="starts containers: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    archive = write_busybox_tar(tmp_path_factory.mktemp("image") / "busybox.tar")
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        yield engine


def test_containers_go_on_without_the_engine(engine: Engine) -> None:
    for number in range(17):
        engine.docker("run", "-d", "--name", f"idle{number}", "busybox", "sleep", "1000")
    count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
    writer = engine.docker("run", "-d", "--name", "writer", "busybox", "sh", "-c", count)
    end = "until [ -e /end ]; do sleep 0.05; done; exit 42"
    ends = engine.docker("run", "-d", "--name", "ends", "busybox", "sh", "-c", end)
    root = Path("/proc", engine.docker("inspect", "-f", "{{.State.Pid}}", "ends"), "root")
    engine.docker("run", "-d", "--name", "host", "busybox", "sleep", "1000")
    # Its stdin stays open: at the end of its input the command line closes the connection.
    attached = subprocess.Popen(
        ["docker", "exec", "-i", "host", "sh", "-c", "echo up; read line; echo got $line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=engine.client_environment(),
    )
    assert attached.stdin is not None
    assert attached.stdout is not None
    assert attached.stdout.readline() == b"up\n"
    engine.kill()
    killed_at = time.time()
    (root / "end").touch()
    record = engine.exec_root / "shims" / ends / EXIT_RECORD
    wait_until(record.exists, "the one that ends has ended")
    ended_by = time.time()
    written = _log_size(engine, writer)
    wait_until(lambda: _log_size(engine, writer) > written + 10_000, "the writer goes on")
    attached.stdin.write(b"over\n")
    attached.stdin.flush()
    assert attached.stdout.readline() == b"got over\n"
    attached.stdin.close()
    attached.wait(20)
    engine.start()

    names = set(engine.docker("ps", "--format", "{{.Names}}").split())
    assert names == {f"idle{number}" for number in range(17)} | {"writer", "host"}
    state = json.loads(engine.docker("inspect", "--format", "{{json .State}}", "ends"))
    assert state["ExitCode"] == 42
    ended = engine.docker("inspect", "--format", "{{.State.FinishedAt}}", "ends")
    assert killed_at < dt.datetime.fromisoformat(ended).timestamp() < ended_by
    lines = engine.docker("logs", "writer").split()
    assert lines == [str(number) for number in range(len(lines))]
    assert len(lines) > 100
    assert engine.docker("exec", "idle3", "echo", "here") == "here"
    engine.docker("stop", "-t", "0", "idle3")
    assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", "idle3") == "137"
    engine.remove_containers()


def _log_size(engine: Engine, id_: str) -> int:
    folder = engine.data_root / "containers" / id_
    return sum(path.stat().st_size for path in folder.rglob("*.log"))


def test_killed_in_the_middle_of_everything(engine: Engine) -> None:
    """After a restart, records, processes, cgroups, addresses and files agree."""
    engine.docker("run", "--rm", "busybox", "true")
    before = census.take_at_rest(engine)

    def churn(worker: int) -> None:
        for number in range(30):
            name = f"w{worker}-{number}"
            engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
            engine.cli("rm", "-f", name)

    for round_number in range(4):
        with ThreadPoolExecutor(4) as workers:
            running = [workers.submit(churn, worker) for worker in range(4)]
            time.sleep(0.3 + 0.13 * round_number)
            engine.kill()
            for work in running:
                work.result()
        engine.start()
        engine.remove_containers()
    own = ("child", "descriptor")  # of the engine, which is another process now
    leaks = [leak for leak in census.settle(before, engine) if not leak.startswith(own)]
    assert not leaks, "\n".join(leaks)


def test_a_killed_shim_takes_its_container_along(engine: Engine) -> None:
    id_ = engine.docker("run", "-d", "--name", "orphan", "busybox", "sleep", "1000")
    pid = engine.docker("inspect", "--format", "{{.State.Pid}}", "orphan")
    (shim,) = _find_shims(id_)
    os.kill(shim, 9)
    assert engine.docker("wait", "orphan") == "255"
    _until_gone(int(pid))
    engine.docker("start", "orphan")
    pid = engine.docker("inspect", "--format", "{{.State.Pid}}", "orphan")
    engine.kill()
    (shim,) = _find_shims(id_)
    os.kill(shim, 9)
    engine.start()
    assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", "orphan") == "255"
    _until_gone(int(pid))
    engine.docker("rm", "orphan")


def _find_shims(id_: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().rstrip(b"\0").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, _, shown = words.partition(" ")  # as much of the id as there is room for
        if name == "barque-shim" and shown and id_.startswith(shown):
            found.append(int(process.name))
    return found


def _until_gone(pid: int) -> None:
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), f"process {pid} has gone")


def test_nothing_is_left_of_many_short_containers(engine: Engine) -> None:
    engine.docker("run", "--rm", "busybox", "true")
    before = census.take_at_rest(engine)

    def run(number: int) -> int:
        network = "none" if number % 2 else "bridge"
        return engine.cli("run", "--rm", "--network", network, "busybox", "true").returncode

    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(run, range(200))) == {0}
    for _ in range(10):
        assert engine.cli("run", "--rm", "busybox", "missing").returncode == 127
    leaks = census.settle(before, engine)
    assert not leaks, "\n".join(leaks)


def test_output_is_whole_and_in_order_through_a_pipe(engine: Engine, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 64
    done = subprocess.run(
        ["docker", "run", "-i", "--rm", "--network", "none", "busybox", "cat"],
        input=data,
        capture_output=True,
        env=engine.client_environment(),
        timeout=120,
        check=True,
    )
    assert done.stdout == data
