"""A very small event loop: descriptors to handlers, nothing else.

asyncio would cost every container megabytes; a shim has a handful of descriptors.
"""

from __future__ import annotations

import select
from collections.abc import Callable

Handler = Callable[[int, int], None]


class Loop:
    """Level-triggered epoll. Handlers get (descriptor, events)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[int, Handler]] = {}

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler`` on any of ``events`` (EPOLL*), or on hang-up and error."""
        known = self._handlers.get(fd)
        if known is None:
            self._epoll.register(fd, events)
        elif known[0] != events:
            self._epoll.modify(fd, events)
        self._handlers[fd] = (events, handler)

    def forget(self, fd: int) -> None:
        """Stop watching; call before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run_once(self, timeout_s: float) -> None:
        """Wait for events (at most ``timeout_s``; negative is for ever) and handle them."""
        for fd, events in self._epoll.poll(timeout_s, 64):
            entry = self._handlers.get(fd)
            if entry is not None:
                entry[1](fd, events)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
