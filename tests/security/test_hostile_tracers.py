"""Containers that stop and take apart each process that is made in them (CVE-2016-9962)."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import lingerer, tracer
from support.attackers import PYTHON, python_flags
from support.engine import Engine, open_barqued
from support.secret import SECRET, secret_environment
from support.waiting import wait_until
from support.weakenings import engine_program
from support.wire import call, hijack

TRACER = "/tracer.py"
PTRACE = ("--cap-add", "SYS_PTRACE")
REFUSES_DESCRIPTORS = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 16)
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture(scope="module")
def weak(busybox_tar: Path) -> Iterator[Engine]:
    """An engine whose execs are in the container before they have changed, as they were once."""
    program = engine_program("execs of the spawner are weak")
    with secret_environment(), open_barqued(prefix="weak-", program=program) as engine:
        engine.docker("import", str(busybox_tar), "busybox")
        yield engine


@pytest.fixture
def weak_reports(busybox_tar: Path) -> Iterator[Engine]:
    """An engine whose shims receive descriptors from whoever reports."""
    program = engine_program("shims take descriptors")
    with open_barqued(prefix="weak-", program=program) as engine:
        engine.docker("import", str(busybox_tar), "busybox")
        yield engine


class Traced:
    """A container with a tracer in it, the Python ``file``, which says when it is ready."""

    def __init__(self, engine: Engine, file: str, arguments: tuple[str, ...], *flags: str) -> None:
        self._engine = engine
        program = ("-v", f"{file}:{TRACER}:ro")
        watch = (PYTHON, "-I", TRACER, *arguments)
        self.id = engine.docker("run", "-d", *flags, *program, *python_flags(), "busybox", *watch)
        wait_until(lambda: "ready" in self.said(), "it watches")

    def execute(self, command: list[str], **more: Any) -> str:
        """Exec, to the end; what the program said."""
        body = {"Cmd": command, "AttachStdout": True, **more}
        _, made = call(self._engine.socket, "POST", f"/containers/{self.id}/exec", body)
        start = {"Tty": more.get("Tty", False)}
        with hijack(self._engine.socket, f"/exec/{made['Id']}/start", start) as stream:
            return _read(stream).decode(errors="replace")

    def said(self) -> list[str]:
        """The tracer's lines."""
        return self._engine.docker("logs", self.id).splitlines()

    def remove(self) -> None:
        self._engine.docker("rm", "-f", self.id)


class Watched(Traced):
    """A container that looks at what comes up in it."""

    def __init__(self, engine: Engine, secret: Path, *flags: str) -> None:
        secret.write_text(SECRET)
        super().__init__(engine, str(tracer.__file__), (str(secret), SECRET), *flags)

    def found(self) -> tuple[int, list[dict[str, Any]]]:
        """How many were caught before their program, and what was seen of any."""
        lines = self.said()
        early = [int(line.split()[1]) for line in lines if line.startswith("early")]
        return max(early, default=0), [json.loads(line) for line in lines if line.startswith("{")]


def _read(stream: socket.socket) -> bytes:
    data = b""
    while received := stream.recv(4096):
        data += received
    return data


def rights(watched: Watched, **more: Any) -> dict[str, str]:
    """The capabilities of a program that is exec'ed so."""
    text = watched.execute(["grep", "^Cap", "/proc/self/status"], **more)
    words = text[text.index("CapInh") :].split()
    return {name: words[words.index(f"{name}:") + 1] for name in CAPABILITIES}


def misses(seen: dict[str, Any], most: dict[str, str]) -> bool:
    """Whether the process was nothing but what its program is."""
    more = [name for name in CAPABILITIES if int(seen[name], 16) & ~int(most[name], 16)]
    leads_out = seen["root"] or seen["cwd"] or seen["secret"] or seen["open"]
    return not more and not leads_out and seen["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("times", "more"),
    [
        pytest.param(200, {}, id="root"),
        pytest.param(40, {"User": "nobody"}, id="nobody"),
        pytest.param(40, {"Tty": True}, id="terminal"),
        pytest.param(40, {"Privileged": True}, id="privileged"),
    ],
)
def test_tracers_see_execs_as_they_will_be(
    engine: Engine, tmp_path: Path, times: int, more: dict[str, Any]
) -> None:
    watched = Watched(engine, tmp_path / "secret", *PTRACE)
    # A user's program loses what his process has of the container's when it begins.
    most = rights(watched, **{name: value for name, value in more.items() if name != "User"})
    for _ in range(times):
        watched.execute(["true"], **more)
    early, seen = watched.found()
    watched.remove()
    assert early, "none was caught before its program"
    assert [s for s in seen if not misses(s, most)] == []


def test_tracers_see_health_checks_as_they_will_be(engine: Engine, tmp_path: Path) -> None:
    check = ("--health-cmd", "true", "--health-interval", "20ms")
    watched = Watched(engine, tmp_path / "secret", *PTRACE, *check)
    most = rights(watched)
    wait_until(lambda: watched.found()[0] >= 10, "some were caught before their program", 60)
    _, seen = watched.found()
    watched.remove()
    assert [s for s in seen if not misses(s, most)] == []


def test_who_may_not_trace_sees_nothing_of_stronger_execs(engine: Engine, tmp_path: Path) -> None:
    watched = Watched(engine, tmp_path / "secret")
    for _ in range(40):
        watched.execute(["true"], Privileged=True)
    _, seen = watched.found()
    watched.remove()
    assert seen
    assert [s for s in seen if s["traced"] or s["root"] or s["cwd"] or s["open"]] == []


def test_tracers_follow_execs_out_that_are_branched_off_at_once(
    weak: Engine, tmp_path: Path
) -> None:
    watched = Watched(weak, tmp_path / "secret", *PTRACE)
    most = rights(watched)
    deadline = time.monotonic() + 60
    seen: list[dict[str, Any]] = []
    while time.monotonic() < deadline and not any(s["root"] for s in seen):
        watched.execute(["true"])
        _, seen = watched.found()
    watched.remove()
    assert any(s["root"] for s in seen)
    assert any(s["Seccomp"] == "0" and not misses(s, most) for s in seen)


OPEN_MAPPED = """\
for file in /proc/1/map_files/*; do
    (exec 3<>$file) 2> /dev/null && readlink $file
done
true
"""


def stall(engine: Engine, *, tty: bool, enough: int) -> tuple[float, set[str]]:
    """Exec beside who sends shims what they cannot let go of, until that was done ``enough`` times
    or the shim stands still: the longest that an exec took, in seconds, and what came of it.
    """
    traced = Traced(engine, lingerer.__file__, (), *PTRACE)
    took = 0.0
    deadline = time.monotonic() + 60
    while len(traced.said()) <= enough and took < lingerer.LINGER_S / 2:
        assert time.monotonic() < deadline, "none was caught before its program"
        before = time.monotonic()
        traced.execute(["true"], Tty=tty)
        took = max(took, time.monotonic() - before)
    told = set(traced.said()) - {"ready"}
    traced.remove()
    return took, told


@pytest.mark.skipif(not REFUSES_DESCRIPTORS, reason="needs SO_PASSRIGHTS (Linux 6.16)")
@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_tracers_send_shims_no_descriptors(engine: Engine, tty: bool) -> None:
    took, told = stall(engine, tty=tty, enough=10)
    assert told == {"EPERM"}
    assert took < lingerer.LINGER_S / 2


def test_shims_that_take_descriptors_stand_still(weak_reports: Engine) -> None:
    took, told = stall(weak_reports, tty=False, enough=200)
    assert "sent" in told
    assert took > lingerer.LINGER_S / 2


def open_libraries(engine: Engine) -> list[str]:
    """Open for writing, in a container, what its PID 1 has mapped: the host's files that it could."""
    flags = ("--init", *PTRACE, "--cap-add", "SYS_ADMIN")
    said = engine.docker("run", "--rm", *flags, "busybox", "sh", "-c", OPEN_MAPPED)
    return [line for line in said.splitlines() if not line.startswith("/memfd:")]


def test_libraries_of_the_first_process_cannot_be_written(engine: Engine) -> None:
    assert open_libraries(engine) == []


def test_libraries_can_be_written_where_they_were_mapped_as_they_are(weak: Engine) -> None:
    """The weakened build's spawner has loaded everything by the host's mounts."""
    assert any("/libc" in path for path in open_libraries(weak))
