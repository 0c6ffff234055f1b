"""Work in a thread on a stream of the loop's."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator

import pytest

from barque.errors import Unavailable
from barque.images.feed import Feed, run_bounded, run_fed
from support.waiting import wait_until


class Source:
    """A stream without end that tells whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def stream(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield bytes(1 << 20)
                await asyncio.sleep(0)
        finally:
            self.closed = True


def read_one(feed: Feed, _stop: threading.Event) -> int:
    return len(feed.read(100))


def read_on(feed: Feed, stop: threading.Event) -> None:
    while not stop.is_set():
        feed.read(1 << 20)


def test_a_stream_is_closed_when_the_work_ends_first() -> None:
    source = Source()

    async def run() -> int:
        read = await run_fed(source.stream(), read_one, "test")
        assert source.closed
        return read

    assert asyncio.run(run()) == 100


def test_a_stream_is_closed_when_the_work_is_given_up() -> None:
    source = Source()

    async def run() -> None:
        task = asyncio.ensure_future(run_fed(source.stream(), read_on, "test"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed

    asyncio.run(run())


def test_a_stream_is_closed_when_the_work_fails() -> None:
    source = Source()

    def fail(_feed: Feed, _stop: threading.Event) -> None:
        raise ValueError("no")

    async def run() -> None:
        with pytest.raises(ValueError, match="no"):
            await run_fed(source.stream(), fail, "test")
        assert source.closed

    asyncio.run(run())


def test_a_call_that_does_not_come_back_is_left_behind() -> None:
    comes_back = threading.Event()
    discarded: list[int] = []

    def work() -> int:
        comes_back.wait()
        return 7

    async def run() -> None:
        with pytest.raises(Unavailable, match="the disk has not answered for 0 s"):
            await run_bounded(work, "test", "the disk", discarded.append, timeout_s=0.01)
        task = asyncio.ensure_future(run_bounded(work, "test", "the disk", discarded.append))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert discarded == []
        comes_back.set()
        assert await run_bounded(work, "test", "the disk", discarded.append) == 7

    asyncio.run(run())
    wait_until(lambda: discarded == [7, 7], "what came too late is given back")


def test_a_call_that_fails() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(run_bounded(fail, "test", "the disk"))


def test_a_failure_that_comes_too_late_is_nobody_s() -> None:
    comes_back = threading.Event()
    reported: list[object] = []

    def fail() -> None:
        comes_back.wait()
        raise ValueError("late")

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
        with pytest.raises(Unavailable):
            await run_bounded(fail, "late", "the disk", timeout_s=0.01)
        comes_back.set()
        while any(thread.name == "late" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        gc.collect()

    asyncio.run(run())
    assert reported == []


def test_so_many_threads_may_be_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barque.images.feed._MOST_LEFT", 2)
    comes_back = threading.Event()

    async def run() -> None:
        for _ in range(2):
            with pytest.raises(Unavailable, match="has not answered"):
                await run_bounded(comes_back.wait, "left", "the disk", timeout_s=0.01)
        with pytest.raises(Unavailable, match="2 operations wait for file systems"):
            await run_bounded(comes_back.wait, "left", "the disk")
        comes_back.set()
        while any(thread.name == "left" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
        assert await run_bounded(comes_back.wait, "left", "the disk")

    asyncio.run(run())
