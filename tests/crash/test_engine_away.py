"""What happens while the engine is away is known when it is back, and seen meanwhile."""

from __future__ import annotations

import datetime as dt
import json
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.agreement import settle
from support.engine import Engine
from support.scale import scaled
from support.waiting import wait_until
from support.wire import call, hijack

AWAY_S = 1.5


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
    text = re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", _inspect(engine, name)["State"]["FinishedAt"])
    return dt.datetime.fromisoformat(text).timestamp()


def test_every_end_is_known_with_code_and_time(engine: Engine) -> None:
    begins = {}
    for code in range(8):
        script = f"sleep 1.{code}; exit {code * 7}"
        engine.docker("run", "-d", "--name", f"e{code}", "busybox", "sh", "-c", script)
        begins[code] = time.time()
    engine.docker("run", "-d", "--name", "by-signal", "busybox", "sh", "-c", "sleep 1; kill -9 $$")
    engine.docker("run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "1")
    engine.docker("run", "-d", "--restart", "on-failure:3", "--name", "again", "busybox",
                  "sh", "-c", "sleep 1; [ -e /x ] || { touch /x; exit 1; }; sleep 1000")  # fmt: skip
    engine.docker("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
    running = _inspect(engine, "stays")["State"]
    engine.kill()
    time.sleep(AWAY_S + 1)
    engine.start()
    for code, begin in begins.items():
        assert engine.docker("wait", f"e{code}") == str(code * 7)
        late = _finished_at(engine, f"e{code}") - begin - 1 - code / 10
        assert -0.5 < late < 1, f"e{code} is said to have ended {late:.2f} s late"
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
