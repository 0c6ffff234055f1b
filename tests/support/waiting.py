"""Waiting for something to become true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from support.scale import patient


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    """Return once ``condition()`` holds. Raises AssertionError with ``what`` after a while."""
    until = time.monotonic() + patient(timeout_s)
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    """Do as ``wait_until`` and let the loop's other tasks run meanwhile."""
    end = time.monotonic() + patient(timeout_s)
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.005)
