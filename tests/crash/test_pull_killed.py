"""The engine killed in the middle of a pull: the next one goes on where that one was."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from support.engine import Engine, docker_cli_is_here, open_barqued
from support.images import make_tar
from support.registry import Shelf, serving
from support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="unpacks images: needs root"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]

LAYERS = [
    make_tar([("file", f"layer{number}", random.Random(number).randbytes(2 << 20))])
    for number in range(4)
]


class Gate:
    """A registry in a thread that stops after so many bytes of layers, until it is opened."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.shelf.add_image(LAYERS, "latest")
        self.left = 0
        self.opened = False
        self.gone = asyncio.Event()
        self.reached = threading.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        digest = request.path.rpartition("/")[2]
        content, _ = self.shelf.content.get(f"blobs/{digest}", (b"", ""))
        if content not in LAYERS or self.opened:
            return await self.shelf.serve(request)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        for at in range(0, len(content), 65536):
            piece = content[at : at + 65536]
            self.left -= len(piece)
            if self.left < 0:
                self.reached.set()
                await self.gone.wait()
                return response
            await response.write(piece)
        return response

    @contextmanager
    def open(self) -> Iterator[str]:
        loop = asyncio.new_event_loop()
        started: list[str] = []
        stop = asyncio.Event()
        ready = threading.Event()

        async def run() -> None:
            async with serving(self.serve) as address:
                started.append(address)
                ready.set()
                await stop.wait()
                self.gone.set()

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        assert ready.wait(10)
        try:
            yield started[0]
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            loop.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with open_barqued() as engine:
        yield engine


def measure_partials(engine: Engine) -> int:
    """Return how many bytes of blobs are kept whose download broke off."""
    return sum(
        path.stat().st_size for path in (engine.data_root / "content/ingest").glob("partial-*")
    )


def leftovers(engine: Engine) -> list[Path]:
    """All files and directories that belong to images, or are on their way out.

    Left out are the beginnings of blobs, which are kept for the next pull.
    """
    kept = [
        path
        for path in (engine.data_root / "content").rglob("*")
        if path.is_file() and not path.name.startswith("partial-")
    ]
    for name in ("snapshots/overlay", "trash"):
        directory = engine.data_root / name
        kept += list(directory.iterdir()) if directory.exists() else []
    return kept


@pytest.mark.parametrize("after_bytes", [1 << 17, 1 << 20, 3 << 20, 5 << 20, 8 << 20])
def test_killed_in_the_middle_of_a_pull(engine: Engine, after_bytes: int) -> None:
    gate = Gate()
    with gate.open() as address:
        name = f"{address}/x"
        gate.left = after_bytes
        pull = subprocess.Popen(
            ["docker", "pull", name],
            env=engine.client_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert gate.reached.wait(30)
        wait_until(lambda: measure_partials(engine) > 0, "the beginning of a blob has come")
        engine.kill()
        came = sum(
            path.stat().st_size
            for path in (engine.data_root / "content").rglob("*")
            if path.is_file() and path.stat().st_size >= 1 << 16
        )
        assert pull.wait(30) != 0
        engine.start()
        wait_until(lambda: not leftovers(engine), "nothing is left of the pull")
        assert engine.docker("images", "-q") == ""
        assert measure_partials(engine) == came
        gate.opened = True
        gate.shelf.sent_bytes = 0
        engine.docker("pull", name)
        assert gate.shelf.sent_bytes == sum(map(len, LAYERS)) - came
        assert measure_partials(engine) == 0
        engine.docker("rmi", name)
        wait_until(lambda: not leftovers(engine), "nothing is left of the image")


def test_a_client_that_goes_away_ends_its_pull(engine: Engine) -> None:
    gate = Gate()
    with gate.open() as address:
        gate.left = 3 << 20
        pull = subprocess.Popen(
            ["docker", "pull", f"{address}/x"],
            env=engine.client_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert gate.reached.wait(30)
        pull.kill()
        pull.wait()
        wait_until(lambda: not leftovers(engine), "nothing is left of the pull")
