"""What happened: published once, kept for a while, heard by every subscriber.

The bus keeps the last 256 events. A subscriber that asks for the past gets those of them
that it asked for first, then what happens from the moment of its subscription, without a
gap and without doubles. A subscriber that does not keep up is dropped: publishing never
waits. Source: Engine API, ``GET /events``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from barque.engine.clock import NANOSECONDS, Clock

RING_SIZE = 256
QUEUE_LIMIT = 4096


class Event(msgspec.Struct, frozen=True):
    """One event: ``type`` container, image, volume or network; the actor's id or name."""

    type: str
    action: str
    actor_id: str
    attributes: dict[str, str]
    time_ns: int


class Subscription(AsyncIterator[Event]):
    """The events that one subscriber asked for; ends at its ``until``, or when dropped.

    ``dropped`` tells that it ended because the subscriber fell QUEUE_LIMIT events behind.
    """

    def __init__(self, bus: EventBus, match: Callable[[Event], bool]) -> None:
        self._bus = bus
        self._match = match
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._timer: asyncio.TimerHandle | None = None
        self.dropped = False

    def offer(self, event: Event) -> None:
        """Take the event if it is one of those asked for. The bus calls this."""
        if self._ended or not self._match(event):
            return
        if len(self._queue) >= QUEUE_LIMIT:
            self.dropped = True
            self._queue.clear()
            self.close()
            return
        self._queue.append(event)
        self._wake.set()

    def close_in(self, seconds: float) -> None:
        """End the subscription after ``seconds``."""
        self._timer = asyncio.get_running_loop().call_later(max(seconds, 0), self.close)

    def close(self) -> None:
        """End the subscription; events taken already can still be read."""
        self._ended = True
        self._bus.unsubscribe(self)
        if self._timer is not None:
            self._timer.cancel()
        self._wake.set()

    async def aclose(self) -> None:
        """End the subscription, as for an asynchronous generator."""
        self.close()

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()


class EventBus:
    """Publishes events to subscribers. Used from the loop's thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: deque[Event] = deque(maxlen=RING_SIZE)
        self._subscriptions: set[Subscription] = set()

    def publish(
        self, type_: str, action: str, actor_id: str, attributes: Mapping[str, str]
    ) -> None:
        """Tell everybody. Takes a copy of ``attributes``."""
        event = Event(type_, action, actor_id, dict(attributes), self._clock.now_ns())
        self._ring.append(event)
        for subscription in tuple(self._subscriptions):
            subscription.offer(event)

    def subscribe(
        self,
        since_ns: int | None = None,
        until_ns: int | None = None,
        match: Callable[[Event], bool] = lambda _: True,
    ) -> Subscription:
        """Subscribe from now on; the caller closes the subscription.

        ``since_ns`` replays what the ring still has from that time on; ``until_ns`` in the
        past ends the subscription after the replay.
        """
        subscription = Subscription(self, match)
        if since_ns is not None:
            for event in self._ring:
                if event.time_ns >= since_ns and (until_ns is None or event.time_ns <= until_ns):
                    subscription.offer(event)
        if until_ns is not None and until_ns <= self._clock.now_ns():
            subscription.close()
            return subscription
        self._subscriptions.add(subscription)
        if until_ns is not None:
            subscription.close_in((until_ns - self._clock.now_ns()) / NANOSECONDS)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop offering events to the subscription; idempotent."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription: the engine stops."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
