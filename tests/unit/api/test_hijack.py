"""Raw streams: attach and exec start over a real socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from barque.api.hijack import parse_detach_keys
from barque.engine.shims import StartFailure
from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig
from barque.models.container import ContainerState
from support.api_engine import Site, client_socket, make_record, read_answer, read_head, serving

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask(site: Site, target: str, head: bytes = UPGRADE, rest: bytes = b"") -> Ends:
    reader, writer = await site.open()
    writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s" % (target.encode(), head, rest))
    await writer.drain()
    return reader, writer


async def recv(connected: socket.socket, size: int = 65536) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(connected, size)


async def send(connected: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connected, data)


def run(test: Any) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(20), serving() as site:
            site.engine.containers.add(make_record(1, name="c"))
            await test(site)

    asyncio.run(guarded())


@pytest.mark.parametrize(
    ("prefix", "upgrade", "tty", "content_type"),
    [
        ("", True, False, "application/vnd.docker.multiplexed-stream"),
        ("", True, True, "application/vnd.docker.raw-stream"),
        ("/v1.41", True, False, "application/vnd.docker.raw-stream"),
        ("", False, False, "application/vnd.docker.raw-stream"),
    ],
)
@pytest.mark.parametrize("early", [b"", b"early bytes", b"GET /not-a-request HTTP/1.1\r\n\r\n"])
def test_attach_both_ways_with_early_bytes_and_half_close(
    prefix: str, upgrade: bool, tty: bool, content_type: str, early: bytes
) -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(
            make_record(1, name="c", config=ContainerConfig(tty=tty, image="busybox:latest"))
        )
        target = f"{prefix}/containers/c/attach?stdin=1&stdout=1&stream=1"
        reader, writer = await ask(site, target, UPGRADE if upgrade else b"", early)
        got_status, headers = await read_head(reader)
        assert (got_status, headers["Content-Type"]) == (101 if upgrade else 200, content_type)
        assert ("Upgrade" in headers) is upgrade
        client = await site.engine.containers.clients.get()
        assert (client.stdin, client.stdout, client.stderr) == (True, True, False)
        assert client.multiplexed is not tty
        assert client.detach_keys == (b"\x10\x11" if tty else b"")
        with client_socket(client) as engine:
            received = b""
            while len(received) < len(early):
                received += await recv(engine)
            writer.write(b"more")
            while len(received) < len(early) + 4:
                received += await recv(engine)
            assert received == early + b"more"
            writer.write_eof()
            assert await recv(engine) == b""
            await send(engine, b"output after the end of stdin")
            engine.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"output after the end of stdin"
        writer.close()

    run(test)


def test_a_request_in_pieces_and_an_early_half_close_lose_nothing() -> None:
    async def test(site: Site) -> None:
        reader, writer = await site.open()
        for piece in (b"POST /containers/c/attach?st", b"din=1&stream=1 HTTP/1.1\r\nHost: x\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        writer.write(UPGRADE + b"\r\nall of it")
        writer.write_eof()
        assert (await read_head(reader))[0] == 101
        with client_socket(await site.engine.containers.clients.get()) as engine:
            assert await recv(engine) == b"all of it"
            assert await recv(engine) == b""
            await send(engine, b"answer")
            engine.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"answer"
        writer.close()

    run(test)


def test_without_early_bytes_the_engine_gets_the_clients_own_socket() -> None:
    async def test(site: Site) -> None:
        reader, writer = await ask(site, "/containers/c/attach?stdout=1&stream=1")
        assert (await read_head(reader))[0] == 101
        with client_socket(await site.engine.containers.clients.get()) as engine:
            assert engine.getsockname() == site.path
            payload = b"x" * 3_000_000
            sent = asyncio.create_task(send(engine, payload))
            assert await reader.readexactly(len(payload)) == payload
            await sent
        writer.close()

    run(test)


def test_errors_come_before_the_switch_and_the_connection_goes_on() -> None:
    async def test(site: Site) -> None:
        paused = ContainerState(running=True, paused=True, started_at="2026-01-01T00:00:00Z")
        site.engine.containers.add(make_record(2, name="paused", state=paused))
        reader, writer = await ask(site, "/containers/none/attach?stream=1")
        answer = await read_answer(reader)
        assert (answer.status, answer.message) == (404, "No such container: none")
        writer.write(b"POST /containers/paused/attach HTTP/1.1\r\nHost: x\r\n%s\r\n" % UPGRADE)
        assert (await read_answer(reader)).status == 409
        writer.write(b"POST /containers/c/attach?detachKeys=xyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).status == 400
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).body == b"OK"
        writer.close()

    run(test)


async def make_exec(site: Site, **config: Any) -> str:
    answer = await site.send("POST", "/containers/c/exec", {"Cmd": ["sh"], **config})
    assert answer.status == 201
    return str(answer.json()["Id"])


def with_body(body: bytes, head: bytes = UPGRADE) -> tuple[bytes, bytes]:
    return (
        head + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body),
        body,
    )


@pytest.mark.parametrize("early", [b"", b"typed ahead"])
@pytest.mark.parametrize("head", [UPGRADE, b""])
def test_exec_start_reads_its_body_and_keeps_what_follows(early: bytes, head: bytes) -> None:
    async def test(site: Site) -> None:
        exec_id = await make_exec(site, AttachStdin=True, AttachStdout=True)
        headers, body = with_body(b'{"Detach":false,"Tty":false}', head)
        reader, writer = await ask(site, f"/exec/{exec_id}/start", headers, body + early)
        assert (await read_head(reader))[0] == (101 if head else 200)
        client = await site.engine.execs.clients.get()
        assert client.multiplexed
        with client_socket(client) as engine:
            writer.write(b"!")
            received = b""
            while not received.endswith(b"!"):
                received += await recv(engine)
            assert received == early + b"!"
            engine.shutdown(socket.SHUT_WR)
            assert await reader.read() == b""
        writer.close()

    run(test)


def test_an_exec_that_cannot_start_says_so_in_its_output_or_its_status() -> None:
    async def test(site: Site) -> None:
        exec_id = await make_exec(site, AttachStdout=True)
        text = 'exec: "nope": executable file not found in $PATH'
        site.engine.execs.failure = StartFailure(text, 127)
        headers, body = with_body(b"{}")
        reader, writer = await ask(site, f"/exec/{exec_id}/start", headers, body)
        assert (await read_head(reader))[0] == 101
        frame = await reader.read()
        assert frame[:8] == bytes([1, 0, 0, 0, 0, 0, 0, len(text) + 2])
        assert frame[8:] == text.encode() + b"\r\n"
        writer.close()
        answer = await site.send("POST", f"/exec/{exec_id}/start", {"Detach": True})
        assert (answer.status, answer.message) == (400, text)

    run(test)


def test_exec_console_size_needs_a_terminal_and_1_42() -> None:
    async def test(site: Site) -> None:
        exec_id = await make_exec(site)
        for prefix, tty in (("", True), ("", False), ("/v1.41", True)):
            body = {"Detach": True, "Tty": tty, "ConsoleSize": [24, 80]}
            answer = await site.send("POST", f"{prefix}/exec/{exec_id}/start", body)
            assert (answer.status, answer.body) == (200, b"")
        assert [call[4] for call in site.engine.execs.calls] == [(24, 80), None, None]
        assert (await site.send("POST", "/exec/none/start", {})).status == 404

    run(test)


def test_the_pump_ends_with_the_server_and_leaves_no_descriptor() -> None:
    async def test(site: Site) -> None:
        reader, writer = await ask(site, "/containers/c/attach?stdin=1&stream=1", rest=b"early")
        await read_head(reader)
        with client_socket(await site.engine.containers.clients.get()) as engine:
            assert await recv(engine) == b"early"
            await site.server.close(0.1)
            assert await recv(engine) == b""
            assert await reader.read() == b""
        writer.close()

    run(test)


def test_detach_keys() -> None:
    assert parse_detach_keys("") == b"\x10\x11"
    assert (
        parse_detach_keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_") == b"\0\x1b\x1c\x1d\x1e\x1f"
    )
    assert parse_detach_keys("a,B,ctrl-z,DEL") == b"aB\x1a\x7f"
    for wrong in ("ctrl-", "ab", "ctrl-1", "a,,b", "ä"):
        with pytest.raises(InvalidArgument):
            parse_detach_keys(wrong)
