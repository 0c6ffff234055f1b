"""Long work on a stream that arrives on the event loop: a thread of its own, fed with
back-pressure.

The thread is not of the loop's pool: a client that sends slowly would hold a place there,
and a few of them would stop every other operation.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import TypeVar

from barque.errors import BarqueError, InvalidArgument, Unavailable

_T = TypeVar("_T")
_HIGH_WATER = 4 << 20
ANSWER_S = 20.0
"""How long a file system may take to answer one question."""
_MOST_LEFT = 64
"""Threads that may wait for file systems that do not answer, before no more are begun."""

_left: set[threading.Thread] = set()
"""Threads that nobody waits for any more. Used from the event loop's thread."""


class Stopped(BarqueError):
    """The work was given up because its caller went away."""


class Feed:
    """A queue of bytes from the loop to one thread, bounded at about four megabytes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._condition = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._abandoned = False

    async def put(self, chunk: bytes) -> bool:
        """Hand over ``chunk`` when there is room; False if nobody reads any more."""
        while True:
            with self._condition:
                if self._abandoned:
                    return False
                if self._size < _HIGH_WATER:
                    self._chunks.append(chunk)
                    self._size += len(chunk)
                    self._condition.notify()
                    return True
                self._room.clear()
            await self._room.wait()

    def end(self, failure: BaseException | None = None) -> None:
        """Say that nothing follows; ``failure`` is raised where it is read."""
        with self._condition:
            self._ended = True
            self._failure = failure
            self._condition.notify()

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, b"" at the end. For the thread."""
        with self._condition:
            while not self._chunks and not self._ended:
                self._condition.wait()
            if self._failure is not None:
                raise self._failure
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            self._size -= len(chunk)
            if self._size < _HIGH_WATER:
                self._loop.call_soon_threadsafe(self._room.set)
            return chunk

    def abandon(self) -> None:
        """Say that nothing will be read any more; a ``read`` under way raises Stopped."""
        with self._condition:
            self._abandoned = True
            self._ended = True
            self._failure = self._failure or Stopped("nobody reads any more")
            self._condition.notify_all()
        self._loop.call_soon_threadsafe(self._room.set)


async def run_in_thread(
    work: Callable[[threading.Event], _T],
    name: str,
    on_stop: Callable[[], None] | None = None,
    patience_s: float | None = None,
) -> _T:
    """Run ``work`` in a thread of its own and return its result.

    On cancellation the event given to ``work`` is set, ``on_stop`` is called to wake it, and
    the thread is awaited before the cancellation goes on: what it works on is there until it
    has ended. With ``patience_s`` no longer than that: for work on a file system that may not
    answer (see ``run_bounded``), which then has to own all that it works on.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()
    stop = threading.Event()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # _T may be None

    def run() -> None:
        result, error = None, None
        try:
            result = work(stop)
        except BaseException as caught:  # noqa: BLE001 it is raised where the result is awaited
            error = caught
        with suppress(RuntimeError):  # the loop has been closed, and nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    thread = _begin(run, name)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        if on_stop is not None:
            on_stop()
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        while not done.done():
            await asyncio.wait([done], timeout=patience_s)
            if patience_s is not None:
                _left.add(thread)
                break
        raise


def _begin(run: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread. Raises Unavailable where too many are held up by file systems."""
    _left.difference_update([thread for thread in _left if not thread.is_alive()])
    if len(_left) >= _MOST_LEFT:
        raise Unavailable(
            f"{len(_left)} operations wait for file systems that do not answer, and no more are "
            "begun: bring their servers back, or unmount them (umount -f -l)"
        )
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


async def run_bounded(
    work: Callable[[], _T],
    name: str,
    what: str,
    discard: Callable[[_T], object] = lambda _: None,
    timeout_s: float = ANSWER_S,
) -> _T:
    """Run ``work``, whose system calls may not come back, in a thread of its own.

    A network file system whose server is gone, or a FUSE one, holds a thread until it answers
    or is unmounted; nothing else ends that. So nobody waits for the thread longer than
    ``timeout_s``, nor when cancelled: it is left behind then, and what it comes to in the end
    is given to ``discard``, in the thread. Raises what ``work`` raises, and Unavailable with
    ``what`` did not answer.
    """
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 it is raised where the result is awaited
            outcome.set_exception(error)

    def clear(ended: Future[_T]) -> None:
        if ended.exception() is None:
            discard(ended.result())

    thread = _begin(run, name)
    done = asyncio.wrap_future(outcome)
    answered = False
    try:
        await asyncio.wait([done], timeout=timeout_s)
        answered = done.done()
    finally:
        if not answered:
            outcome.add_done_callback(clear)
            done.add_done_callback(lambda late: late.cancelled() or late.exception())
            _left.add(thread)
    if answered:
        return done.result()
    raise Unavailable(
        f"{what} has not answered for {timeout_s:.0f} s: is its server there? Mount it again, or "
        "do without it"
    )


async def run_fed(
    stream: AsyncGenerator[bytes],
    work: Callable[[Feed, threading.Event], _T],
    name: str,
    patience_s: float | None = None,
) -> _T:
    """Run ``work`` in a thread of its own on what ``stream`` gives.

    Returns its result when ``work`` has ended, even if the stream has not, which is closed. A
    failure of the stream is raised inside ``work`` as InvalidArgument, so that it cleans up by
    itself. ``patience_s`` is ``run_in_thread``'s.
    """
    feed = Feed()

    def run(stop: threading.Event) -> _T:
        try:
            return work(feed, stop)
        finally:
            feed.abandon()

    def give_up() -> None:
        feed.end(Stopped("the upload was given up"))

    async def pump() -> None:
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    if not await feed.put(bytes(chunk)):
                        return
        except Exception as error:  # noqa: BLE001 whatever a transport raises
            feed.end(InvalidArgument(f"the upload broke off: {str(error) or type(error).__name__}"))
        else:
            feed.end()

    async with asyncio.TaskGroup() as group:
        pumping = group.create_task(pump())
        try:
            return await run_in_thread(run, name, give_up, patience_s)
        except BaseException as error:  # noqa: BLE001 raised below: a group would wrap it
            failure = error
        finally:
            pumping.cancel()
    raise failure


class _Outflow:
    """A queue of bytes from one thread to the loop, bounded at about four megabytes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()
        self._condition = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._abandoned = False
        self._ended = False

    def put(self, chunk: bytes) -> None:
        """Hand over ``chunk`` when there is room. For the thread. Raises Stopped."""
        with self._condition:
            while self._size >= _HIGH_WATER and not self._abandoned:
                self._condition.wait()
            if self._abandoned:
                raise Stopped("nobody reads any more")
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._loop.call_soon_threadsafe(self._filled.set)

    def end(self) -> None:
        """Say that nothing follows."""
        with self._condition:
            self._ended = True
        self._filled.set()

    def abandon(self) -> None:
        """Say that nobody reads any more."""
        with self._condition:
            self._abandoned = True
            self._condition.notify_all()

    async def get(self) -> bytes | None:
        """Return the next chunk, None at the end."""
        while True:
            with self._condition:
                if self._chunks:
                    chunk = self._chunks.popleft()
                    self._size -= len(chunk)
                    self._condition.notify()
                    return chunk
                if self._ended:
                    return None
                self._filled.clear()
            await self._filled.wait()


async def stream_from_thread(
    work: Callable[[Callable[[bytes], None], threading.Event], object],
    name: str,
    patience_s: float | None = None,
) -> AsyncGenerator[bytes]:
    """Give what ``work`` hands to the function that it is given, in a thread of its own.

    A failure of ``work`` is raised when what it wrote before has been given. Close the
    iterator to give up: ``work`` is then told by Stopped and by its event, and waited for, at
    most ``patience_s`` if given, as by ``run_in_thread``.
    """
    flow = _Outflow()

    async def run() -> None:
        try:
            await run_in_thread(lambda stop: work(flow.put, stop), name, flow.abandon, patience_s)
        finally:
            flow.end()

    task = asyncio.ensure_future(run())
    try:
        while (chunk := await flow.get()) is not None:
            yield chunk
        await task
    finally:
        flow.abandon()
        task.cancel()
        await asyncio.wait([task])
