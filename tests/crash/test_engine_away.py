"""What happens while the engine is away is known when it is back, and seen meanwhile."""

from __future__ import annotations

import datetime as dt
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from barque.shim.protocol import EXIT_RECORD
from support.agreement import settle
from support.engine import Engine
from support.scale import scaled
from support.waiting import wait_until
from support.wire import call, hijack


@pytest.fixture
def engine(barqued: Engine) -> Iterator[Engine]:
    yield barqued
    barqued.remove_containers()
    assert settle(barqued) == []


def _inspect(engine: Engine, name: str) -> Any:
    status, document = call(engine.socket, "GET", f"/containers/{name}/json")
    assert status == 200, document
    return document


def _finished_at(engine: Engine, name: str) -> float:
    return dt.datetime.fromisoformat(_inspect(engine, name)["State"]["FinishedAt"]).timestamp()


def _see_ends(engine: Engine, ids: Mapping[str, str]) -> dict[str, float]:
    """Return when each of the containers had left its exit record, at the latest."""
    seen: dict[str, float] = {}

    def look() -> bool:
        for name, id_ in ids.items():
            if (engine.exec_root / "shims" / id_ / EXIT_RECORD).exists():
                seen.setdefault(name, time.time())
        return seen.keys() == ids.keys()

    wait_until(look, "all have ended")
    return seen


def test_every_end_is_known_with_code_and_time(engine: Engine, tmp_path: Path) -> None:
    await_end = "until [ -e /away/away ]; do sleep 0.02; done; "

    def run(name: str, script: str, *flags: str) -> str:
        flags = ("-d", "--name", name, "-v", f"{tmp_path}:/away", *flags)
        return engine.docker("run", *flags, "busybox", "sh", "-c", script)

    codes = {f"e{number}": number * 7 for number in range(8)}
    ids = {
        name: run(name, f"{await_end} sleep 0.{number}; exit {code}")
        for number, (name, code) in enumerate(codes.items())
    }
    ids["by-signal"] = run("by-signal", "exec sleep 1000")
    ids["gone"] = run("gone", await_end, "--rm")
    fail_once = f"[ -e /x ] || {{ {await_end} touch /x; exit 1; }}; exec sleep 1000"
    ids["again"] = run("again", fail_once, "--restart", "on-failure:3")
    run("stays", "exec sleep 1000")
    killed = _inspect(engine, "by-signal")["State"]["Pid"]
    running = _inspect(engine, "stays")["State"]
    engine.kill()
    begin = time.time()
    (tmp_path / "away").touch()
    os.kill(killed, signal.SIGKILL)
    ends = _see_ends(engine, ids)
    engine.start()
    for number, (name, code) in enumerate([*codes.items(), ("by-signal", 137)]):
        assert engine.docker("wait", name) == str(code)
        least = begin + number / 10 if name in codes else begin
        assert least < _finished_at(engine, name) < ends[name]
    assert _inspect(engine, "stays")["State"] == running
    assert engine.cli("inspect", "gone").returncode == 1
    wait_until(
        lambda: engine.docker("inspect", "-f", "{{.State.Status}}", "again") == "running",
        "the policy starts the container again",
    )
    assert _inspect(engine, "again")["RestartCount"] == 1


def test_no_line_is_lost_or_doubled(engine: Engine) -> None:
    """A writer as fast as it can, and a follower for each life of the engine."""
    count = scaled(40_000)
    script = f"i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); done; echo end"
    engine.docker("run", "-d", "--name", "writer", "busybox", "sh", "-c", script)
    for _ in range(3):
        time.sleep(0.05)
        engine.kill()
        engine.start()
    wanted = [*map(str, range(count)), "end"]
    assert engine.docker("logs", "-f", "writer").split() == wanted
    assert engine.docker("logs", "writer").split() == wanted


def _read_frames(connection: socket.socket, until: bytes) -> bytes:
    """Return the output that comes up to ``until``, which must come."""
    seen = b""
    while until not in seen:
        header = connection.recv(8, socket.MSG_WAITALL)
        assert len(header) == 8, f"the stream ended after {seen!r}"
        seen += connection.recv(struct.unpack(">xxxxL", header)[0], socket.MSG_WAITALL)
    return seen


def _type_until_heard(typing: socket.socket, listening: socket.socket) -> None:
    """A client that has its reply is attached a moment later."""
    heard: list[socket.socket] = []
    while not heard:
        typing.sendall(b"more\n")
        _read_frames(typing, b"got more\n")
        heard, _, _ = select.select([listening], [], [], 0.1)


def test_attached_clients_stay_attached(engine: Engine) -> None:
    engine.docker("create", "-i", "--name", "c1", "busybox", "sh", "-c",
                  "while read line; do echo got $line; done; echo bye; exit 3")  # fmt: skip
    client = hijack(engine.socket, "/containers/c1/attach?stream=1&stdin=1&stdout=1&stderr=1")
    engine.docker("start", "c1")
    client.sendall(b"one\n")
    _read_frames(client, b"got one\n")
    engine.kill()
    client.sendall(b"two\n")
    _read_frames(client, b"got two\n")
    engine.start()
    second = hijack(engine.socket, "/containers/c1/attach?stream=1&stdout=1")
    _type_until_heard(client, second)
    client.sendall(b"three\n")
    _read_frames(client, b"got three\n")
    _read_frames(second, b"got three\n")
    client.shutdown(socket.SHUT_WR)
    _read_frames(client, b"bye\n")
    assert client.recv(1) == b""
    _read_frames(second, b"bye\n")
    assert second.recv(1) == b""
    assert engine.docker("wait", "c1") == "3"
    client.close()
    second.close()


@pytest.mark.parametrize("tty", [False, True])
def test_execs_go_on(engine: Engine, *, tty: bool) -> None:
    """One ends while the engine is away, one after; both clients see everything."""
    engine.docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
    streams = {}
    for name in ("short", "long"):
        body = {"Cmd": ["sh", "-c", f"echo up; read x; echo {name} $x; exit 4"], "Tty": tty}
        body |= {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
        _, made = call(engine.socket, "POST", "/containers/c1/exec", body)
        streams[name] = (
            made["Id"],
            hijack(engine.socket, f"/exec/{made['Id']}/start", {"Detach": False, "Tty": tty}),
        )
        _read(streams[name][1], b"up", tty=tty)
    engine.kill()
    streams["short"][1].sendall(b"away\n")
    _read(streams["short"][1], b"short away", tty=tty)
    _read_to_end(streams["short"][1])
    engine.start()
    (id_, client) = streams["long"]
    assert call(engine.socket, "GET", f"/exec/{id_}/json")[1]["Running"] is True
    client.sendall(b"back\n")
    _read(client, b"long back", tty=tty)
    _read_to_end(client)
    for id_, client in streams.values():
        document = call(engine.socket, "GET", f"/exec/{id_}/json")[1]
        assert (document["Running"], document["ExitCode"]) == (False, 4), json.dumps(document)
        client.close()


def _read(connection: socket.socket, until: bytes, *, tty: bool) -> None:
    if not tty:
        _read_frames(connection, until)
        return
    seen = b""
    while until not in seen:
        data = connection.recv(4096)
        assert data, f"the stream ended after {seen!r}"
        seen += data


def _read_to_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass
