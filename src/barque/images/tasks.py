"""Several pieces of work at once, and their orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any


async def run_together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; where one fails, cancel the others, and raise its own error."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def end_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel, and wait until all have ended, however often we are cancelled meanwhile."""
    cancelled = False
    for task in tasks:
        task.cancel()
    while any(not task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            cancelled = True
    for task in tasks:
        if not task.cancelled():
            task.exception()  # the caller raises the one that matters
    if cancelled:
        raise asyncio.CancelledError
