"""Sources of binds whose file systems do not answer."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from barque.engine import sources
from barque.errors import Unavailable
from barque.models.container import MountPoint


@pytest.mark.parametrize("propagation", ["rprivate", "rslave"])
def test_a_source_that_does_not_answer_is_named_and_does_not_stop_the_loop(
    monkeypatch: pytest.MonkeyPatch, propagation: str
) -> None:
    answers = threading.Event()
    stat = os.stat

    def wait(path: Any, **options: Any) -> os.stat_result:
        if path == "/dead":
            answers.wait(30)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", wait)
    binds = [
        MountPoint(type="bind", source=source, destination="/d", propagation=propagation)
        for source in ("/", "/dead", "/tmp")
    ]

    async def give_up() -> None:
        with pytest.raises(Unavailable, match="bind source /dead: its file system has not answer"):
            await sources.ask([bind.source for bind in binds], os.stat, 0.05)
        looking = asyncio.ensure_future(sources.look_before_start(binds))
        await asyncio.sleep(0.01)
        looking.cancel()
        await asyncio.wait([looking], timeout=10)
        assert looking.cancelled()

    try:
        asyncio.run(give_up())
    finally:
        answers.set()
