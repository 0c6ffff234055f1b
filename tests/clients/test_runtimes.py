"""Containers of other OCI runtimes, by the stock command line: as with barque's own.

Needs root and crun or runc. crun 1.8 runs nothing where version 2 of control groups has controllers
beside version 1: the engine is started where that hierarchy is not seen.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import census
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.rootfs import find_distribution
from support.terminal import Terminal
from support.waiting import wait_until

BARQUED = Path(sys.executable).with_name("barqued")
_HIDE_UNIFIED = (
    *("unshare", "--mount", "--propagation", "slave", "sh", "-c"),
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"',
    "sh",
)


@pytest.fixture(scope="module", params=["crun", "runc", "barque"])
def engine(request: pytest.FixtureRequest, busybox_tar: Path) -> Iterator[Engine]:
    """An engine whose default runtime is the one under test."""
    name: str = request.param
    if os.geteuid() or not docker_cli_is_here():
        pytest.skip("needs root and the docker command line")
    flags = ["--default-runtime", name]
    if name != "barque":
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"needs {name}")
        flags += ["--add-runtime", f"{name}={path}"]
    with open_barqued(*flags, program=[*_HIDE_UNIFIED, str(BARQUED)]) as opened:
        opened.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        yield opened


@pytest.fixture(autouse=True)
def no_leaks(engine: Engine) -> Iterator[None]:
    engine.docker("run", "--rm", "busybox", "true")
    before = census.take_at_rest(engine)
    yield
    if engine.process is None:
        engine.start()
        before.found.pop("descriptor")
        before.found.pop("child of the engine")
    engine.remove_containers()
    until = time.monotonic() + census.SETTLE_S
    while (leaks := _leaks(before, engine)) and time.monotonic() < until:
        time.sleep(0.1)
    assert leaks == []


def _leaks(before: census.Census, engine: Engine) -> list[str]:
    kinds = tuple(before.found)
    kept = ("file: data/seccomp", "file: data/trash")  # compiled profiles; emptied by and by
    found = census.take(engine).leaks(before)
    return [leak for leak in found if leak.startswith(kinds) and not leak.startswith(kept)]


def _run(engine: Engine, *arguments: str) -> tuple[int, str]:
    done = engine.cli("run", "--rm", *arguments)
    return done.returncode, done.stdout.strip()


def _start(engine: Engine, *flags: str, script: str = "exec sleep 1000") -> None:
    engine.docker("run", "-d", "--name", "c1", *flags, "busybox", "sh", "-c", script)


def _state(engine: Engine, field: str, name: str = "c1") -> str:
    return engine.docker("inspect", "-f", f"{{{{.State.{field}}}}}", name)


def test_it_is_shown(engine: Engine) -> None:
    name = engine.docker("info", "-f", "{{.DefaultRuntime}}")
    assert name in engine.docker("info", "-f", "{{.Runtimes}}")
    _start(engine)
    assert engine.docker("inspect", "-f", "{{.HostConfig.Runtime}}", "c1") == name


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137),
        (("nonesuch",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_exit_codes(engine: Engine, command: tuple[str, ...], code: int) -> None:
    assert _run(engine, "busybox", *command)[0] == code


@pytest.mark.parametrize(
    ("flags", "script", "said"),
    [
        ((), "id -u; id -g", "0\n0"),
        (("-u", "daemon"), "id -un", "daemon"),
        (("-u", "1234:5678"), "id -u; id -g", "1234\n5678"),
        (("-u", "daemon", "--group-add", "wheel"), "id -Gn", "daemon wheel"),
        (("-w", "/made/up"), "pwd", "/made/up"),
        (("-e", "A=b"), "echo $A $HOME", "b /root"),
        (("--hostname", "box"), "hostname", "box"),
        (("--read-only", "--tmpfs", "/t"), "touch /x 2>/dev/null || touch /t/x && echo ok", "ok"),
        (("--network", "none"), "ip -o link | wc -l", "1"),
        (
            ("-v", "/etc:/host:ro"),
            "touch /host/x 2>/dev/null || test -e /host/passwd; echo $?",
            "0",
        ),
        (("--sysctl", "net.ipv4.ip_forward=1"), "cat /proc/sys/net/ipv4/ip_forward", "1"),
        (("--shm-size", "1m"), "df -k /dev/shm | tail -1 | awk '{print $2}'", "1024"),
        (("--ulimit", "nofile=100:200"), "ulimit -n; ulimit -Hn", "100\n200"),
        (("--cap-drop", "ALL"), "grep CapEff /proc/self/status | cut -f2", "0" * 16),
        (("--security-opt", "no-new-privileges"), "grep NoNew /proc/self/status | cut -f2", "1"),
        ((), "grep -c '^Seccomp:.2' /proc/self/status", "1"),
        (("--privileged",), "test -e /dev/loop-control && test -w /sys && echo all", "all"),
        ((), "cat /proc/1/cmdline | tr '\\0' ' ' | cut -c1-5", "sh -c"),
    ],
)
def test_settings(engine: Engine, flags: tuple[str, ...], script: str, said: str) -> None:
    assert _run(engine, *flags, "busybox", "sh", "-c", script) == (0, said)


def test_a_container_s_life(engine: Engine) -> None:
    _start(engine, script="trap 'exit 3' TERM; echo began; while :; do sleep 0.05; done")
    wait_until(lambda: engine.docker("logs", "c1") == "began", "the output is in the log")
    assert "while :" in engine.docker("top", "c1")
    engine.docker("pause", "c1")
    assert _state(engine, "Status") == "paused"
    engine.docker("unpause", "c1")
    engine.docker("stop", "c1")
    assert _state(engine, "ExitCode") == "3"
    engine.docker("start", "c1")
    engine.docker("kill", "c1")
    assert _state(engine, "ExitCode") == "137"
    engine.docker("restart", "c1")
    engine.docker("rm", "-f", "c1")


def test_execs(engine: Engine) -> None:
    _start(engine, "-e", "A=b", "-w", "/tmp")
    assert engine.docker("exec", "c1", "sh", "-c", "echo $A; pwd") == "b\n/tmp"
    assert engine.docker("exec", "-u", "daemon", "c1", "id", "-un") == "daemon"
    assert engine.cli("exec", "c1", "sh", "-c", "exit 9").returncode == 9
    assert engine.cli("exec", "c1", "nonesuch").returncode == 127
    assert engine.cli("exec", "-i", "c1", "cat", stdin=b"through").stdout == "through"
    engine.docker("exec", "-d", "c1", "sleep", "1000")
    wait_until(lambda: "sleep 1000" in engine.docker("top", "c1"), "the detached exec runs")
    many = [engine.docker("exec", "c1", "echo", str(number)) for number in range(5)]
    assert many == list("01234")
    engine.docker("stop", "-t", "0", "c1")


def test_terminals(engine: Engine) -> None:
    _start(engine)
    environment = engine.client_environment() | {"TERM": "xterm"}
    command = ["docker", "exec", "-it", "c1", "sh"]
    with Terminal(command, environment, rows=31, columns=97) as terminal:
        terminal.expect("# ")
        terminal.expect_size(31, 97)
        terminal.expect("# ")
        terminal.resize(40, 80)
        terminal.expect_size(40, 80)
        terminal.expect("# ")
        terminal.type("exit 5\n")
        assert terminal.wait() == 5
    with Terminal(["docker", "run", "--rm", "-it", "busybox"], environment) as terminal:
        terminal.expect("# ")
        terminal.type("tty\n")
        terminal.expect("/dev/pts/0")
        terminal.type("exit 6\n")
        assert terminal.wait() == 6


def test_limits(engine: Engine) -> None:
    _start(engine, "-m", "64m", "--pids-limit", "50")
    engine.docker("update", "--memory", "32m", "--memory-swap", "32m", "c1")
    assert "32MiB" in engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "c1")
    hungry = ("--name", "c2", "-m", "16m", "busybox", "sh", "-c", "tail /dev/zero")
    assert engine.cli("run", *hungry).returncode == 137
    assert _state(engine, "OOMKilled", "c2") == "true"


def test_networks_names_and_sharing(engine: Engine) -> None:
    engine.docker("network", "create", "net1")
    try:
        page = "echo hello >/tmp/index.html; exec httpd -f -h /tmp"
        _start(engine, "--network", "net1", "-p", "127.0.0.1:18099:80", script=page)
        get = ("wget", "-qO-")
        assert _run(engine, "--network", "net1", "busybox", *get, "http://c1/") == (0, "hello")
        shared = ("--network", "container:c1", "busybox")
        assert _run(engine, *shared, *get, "http://127.0.0.1/") == (0, "hello")
        code, said = _run(engine, "--pid", "container:c1", "busybox", "ps")
        assert code == 0
        assert "httpd" in said
    finally:
        engine.remove_containers()
        engine.docker("network", "rm", "net1")


def test_volumes_are_filled(engine: Engine) -> None:
    volume = ("-v", "vol1:/etc")
    try:
        code, _ = _run(engine, *volume, "busybox", "sh", "-c", "echo x >/etc/mine; ls /etc/passwd")
        assert code == 0
        assert _run(engine, *volume, "busybox", "cat", "/etc/mine") == (0, "x")
    finally:
        engine.docker("volume", "rm", "vol1")


@pytest.mark.parametrize("graceful", [True, False])
def test_the_engine_comes_and_goes(engine: Engine, *, graceful: bool) -> None:
    _start(engine, "--stop-signal", "KILL", script="while :; do echo tick; sleep 0.2; done")
    before = _state(engine, "Pid")
    if graceful:
        engine.stop()
    else:
        engine.kill()
    engine.start()
    assert _state(engine, "Running") == "true"
    assert _state(engine, "Pid") == before
    assert engine.docker("exec", "c1", "echo", "still") == "still"
    assert engine.cli("exec", "c1", "nonesuch").returncode == 127
    engine.docker("run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 1; exit 4")
    engine.kill()
    engine.start()
    assert engine.docker("wait", "short") == "4"
    engine.docker("stop", "c1")
    assert _state(engine, "ExitCode") == "137"


def test_a_killed_shim_leaves_nothing(engine: Engine) -> None:
    _start(engine)
    pid = int(_state(engine, "Pid"))
    status = Path(f"/proc/{pid}/status").read_text()
    (parent,) = (line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    os.kill(int(parent), 9)
    wait_until(lambda: _state(engine, "Running") == "false", "the engine has heard of it")
    engine.docker("start", "c1")
    assert engine.docker("exec", "c1", "echo", "again") == "again"


def test_refusals(engine: Engine) -> None:
    unknown = engine.cli("run", "--rm", "--runtime", "nonesuch", "busybox", "true")
    assert "unknown or invalid runtime name: nonesuch" in unknown.stderr
    if engine.docker("info", "-f", "{{.DefaultRuntime}}") == "barque":
        return
    init = engine.cli("run", "--rm", "--init", "busybox", "true")
    assert "use --runtime barque" in init.stderr
    assert _run(engine, "--init", "--runtime", "barque", "busybox", "true") == (0, "")


@pytest.mark.skipif(find_distribution("alpine-3.20") is None, reason="needs BARQUE_TEST_IMAGES")
def test_another_distribution(engine: Engine) -> None:
    engine.docker("import", str(find_distribution("alpine-3.20")), "alpine")
    code, said = _run(engine, "alpine", "cat", "/etc/alpine-release")
    assert (code, said.startswith("3.20")) == (0, True)
    engine.docker("rmi", "alpine")
