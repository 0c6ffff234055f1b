"""Containers' logs as streams of batches: a part of the past, then, if wanted, what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from barque.engine.clock import NANOSECONDS, Clock, format_time
from barque.engine.handle import Handle
from barque.engine.logfiles import LogEntry, LogFiles, sort_key
from barque.engine.watching import Watcher
from barque.errors import Conflict, NotImplementedHere

Batch = list[LogEntry]


class LogQuery(msgspec.Struct, kw_only=True):
    """Which entries are wanted. ``tail`` counts entries of both streams, before all else.

    ``follow`` goes on until the container has ended for good, or until ``until_ns``.
    """

    stdout: bool
    stderr: bool
    follow: bool = False
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    details: bool = False


class Logs:
    """Reads logs. Blocks of them are read and decoded in threads, one at a time."""

    def __init__(self, watcher: Watcher, clock: Clock) -> None:
        self._watcher = watcher
        self._clock = clock

    def read(self, handle: Handle, query: LogQuery) -> AsyncIterator[Batch]:
        """Return batches of entries, oldest first; close the iterator.

        Raises at once: NotImplementedHere if the container's log cannot be read, Conflict if
        the container is dead.
        """
        record = handle.record
        if record.host_config.log_config.type == "none":
            raise NotImplementedHere("configured logging driver does not support reading")
        if record.state.dead:
            raise Conflict("can not get logs from container which is dead or marked for removal")
        return self._follow(handle, query) if query.follow else self._read(handle, query)

    async def _read(self, handle: Handle, query: LogQuery) -> AsyncIterator[Batch]:
        select = make_filter(query)
        files = await asyncio.to_thread(LogFiles, handle.record.log_path, query.tail)
        last = format_time(self._clock.now_ns())  # a log that grows faster than it is read ends
        try:
            while (batch := await asyncio.to_thread(files.read)) is not None:
                if chosen := select(batch):
                    yield chosen
                if batch and sort_key(batch[-1].time) > last:
                    return
        finally:
            files.close()

    async def _follow(self, handle: Handle, query: LogQuery) -> AsyncIterator[Batch]:
        select = make_filter(query)
        wake = asyncio.Event()
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        handle.followers.add(wake)
        directory = str(Path(handle.record.log_path).parent)
        files: LogFiles | None = None
        try:
            with self._watcher.watch(directory, wake.set):
                files = await asyncio.to_thread(LogFiles, handle.record.log_path, query.tail)
                if query.until_ns is not None:
                    timer = loop.call_later(self._remaining_s(query.until_ns), wake.set)
                while True:
                    wake.clear()
                    ended = handle.halted or self._is_over(query)
                    while (batch := await asyncio.to_thread(files.read)) is not None:
                        if chosen := select(batch):
                            yield chosen
                    if ended:
                        return
                    await wake.wait()
        finally:
            handle.followers.discard(wake)
            if timer is not None:
                timer.cancel()
            if files is not None:
                files.close()

    def _remaining_s(self, until_ns: int) -> float:
        return max(until_ns - self._clock.now_ns(), 0) / NANOSECONDS

    def _is_over(self, query: LogQuery) -> bool:
        return query.until_ns is not None and self._clock.now_ns() >= query.until_ns


def make_filter(query: LogQuery) -> Callable[[Batch], Batch]:
    """Return a function that keeps the entries of the query's streams and times."""
    streams = {name for name in ("stdout", "stderr") if getattr(query, name)}
    since = None if query.since_ns is None else format_time(query.since_ns)
    until = None if query.until_ns is None else format_time(query.until_ns)

    def select(batch: Batch) -> Batch:
        if len(streams) < 2:
            batch = [entry for entry in batch if entry.stream in streams]
        if since is not None:
            batch = [entry for entry in batch if sort_key(entry.time) >= since]
        if until is not None:
            batch = [entry for entry in batch if sort_key(entry.time) <= until]
        return batch

    return select
