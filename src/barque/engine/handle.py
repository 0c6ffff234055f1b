"""A container in memory: its record, its lock, its current run and who waits for it.

The record is a value and is replaced as a whole (``Registry.replace``). The lock serialises
what changes the container (start, pause, rename, remove). It is never held while waiting for
somebody outside, such as for a process to end: those wait for the run's ``ended``.
"""

from __future__ import annotations

import asyncio
import os
import select
from dataclasses import dataclass, field
from enum import Enum

from barque.engine.restart import Backoff
from barque.engine.shims import Client
from barque.errors import Conflict, InvalidArgument
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.models.launch import ExitRecord

MAX_KEPT = 32
"""Clients that may wait for a container's start."""


class WaitCondition(Enum):
    """What a client may wait for. Source: Engine API, ContainerWait."""

    NOT_RUNNING = "not-running"
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


@dataclass(frozen=True)
class WaitResult:
    """The exit code, and what went wrong with the removal if it did."""

    status_code: int
    error: str = ""


def parse_condition(text: str) -> WaitCondition:
    """Return the condition; "" is ``not-running``. Raises InvalidArgument."""
    try:
        return WaitCondition(text or "not-running")
    except ValueError:
        raise InvalidArgument(
            f'invalid condition: "{text}": must be "not-running", "next-exit" or "removed"'
        ) from None


class Run:
    """One run of the container's program, from its start to its exit.

    ``early`` keeps an exit that was reported before the start was recorded.
    """

    def __init__(self, began: float) -> None:
        self.began = began
        self.starting = True
        self.early: ExitRecord | None = None
        self.stopped_on_purpose = False
        self.told_of_oom = False
        self.ended: asyncio.Future[ExitRecord] = asyncio.get_running_loop().create_future()

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for the exit; return whether it came in time. None waits for ever."""
        done, _ = await asyncio.wait((self.ended,), timeout=timeout_s)
        return bool(done)


@dataclass(eq=False)
class Handle:
    """See the module's text."""

    record: ContainerRecord
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    run: Run | None = None
    backoff: Backoff = field(default_factory=Backoff)
    restart_timer: asyncio.Task[None] | None = None
    restarting_by_hand: bool = False
    waiters: dict[WaitCondition, list[asyncio.Future[WaitResult]]] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)
    """Attached while the container did not run; the next start takes them."""
    monitor: asyncio.Task[None] | None = None
    """Probes the health of the current run."""
    orphans: bool = False
    """Processes of the last run may live although nothing is their parent any more."""
    halted: bool = False
    """There is nothing to follow: not running, and not about to be restarted."""
    followers: set[asyncio.Event] = field(default_factory=set)
    """Set when the container has halted."""

    @property
    def id(self) -> ContainerId:
        """The container's id."""
        return self.record.id

    def halt(self) -> None:
        """Nothing more comes from the container: tell those who follow it."""
        self.halted = True
        for follower in self.followers:
            follower.set()

    def resume(self) -> None:
        """The container runs."""
        self.halted = False

    def wait(self, condition: WaitCondition) -> asyncio.Future[WaitResult]:
        """Return a future for the condition, done already if it holds."""
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        state = self.record.state
        if condition is WaitCondition.NOT_RUNNING and not state.running:
            future.set_result(WaitResult(state.exit_code))
            return future
        waiting = self.waiters.setdefault(condition, [])
        if len(waiting) % 64 == 63:
            waiting[:] = [waiter for waiter in waiting if not waiter.done()]
        waiting.append(future)
        return future

    def wake(self, result: WaitResult, *conditions: WaitCondition) -> None:
        """Answer everybody who waits for one of ``conditions``."""
        for condition in conditions:
            for future in self.waiters.pop(condition, ()):
                if not future.done():
                    future.set_result(result)

    def keep_client(self, client: Client) -> None:
        """Keep a client until the next start; let go of those that have hung up meanwhile.

        Raises Conflict if MAX_KEPT wait already: they travel to the shim in one message.
        """
        self.clients = [kept for kept in self.clients if not _close_if_gone(kept)]
        if len(self.clients) >= MAX_KEPT:
            raise Conflict(
                f"{MAX_KEPT} clients wait for the start of container {self.id} already: attach "
                "when it runs"
            )
        self.clients.append(client)

    def take_clients(self) -> list[Client]:
        """Return the kept clients; they belong to the caller now."""
        clients, self.clients = self.clients, []
        return clients

    def close_clients(self) -> None:
        """Close the kept clients' connections."""
        for client in self.take_clients():
            os.close(client.fd)


def _close_if_gone(client: Client) -> bool:
    poll = select.poll()
    poll.register(client.fd, 0)
    gone = any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))
    if gone:
        os.close(client.fd)
    return gone
