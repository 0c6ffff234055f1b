from __future__ import annotations

import asyncio
from typing import Any

import pytest

from barque.engine import events
from barque.engine.clock import NANOSECONDS, SystemClock
from barque.engine.events import RING_SIZE, Event, EventBus, Subscription


class Ticking(SystemClock):
    """A clock that moves one second each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        self.now += NANOSECONDS
        return self.now


class Standing(SystemClock):
    """A clock that stands still: what takes its time is not late."""

    def now_ns(self) -> int:
        return NANOSECONDS


async def collect(subscription: Subscription) -> list[str]:
    return [event.actor_id async for event in subscription]


def publish(bus: EventBus, *actors: str) -> None:
    for actor in actors:
        bus.publish("container", "start", actor, {"image": "box"})


def test_a_subscriber_hears_what_matches_from_now_on() -> None:
    async def body() -> None:
        bus = EventBus(SystemClock())
        publish(bus, "before")
        heard = bus.subscribe(match=lambda event: event.actor_id != "b")
        publish(bus, "a", "b", "c")
        heard.close()
        publish(bus, "after")
        assert await collect(heard) == ["a", "c"]

    asyncio.run(body())


def test_the_past_is_replayed_without_gap_or_double() -> None:
    async def body() -> None:
        bus = EventBus(Ticking())
        publish(bus, *(str(number) for number in range(RING_SIZE + 10)))
        heard = bus.subscribe(since_ns=0)
        publish(bus, "now")
        heard.close()
        assert await collect(heard) == [*(str(n) for n in range(10, RING_SIZE + 10)), "now"]

    asyncio.run(body())


def test_until_in_the_past_ends_after_the_replay() -> None:
    async def body() -> None:
        bus = EventBus(Ticking())
        publish(bus, "1", "2", "3")
        heard = bus.subscribe(since_ns=2 * NANOSECONDS, until_ns=2 * NANOSECONDS)
        assert await collect(heard) == ["2"]

    asyncio.run(body())


def test_until_in_the_future_ends_then() -> None:
    async def body() -> None:
        bus = EventBus(Standing())
        heard = bus.subscribe(until_ns=NANOSECONDS + NANOSECONDS // 50)
        publish(bus, "soon")
        assert await asyncio.wait_for(collect(heard), 5) == ["soon"]

    asyncio.run(body())


def test_who_does_not_keep_up_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUEUE_LIMIT", 10)

    async def body() -> None:
        bus = EventBus(SystemClock())
        slow, quick = bus.subscribe(), bus.subscribe()
        got: list[Any] = []
        for number in range(20):
            publish(bus, str(number))
            got.append((await anext(quick)).actor_id)
        assert slow.dropped
        assert await collect(slow) == []
        assert got == [str(number) for number in range(20)]
        quick.close()

    asyncio.run(body())


def test_attributes_are_copied() -> None:
    async def body() -> None:
        bus = EventBus(SystemClock())
        attributes = {"a": "1"}
        heard = bus.subscribe()
        bus.publish("volume", "create", "v", attributes)
        attributes["a"] = "2"
        event = await anext(heard)
        assert isinstance(event, Event)
        assert event.attributes == {"a": "1"}
        bus.close()
        assert await collect(heard) == []

    asyncio.run(body())
