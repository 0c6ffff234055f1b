"""The reaper: deletes in a thread what was renamed into the trash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from barque.errors import BarqueError
from barque.snapshots.contract import Snapshotter
from barque.snapshots.trash import empty_trash

RETRY_S = 60.0

_log = logging.getLogger("barque.engine")


class TrashReaper:
    """Empties the engine's and the snapshotter's trash whenever there is some."""

    def __init__(self, trash: Path, snapshots: Snapshotter) -> None:
        self._trash = trash
        self._snapshots = snapshots
        self._wake = asyncio.Event()
        self._wake.set()

    def wake(self) -> None:
        """Something was put into the trash."""
        self._wake.set()

    async def run(self) -> None:
        """Reap for ever; what cannot be deleted is tried again every RETRY_S."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await asyncio.to_thread(self._reap)
            except (BarqueError, OSError) as error:
                _log.warning("the trash could not be emptied, next try in a minute: %s", error)

    def _reap(self) -> None:
        self._snapshots.reap()
        empty_trash(self._trash)
