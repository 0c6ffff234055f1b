"""Directories whose changes somebody wants to hear of: one inotify descriptor for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from barque.errors import KernelError
from barque.kernel.inotify import (
    IN_CREATE,
    IN_IGNORED,
    IN_MODIFY,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Inotify,
)

POLL_S = 0.1
_MASK = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR

_log = logging.getLogger("barque.engine")


class Watcher:
    """Tells when something is written, made or renamed in a directory.

    Where the kernel has no watch left, listeners are simply told every POLL_S. Use on the
    loop's thread.
    """

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._listeners: dict[int, set[Callable[[], None]]] = {}

    @contextmanager
    def watch(self, directory: str, listener: Callable[[], None]) -> Iterator[None]:
        """Call ``listener`` on the loop after every change within the block.

        Changes may be told of together, and a listener may be called without a change.
        """
        try:
            watch = self._add(directory, listener)
        except KernelError as error:
            _log.debug("%s: looking every %s s instead", error, POLL_S)
            with _polling(listener):
                yield
            return
        try:
            yield
        finally:
            self._discard(watch, listener)

    def _add(self, directory: str, listener: Callable[[], None]) -> int:
        if self._inotify is None:
            self._inotify = Inotify()
            asyncio.get_running_loop().add_reader(self._inotify.fd, self._on_readable)
        watch = self._inotify.add(directory, _MASK)
        self._listeners.setdefault(watch, set()).add(listener)
        return watch

    def _discard(self, watch: int, listener: Callable[[], None]) -> None:
        listeners = self._listeners.get(watch)
        if listeners is None:
            return
        listeners.discard(listener)
        if not listeners and self._inotify is not None:
            del self._listeners[watch]
            self._inotify.remove(watch)

    def _on_readable(self) -> None:
        assert self._inotify is not None
        events = dict(self._inotify.read())  # one call each, however much has happened
        if any(mask & IN_Q_OVERFLOW for mask in events.values()):
            events = dict.fromkeys(self._listeners, 0)
        for watch, mask in events.items():
            for listener in tuple(self._listeners.get(watch, ())):
                listener()
            if mask & IN_IGNORED:  # the directory is gone, and the kernel's watch with it
                self._listeners.pop(watch, None)

    def close(self) -> None:
        """Stop watching everything."""
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
            self._listeners.clear()


@contextmanager
def _polling(listener: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal timer
        listener()
        timer = loop.call_later(POLL_S, tick)

    tick()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
