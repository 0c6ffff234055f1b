"""Docker's progress streams: what long work reports, as JSON objects to be sent.

A client that reads slowly holds nothing up: of each part only the newest numbers wait.
Source: moby's pkg/jsonmessage; Engine API, ImageCreate and ImagePush.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from barque.images.flights import Status

Message = dict[str, Any]
Report = Callable[[str, Status], None]
"""Is told of each change of a part: (its short id, what it does)."""


def render(name: str, status: Status) -> Message:
    """Return one object of the stream. Pure."""
    detail: Message = {"current": status.current, "total": status.total} if status.total else {}
    if status.units:
        detail["units"] = status.units
    return {"status": status.text, "progressDetail": detail, "id": name}


async def follow(
    work: Callable[[Callable[[Message], None], Report], Awaitable[None]],
) -> AsyncGenerator[Message, None]:
    """Run ``work`` and give what it reports, in order; then raise what it raised.

    ``work`` is given two functions: for whole messages, and for the status of parts. Closing
    the generator cancels it and waits for its end.
    """
    waiting: dict[object, Message] = {}
    wake = asyncio.Event()

    def say(message: Message) -> None:
        waiting[object()] = message
        wake.set()

    def report(name: str, status: Status) -> None:
        waiting[name, status.text] = render(name, status)
        wake.set()

    task = asyncio.ensure_future(work(say, report))
    task.add_done_callback(lambda _task: wake.set())
    try:
        while not task.done() or waiting:
            await wake.wait()
            wake.clear()
            while waiting:
                yield waiting.pop(next(iter(waiting)))
        task.result()
    finally:
        task.cancel()
        while not task.done():
            await asyncio.wait([task])
