"""Stock clients against the API on an engine in memory: the docker command line, docker-py."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from barque.engine.handle import WaitResult
from barque.engine.logfiles import LogEntry
from barque.engine.shims import Client
from support.api_engine import (
    IMAGE_ID,
    Site,
    client_socket,
    make_record,
    serving,
)


class Background:
    """A site served from a thread of its own, for clients that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.site: Site
        self._done: asyncio.Event
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        async with serving() as self.site:
            for number in range(1, 4):
                self.site.engine.containers.add(make_record(number))
            self.ready.set()
            await self._done.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._done.set)
        self._thread.join(20)


@pytest.fixture
def served() -> Iterator[Background]:
    with Background() as background:
        yield background


async def docker(site: Site, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    program = shutil.which("docker")
    if program is None:
        pytest.skip("needs the docker command line")
    environment = {**os.environ, "DOCKER_HOST": f"unix://{site.path}", "DOCKER_CONFIG": "/none"}
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=-1, stdout=-1, stderr=-1, env=environment
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def test_the_docker_command_line_reads() -> None:
    async def scenario() -> None:
        async with serving() as site:
            for number in range(1, 4):
                site.engine.containers.add(make_record(number))

            async def show(*arguments: str) -> str:
                code, out, err = await docker(site, *arguments)
                assert code == 0, err
                return out

            assert (await show("ps", "--format", "{{.Names}}")).split() == ["c3", "c2", "c1"]
            assert (await show("ps", "-q", "--no-trunc", "-f", "name=c2")).strip() == f"{2:064x}"
            assert "Up " in await show("ps")
            assert await show("version", "-f", "{{.Server.APIVersion}}") == "1.51\n"
            template = "{{.NetworkSettings.IPAddress}} {{.State.Status}} {{.HostConfig.ShmSize}}"
            assert await show("inspect", "-f", template, "c1") == "172.17.0.2 running 67108864\n"
            assert await show("info", "-f", "{{.Driver}} {{.Swarm.LocalNodeState}}") == (
                "overlay inactive\n"
            )
            assert "abababababab" in await show("images")
            assert (await show("images", "-q", "--no-trunc", "busybox")).strip() == IMAGE_ID
            document = json.loads(await show("image", "inspect", "busybox"))
            assert document[0]["Id"] == IMAGE_ID
            assert "busybox:latest" not in await show("history", "busybox")
            assert await show("volume", "ls", "-q") == "data\nother\n"
            assert (await show("network", "ls", "--format", "{{.Name}}")).split() == [
                "bridge",
                "host",
                "none",
            ]
            assert "Local Volumes" in await show("system", "df")
            assert await show("top", "c1") == "PID                 CMD\n1                   sleep\n"
            site.engine.containers.entries = [LogEntry("hello\n", "stdout", "2026-01-01T00:00:00Z")]
            assert await show("logs", "c1") == "hello\n"
            site.engine.containers.warnings = ["watch out"]
            code, _, err = await docker(site, "create", "busybox")
            assert code == 0
            assert "watch out" in err
            code, _, err = await docker(site, "service", "ls")
            assert code == 1
            assert "not a swarm manager" in err
            code, _, err = await docker(
                site, "plugin", "install", "--grant-all-permissions", "sshfs"
            )
            assert code == 1
            assert "not implemented by barque yet" in err

    asyncio.run(scenario())


async def _echo(client: Client) -> None:
    """What `cat` does, in frames."""
    loop = asyncio.get_running_loop()
    with client_socket(client) as connected:
        while data := await loop.sock_recv(connected, 65536):
            header = bytes([1, 0, 0, 0]) + len(data).to_bytes(4, "big")
            await loop.sock_sendall(connected, header + data)
        connected.shutdown(socket.SHUT_WR)


def test_docker_run_and_exec_stream_through_the_hijacked_connection() -> None:
    async def scenario() -> None:
        async with serving() as site:
            containers, execs = site.engine.containers, site.engine.execs

            async def attach_and_end() -> None:
                await _echo(await containers.clients.get())
                (waiting,) = containers.waits.values()
                waiting.set_result(WaitResult(7, ""))

            running = asyncio.create_task(attach_and_end())
            data = os.urandom(300_000).hex().encode()
            code, out, err = await docker(
                site, "run", "-i", "--name", "n", "busybox", "cat", stdin=data
            )
            await running
            assert (code, out, err) == (7, data.decode(), "")
            calls = [call[0] for call in containers.calls]
            assert calls == ["create", "attach", "wait", "start"]

            containers.add(make_record(1, name="c"))
            echoing = asyncio.create_task(_finish_exec(site))
            code, out, err = await docker(site, "exec", "-i", "c", "cat", stdin=b"typed")
            await echoing
            assert (code, out, err) == (0, "typed", "")
            assert execs.calls[0][0] == "start"

    asyncio.run(scenario())


async def _finish_exec(site: Site) -> None:
    client = await site.engine.execs.clients.get()
    (exec_id,) = site.engine.execs.records
    record = site.engine.execs.records[exec_id]
    site.engine.execs.records[exec_id] = type(record)(
        id=record.id, container_id=record.container_id, cmd=["cat"], env=[], exit_code=0
    )
    await _echo(client)


def test_docker_py(served: Background) -> None:
    docker_py = pytest.importorskip("docker")
    client = docker_py.DockerClient(base_url=f"unix://{served.site.path}", version="auto")
    try:
        assert client.ping()
        assert client.version()["ApiVersion"] == "1.51"
        assert client.info()["OSType"] == "linux"
        assert [c.name for c in client.containers.list()] == ["c3", "c2", "c1"]
        container = client.containers.get("c1")
        assert container.status == "running"
        assert container.labels["app"] == "test"
        assert container.image.id == IMAGE_ID
        assert client.images.list()[0].tags[0] == "busybox:latest"
        assert client.volumes.get("data").name == "data"
        assert [n.name for n in client.networks.list()] == ["bridge", "host", "none"]
        with pytest.raises(docker_py.errors.NotFound):
            client.containers.get("nope")
        with pytest.raises(docker_py.errors.ImageNotFound):
            client.images.get("nope")
        served.site.engine.containers.entries = [
            LogEntry("bad\n", "stderr", "2026-01-01T00:00:00Z")
        ]
        assert container.logs() == b"bad\n"
        created = client.containers.create("busybox", "true", name="made", detach=True)
        assert created.name == "made"
        container.kill("SIGTERM")
        container.remove(force=True)
        assert [c.name for c in client.containers.list(all=True)] == ["made", "c3", "c2"]
    finally:
        client.close()
