from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from barque.engine.clock import NANOSECONDS, SystemClock, format_time
from barque.engine.handle import Handle
from barque.engine.logs import LogQuery, Logs
from barque.engine.watching import Watcher
from barque.errors import Conflict, KernelError, NotImplementedHere
from barque.kernel.inotify import Inotify
from barque.models.api import HostConfig, LogConfig
from barque.models.container import ContainerState
from support.spec import make_record


class Follower:
    """Collects what a follower of one container's log is given."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "log"
        self.watcher = Watcher()
        self.logs = Logs(self.watcher, SystemClock())
        self.handle = Handle(
            replace(make_record(), log_path=str(self.path), state=ContainerState(running=True))
        )
        self.found: list[str] = []

    def write(self, text: str) -> None:
        time = format_time(SystemClock().now_ns())
        with self.path.open("a") as file:
            file.write(f'{{"log":"{text}\\n","stream":"stdout","time":"{time}"}}\n')

    async def follow(self, **query: Any) -> None:
        given = LogQuery(**{"stdout": True, "stderr": True, "follow": True, **query})
        async for batch in self.logs.read(self.handle, given):
            self.found += [entry.log.strip() for entry in batch]

    async def until_found(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.found) < count:
                await asyncio.sleep(0.002)


def play(tmp_path: Path, scenario: Callable[[Follower], Awaitable[None]]) -> None:
    async def body() -> None:
        follower = Follower(tmp_path)
        try:
            await scenario(follower)
        finally:
            follower.watcher.close()
        assert not follower.handle.followers

    asyncio.run(body())


async def follow_over_rotation(follower: Follower) -> None:
    follower.write("old")
    follower.write("last")
    following = asyncio.ensure_future(follower.follow(tail=1))
    await follower.until_found(1)
    follower.write("1")
    await follower.until_found(2)
    follower.write("2")
    follower.path.rename(f"{follower.path}.1")
    follower.write("3")
    await follower.until_found(4)
    follower.write("4")
    follower.handle.halt()
    await asyncio.wait_for(following, 5)
    assert follower.found == ["last", "1", "2", "3", "4"]


def test_follow_until_the_container_has_ended(tmp_path: Path) -> None:
    play(tmp_path, follow_over_rotation)


def test_follow_without_a_watch_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel is mocked: the instance is one that the kernel refuses to use."""

    def refuse(self: Inotify) -> None:
        raise KernelError("inotify_init1", 24)

    monkeypatch.setattr(Inotify, "__init__", refuse)
    play(tmp_path, follow_over_rotation)


def test_follow_until_a_time(tmp_path: Path) -> None:
    async def scenario(follower: Follower) -> None:
        follower.write("1")
        until_ns = SystemClock().now_ns() + NANOSECONDS // 20
        await asyncio.wait_for(follower.follow(until_ns=until_ns), 5)
        assert follower.found == ["1"]

    play(tmp_path, scenario)


def test_follow_of_what_has_ended_ends(tmp_path: Path) -> None:
    async def scenario(follower: Follower) -> None:
        follower.write("1")
        follower.handle.halt()
        await asyncio.wait_for(follower.follow(), 5)
        assert follower.found == ["1"]

    play(tmp_path, scenario)


def test_a_follower_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(follower: Follower) -> None:
        follower.write("1")
        following = asyncio.ensure_future(follower.follow())
        await follower.until_found(1)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    play(tmp_path, scenario)


def test_what_cannot_be_read_is_said_at_once(tmp_path: Path) -> None:
    async def scenario(follower: Follower) -> None:
        query = LogQuery(stdout=True, stderr=True)
        record = follower.handle.record
        follower.handle.record = replace(record, state=ContainerState(dead=True))
        with pytest.raises(Conflict, match="dead"):
            follower.logs.read(follower.handle, query)
        host = HostConfig(log_config=LogConfig(type="none"))
        follower.handle.record = replace(record, host_config=host)
        with pytest.raises(NotImplementedHere, match="does not support reading"):
            follower.logs.read(follower.handle, query)

    play(tmp_path, scenario)


def test_two_watchers_of_one_directory(tmp_path: Path) -> None:
    async def body() -> None:
        watcher = Watcher()
        heard: list[str] = []
        with watcher.watch(str(tmp_path), lambda: heard.append("a")):
            with watcher.watch(str(tmp_path), lambda: heard.append("b")):
                (tmp_path / "x").touch()
                await asyncio.sleep(0.02)
            assert set(heard) == {"a", "b"}
            heard.clear()
            (tmp_path / "y").touch()
            await asyncio.sleep(0.02)
            assert set(heard) == {"a"}
            (tmp_path / "x").unlink()
            (tmp_path / "y").unlink()
            tmp_path.rmdir()
            await asyncio.sleep(0.02)
        tmp_path.mkdir()
        watcher.close()

    asyncio.run(body())
