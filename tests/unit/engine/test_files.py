"""Copies that a file system holds up."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from barque.engine.files import run_watched
from barque.errors import Unavailable
from barque.images.compression import Readable
from support.waiting import wait_until


@pytest.fixture
def answers() -> Iterator[threading.Event]:
    """Set when the file system answers."""
    event = threading.Event()
    yield event
    event.set()


def test_a_copy_that_goes_on_is_not_ended_however_long_it_takes() -> None:
    read = []

    def work(source: Readable, stop: threading.Event) -> None:
        while piece := source.read(1):
            read.append(piece)
            stop.wait(0.05)

    asyncio.run(run_watched(io.BytesIO(b"12345678"), work, ExitStack(), "it", 0.2))
    assert b"".join(read) == b"12345678"


def test_what_it_raises_is_raised() -> None:
    def work(_source: Readable, _stop: threading.Event) -> None:
        raise KeyError("this")

    with pytest.raises(KeyError, match="this"):
        asyncio.run(run_watched(io.BytesIO(), work, ExitStack(), "it"))


def test_a_copy_that_is_held_up_is_left_behind(
    answers: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barque.engine.files._PATIENCE_S", 0.05)

    ended = threading.Event()

    def work(_source: Readable, stop: threading.Event) -> None:
        answers.wait(10)
        assert stop.is_set()
        ended.set()

    async def run() -> None:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="/mnt has taken nothing for 0 s"):
                await run_watched(io.BytesIO(), work, ExitStack(), "/mnt", 0.1)
        answers.set()
        assert await asyncio.to_thread(ended.wait, 5)

    asyncio.run(run())


def test_nobody_closes_the_files_of_a_copy_but_its_thread(
    answers: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barque.engine.files._PATIENCE_S", 0.05)
    own = ExitStack()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the thread's
    own.callback(file.close)
    read: list[bytes] = []

    def work(source: Readable, _stop: threading.Event) -> None:
        answers.wait(10)
        read.append(source.read(10))

    async def run() -> None:
        with own:
            file.write(b"content")
            file.seek(0)
            copying = asyncio.ensure_future(run_watched(file, work, own, "it"))
            await asyncio.sleep(0.01)
            copying.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait([copying])
            assert copying.cancelled()
        assert not file.closed
        answers.set()
        await asyncio.to_thread(wait_until, lambda: file.closed, "the thread closes its file")

    asyncio.run(run())
    assert read == [b"content"]
