"""Seeing memory run out in containers that go on: one epoll descriptor for all of them.

The shim, which sleeps, cannot watch: it would have to wake up, and every container would pay
for the memory. A container that ends by it is known from its exit record anyway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from barque.cgroups.contract import Cgroup
from barque.errors import BarqueError
from barque.models.ids import ContainerId

BEGIN_S = 0.1
"""Containers that end sooner are never watched."""
KILL_S = 0.05
"""How long the kernel takes from a notice to the kill."""
PAUSE_S = 1.0
"""How long nobody looks after a notice: the kernel also gives one each time the limit is met."""

_log = logging.getLogger("barque.engine")


@dataclass
class _Watch:
    container: ContainerId
    cgroup: Cgroup
    event: int
    kills: int


class OutOfMemory(Protocol):
    """Who is told."""

    def __call__(self, container: ContainerId, /, *, killed: bool) -> None:
        """Memory ran out; ``killed`` is whether the kernel killed a process for it."""


class OomWatch:
    """Calls ``told``. For the loop's thread."""

    def __init__(self, told: OutOfMemory) -> None:
        self._told = told
        self._epoll: select.epoll | None = None
        self._watches: dict[int, _Watch] = {}
        self._fds: dict[ContainerId, int] = {}
        self._timers: dict[ContainerId, asyncio.TimerHandle] = {}

    def watch(self, container: ContainerId, cgroup: Cgroup, *, known: bool = False) -> None:
        """Tell soon, and whenever it happens again, that memory ran out in ``cgroup``.

        With ``known`` what has happened until now is told already. Without a memory controller
        nothing is told.
        """
        self._later(container, BEGIN_S, lambda: self._begin(container, cgroup, known=known))

    def forget(self, container: ContainerId) -> None:
        """The container has ended. Idempotent."""
        timer = self._timers.pop(container, None)
        if timer is not None:
            timer.cancel()
        fd = self._fds.pop(container, -1)
        if fd >= 0:
            del self._watches[fd]
            os.close(fd)  # epoll forgets it with that
        if self._epoll is not None and not self._watches:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def close(self) -> None:
        """Stop watching."""
        for container in [*self._fds, *self._timers]:
            self.forget(container)

    def _later(self, container: ContainerId, wait_s: float, work: Callable[[], None]) -> None:
        def run() -> None:
            del self._timers[container]
            work()

        self._timers[container] = asyncio.get_running_loop().call_later(wait_s, run)

    def _begin(self, container: ContainerId, cgroup: Cgroup, *, known: bool) -> None:
        try:
            kills = cgroup.oom_kills() if known else 0
            fd, event = cgroup.open_oom_notice()
        except BarqueError as error:
            _log.debug("container %s: memory is not watched: %s", container[:12], error)
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._on_notices)
        self._watches[fd] = _Watch(container, cgroup, event, kills)
        self._fds[container] = fd
        self._epoll.register(fd, event | select.EPOLLONESHOT)
        self._look(container)

    def _on_notices(self) -> None:
        if self._epoll is None:
            return
        for fd, _ in self._epoll.poll(0):
            watch = self._watches.get(fd)
            if watch is not None:
                self._on_notice(watch)

    def _on_notice(self, watch: _Watch) -> None:
        """Version 1 gives notice of nothing else, but before it kills; version 2 after that."""
        container = watch.container
        if watch.event == select.EPOLLIN:
            self._later(container, KILL_S, lambda: self._rearm(container, certain=True))
        else:
            self._look(container)
            if container in self._fds:
                self._later(container, PAUSE_S, lambda: self._rearm(container, certain=False))

    def _rearm(self, container: ContainerId, *, certain: bool) -> None:
        seen = self._look(container)
        fd = self._fds.get(container, -1)
        if fd < 0 or self._epoll is None:
            return
        watch = self._watches[fd]
        self._epoll.modify(fd, watch.event | select.EPOLLONESHOT)
        if certain and not seen and watch.cgroup.exists():
            self._told(container, killed=False)  # the killer is switched off

    def _look(self, container: ContainerId) -> bool:
        """Take the notice; tell, and return, whether the kernel has killed since."""
        fd = self._fds[container]
        watch = self._watches[fd]
        try:
            _take(fd, watch.event)
            kills = watch.cgroup.oom_kills()
        except (BarqueError, OSError):
            self.forget(container)  # the group is gone: the shim tells of the container's end
            return False
        if kills == watch.kills:
            return False
        watch.kills = kills
        self._told(container, killed=True)
        return True


def _take(fd: int, event: int) -> None:
    """Read what makes the descriptor ready, so that the next event does again."""
    if event == select.EPOLLIN:
        try:
            os.read(fd, 8)
        except BlockingIOError:
            return
    else:
        os.pread(fd, 4096, 0)
