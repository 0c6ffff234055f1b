"""Work that several may want at once: it is done once, and given up when nobody wants it.

A flight is kept, with its result, until the last of those who joined it has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeVar

_T = TypeVar("_T")


class Status(NamedTuple):
    """How far a piece of work is; ``total`` is 0 where there is nothing to count.

    Counted are ``units``, bytes if it is "".
    """

    text: str
    current: int = 0
    total: int = 0
    units: str = ""


Listener = Callable[[Status], None]
"""Is told of each change, on the loop's thread."""


def ignore(_status: Status) -> None:
    """Tell nobody."""


class _Flight(Generic[_T]):
    def __init__(self, start: Callable[[Listener], Awaitable[_T]]) -> None:
        self._listeners: list[Listener] = []
        self._last: Status | None = None
        self.task = asyncio.ensure_future(start(self._tell))

    def _tell(self, status: Status) -> None:
        self._last = status
        for listener in tuple(self._listeners):
            listener(status)

    def add(self, listener: Listener) -> None:
        self._listeners.append(listener)
        if self._last is not None:
            listener(self._last)

    def leave(self, listener: Listener) -> bool:
        """Return whether anybody is left."""
        self._listeners.remove(listener)
        return bool(self._listeners)


class Flights(Generic[_T]):
    """Flights by key. Use on the loop's thread."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[_T]] = {}

    @asynccontextmanager
    async def join(
        self, key: str, start: Callable[[Listener], Awaitable[_T]], listener: Listener
    ) -> AsyncIterator[_T]:
        """Wait for the work called ``key``, which ``start`` begins if nobody has yet.

        Gives its result, and keeps the flight until the context is left. Where somebody
        else's attempt fails, it is tried again with ``start``. The last who leaves cancels
        the work and waits for its end.
        """
        while True:
            flight = self._flights.get(key)
            ours = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight(start)
            flight.add(listener)
            try:
                try:
                    result = await asyncio.shield(flight.task)
                except Exception:
                    if ours:
                        raise
                    continue
                yield result
                return
            finally:
                if not flight.leave(listener) or (flight.task.done() and _failed(flight.task)):
                    if self._flights.get(key) is flight:
                        del self._flights[key]
                    await _end(flight.task)


def _failed(task: asyncio.Future[_T]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _end(task: asyncio.Future[_T]) -> None:
    """Cancel and wait until it has ended, however often we are cancelled meanwhile."""
    task.cancel()
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled():
        task.exception()  # told to those who waited; it is not to be reported as forgotten
    if cancelled:
        raise asyncio.CancelledError
