"""Limits, measured and not read back, on this machine's cgroup version; and changed meanwhile.

What others do on the machine can only take time away. So an upper bound is always checked,
and a measurement that falls short is repeated.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest

from barque.cgroups import cgroup_version
from support.engine import Engine
from support.loop import losetup_is_here, open_loop_device
from support.waiting import wait_until

MIB = 1 << 20
ATTEMPTS = 15
BUSY = ("sh", "-c", "while :; do :; done")
ALLOCATE = ("dd", "if=/dev/zero", "of=/dev/null", f"bs={100 * MIB}", "count=1")


@contextmanager
def container(engine: Engine, *arguments: str) -> Iterator[str]:
    """Run a container in the background for the block."""
    id_ = engine.docker("run", "-d", "--network", "none", *arguments)
    try:
        yield id_
    finally:
        engine.docker("rm", "-f", id_)


def stats(engine: Engine, id_: str) -> dict[str, Any]:
    with docker_py.APIClient(base_url=engine.url) as api:
        found: dict[str, Any] = api.stats(id_, stream=False, one_shot=True)
        return found


def update(engine: Engine, id_: str, **changes: Any) -> None:
    """Change limits by fields of the API that the command line has no flag for."""
    with docker_py.APIClient(base_url=engine.url) as api:
        answer = api._post_json(api._url("/containers/{0}/update", id_), data=changes)
        assert api._result(answer, json=True) == {"Warnings": None}


def cpu_ns(engine: Engine, *ids: str) -> list[int]:
    return [stats(engine, id_)["cpu_stats"]["cpu_usage"]["total_usage"] for id_ in ids]


def measure_cpu(engine: Engine, *ids: str, seconds: float = 2.0) -> list[float]:
    """Return the processors' worth that each container uses over some seconds."""
    begin, before = time.monotonic(), cpu_ns(engine, *ids)
    time.sleep(seconds)
    after, passed_s = cpu_ns(engine, *ids), time.monotonic() - begin
    return [(b - a) / 1e9 / passed_s for a, b in zip(before, after, strict=True)]


def repeat(measure: Callable[[], float], low: float, high: float) -> None:
    """Measure until the result is in range; it may fall short for a while, as others work."""
    seen = []
    for _ in range(ATTEMPTS):
        seen.append(measure())
        if low <= seen[-1] <= high:
            return
    raise AssertionError(f"never in {low:.2f}..{high:.2f}: {[round(value, 3) for value in seen]}")


def test_cpus(barqued: Engine) -> None:
    with container(barqued, "--cpus", "0.5", "busybox", *BUSY) as id_:
        repeat(lambda: measure_cpu(barqued, id_)[0], 0.45, 0.55)
        assert stats(barqued, id_)["cpu_stats"]["throttling_data"]["throttled_periods"] > 0
        barqued.docker("update", "--cpus", "0.2", id_)
        repeat(lambda: measure_cpu(barqued, id_)[0], 0.18, 0.22)


def test_shares_divide_a_processor(barqued: Engine) -> None:
    one = ("--cpuset-cpus", "0", "--cpu-shares", "512", "busybox", *BUSY)
    three = ("--cpuset-cpus", "0", "--cpu-shares", "1536", "busybox", *BUSY)
    with container(barqued, *one) as small, container(barqued, *three) as large:

        def ratio() -> float:
            slow, fast = measure_cpu(barqued, small, large)
            return fast / slow

        repeat(ratio, 2.4, 3.6)
        barqued.docker("update", "--cpu-shares", "1536", small)
        barqued.docker("update", "--cpu-shares", "512", large)
        repeat(lambda: 1 / ratio(), 2.4, 3.6)


def test_memory(barqued: Engine) -> None:
    limits = ("--network", "none", "-m", "64m", "--memory-swap", "64m")
    barqued.docker("create", "--name", "greedy", *limits, "busybox", *ALLOCATE)
    since = str(time.time() - 1)
    done = barqued.cli("start", "-a", "greedy")
    assert done.returncode == 137
    state = json.loads(barqued.docker("inspect", "-f", "{{json .State}}", "greedy"))
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    expect_events(barqued, "greedy", since, "start", "oom", "die")
    barqued.docker("update", "-m", "256m", "--memory-swap", "256m", "greedy")
    assert barqued.cli("start", "-a", "greedy").returncode == 0
    assert barqued.docker("inspect", "-f", "{{.State.OOMKilled}}", "greedy") == "false"
    barqued.docker("rm", "greedy")


def expect_events(engine: Engine, name: str, since: str, *events: str) -> None:
    wait_until(lambda: list_events(engine, name, since) == [*events], f"{events} are told")


def list_events(engine: Engine, name: str, since: str) -> list[str]:
    filters = [word for event in ("start", "oom", "die") for word in ("--filter", f"event={event}")]
    until = str(time.time() + 0.01)
    command = ("events", "--since", since, "--until", until, "--filter", f"container={name}")
    return engine.docker(*command, *filters, "--format", "{{.Action}}").split()


def test_memory_of_a_container_that_goes_on(barqued: Engine) -> None:
    since = str(time.time() - 1)
    limits = ("-m", "64m", "--memory-swap", "64m")
    with container(barqued, *limits, "--name", "survivor", "busybox", "sleep", "600") as id_:
        time.sleep(0.3)
        assert barqued.cli("exec", id_, *ALLOCATE).returncode == 137
        expect_events(barqued, "survivor", since, "start", "oom")
        state = barqued.docker("inspect", "-f", "{{.State.Status}} {{.State.OOMKilled}}", id_)
        assert state == "running true"
        barqued.docker("update", "-m", "256m", "--memory-swap", "256m", id_)
        barqued.docker("exec", id_, *ALLOCATE)
        assert stats(barqued, id_)["memory_stats"]["limit"] == 256 * MIB
        barqued.docker("kill", id_)
        expect_events(barqued, "survivor", since, "start", "oom", "die")


def test_pids(barqued: Engine) -> None:
    bomb = ("sh", "-c", "while :; do sleep 600 & done 2> /dev/null")  # until it cannot fork
    with container(barqued, "--pids-limit", "20", "busybox", "sleep", "600") as id_:

        def current() -> int:
            count: int = stats(barqued, id_)["pids_stats"]["current"]
            return count

        for limit in (20, 40):
            barqued.docker("update", "--pids-limit", str(limit), id_)
            barqued.docker("exec", "-d", id_, *bomb)
            wait_until(lambda limit=limit: current() >= limit - 1, "the bomb meets the limit")  # type: ignore[misc]
            assert current() <= limit
            begin = time.monotonic()
            assert id_[:12] in barqued.docker("ps", "-q")
            assert time.monotonic() - begin < 10
        assert barqued.docker("top", id_).count("sleep 600") >= 39


@pytest.fixture
def disk(barqued: Engine) -> Iterator[str]:
    if not losetup_is_here():
        pytest.skip("needs losetup and loop devices")
    with open_loop_device(barqued.root / "disk", 16 * MIB) as device:
        yield device


def transfer(engine: Engine, id_: str, *arguments: str) -> float:
    """Run dd inside; return the seconds that it took."""
    done = engine.cli("exec", id_, "sh", "-c", f"time dd {' '.join(arguments)}")
    match = re.search(r"real\s+([0-9]+)m ([0-9.]+)s", done.stderr)
    assert match is not None, done.stderr
    return int(match[1]) * 60 + float(match[2])


def test_writes_a_second(barqued: Engine, disk: str) -> None:
    device = ("--device", disk, "--device-write-iops", f"{disk}:50")
    with container(barqued, *device, "busybox", "sleep", "600") as id_:
        write = ("if=/dev/zero", f"of={disk}", "bs=4096", "count=200", "oflag=direct")
        repeat(lambda: 200 / transfer(barqued, id_, *write), 40, 60)
        update(barqued, id_, BlkioDeviceWriteIOps=[{"Path": disk, "Rate": 100}])
        repeat(lambda: 200 / transfer(barqued, id_, *write), 80, 120)


def test_bytes_read_a_second(barqued: Engine, disk: str) -> None:
    device = ("--device", disk, "--device-read-bps", f"{disk}:1mb")
    with container(barqued, *device, "busybox", "sleep", "600") as id_:
        read = (f"if={disk}", "of=/dev/null", "bs=65536", "count=64", "iflag=direct")
        repeat(lambda: 4 / transfer(barqued, id_, *read), 0.8, 1.2)
        update(barqued, id_, BlkioDeviceReadBps=[{"Path": disk, "Rate": 2 * MIB}])
        repeat(lambda: 4 / transfer(barqued, id_, *read), 1.6, 2.4)
        blocks = stats(barqued, id_)["blkio_stats"]["io_service_bytes_recursive"]
        assert sum(entry["value"] for entry in blocks if entry["op"].lower() == "read") >= 8 * MIB


@pytest.mark.skipif(cgroup_version() == 1, reason="version 1 lets any group hold processes")
def test_execs_where_the_container_has_made_groups(barqued: Engine) -> None:
    """As a systemd does: the first process goes into a group below, and limits others."""
    group = "/sys/fs/cgroup"
    script = (
        f"mkdir {group}/inner; echo 1 > {group}/inner/cgroup.procs; "
        f"echo +pids > {group}/cgroup.subtree_control; echo ready; exec sleep 600"
    )
    flags = ("--security-opt", "writable-cgroups=true")
    with container(barqued, *flags, "busybox", "sh", "-c", script) as id_:
        wait_until(lambda: barqued.docker("logs", id_) == "ready", "it has made its group")
        assert barqued.docker("exec", id_, "cat", "/proc/self/cgroup") == "0::/inner"


def test_cpus_that_may_be_used(barqued: Engine) -> None:
    with container(barqued, "--cpuset-cpus", "0", "busybox", "sleep", "600") as id_:
        assert barqued.docker("exec", id_, "nproc") == "1"
        barqued.docker("update", "--cpuset-cpus", "0-1", id_)
        assert barqued.docker("exec", id_, "nproc") == "2"
        refused = barqued.cli("update", "--cpuset-cpus", "0-4095", "-m", "100m", id_)
        assert refused.returncode == 1
        assert "Requested CPUs are not available" in refused.stderr


def test_pause(barqued: Engine) -> None:
    with container(barqued, "busybox", *BUSY) as id_:
        barqued.docker("pause", id_)
        assert measure_cpu(barqued, id_, seconds=0.5)[0] < 0.05
        barqued.docker("update", "--cpu-shares", "100", id_)
        assert barqued.docker("top", id_).count("while :") == 1
        barqued.docker("unpause", id_)
        repeat(lambda: measure_cpu(barqued, id_, seconds=0.5)[0], 0.05, 2)


def shape(value: Any) -> Any:
    """The names in a document and the kinds of its values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value).__name__


def test_stats_have_dockerds_shape(barqued: Engine, dockerd: Engine) -> None:
    seen = []
    for engine in (dockerd, barqued):
        limits = ("--network", "bridge", "-m", "64m", "--pids-limit", "100")
        id_ = engine.docker("run", "-d", *limits, "busybox", "sleep", "600")
        with docker_py.APIClient(base_url=engine.url) as api:
            full = api.stats(id_, stream=False)
            stream = api.stats(id_, decode=True)
            first, second = next(stream), next(stream)
            stream.close()
        row = engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", id_)
        engine.docker("rm", "-f", id_)
        ended = engine.docker("create", "busybox")
        seen.append([shape(each) for each in (full, first, second, stats(engine, ended))])
        engine.docker("rm", ended)
        assert row.endswith("/ 64MiB 1")
    assert seen[1] == seen[0]


def test_the_commands_show_numbers(barqued: Engine) -> None:
    with container(barqued, "--cpus", "0.5", "-m", "64m", "--name", "shown", "busybox", *BUSY):
        layout = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"
        line = barqued.docker("stats", "--no-stream", "--format", layout, "shown")
        name, cpu, used, _, limit, pids = line.split()
        assert (name, limit, pids) == ("shown", "64MiB", "1")
        assert 5 < float(cpu.rstrip("%")) < 60
        assert used.endswith(("KiB", "MiB"))
        program = str(Path(sys.executable).with_name("barque"))
        own = barqued.cli("-H", barqued.url, "stats", "--no-stream", program=program)
        assert own.returncode == 0, own.stderr
        assert "shown" in own.stdout
