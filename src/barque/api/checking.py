"""Checks of what the engine keeps: barque's own, below ``/barque``."""

from __future__ import annotations

from barque.api.contracts import Engine
from barque.api.http import Call, Response
from barque.api.registries import send_progress


class Checks:
    """``POST /barque/system/check``; its stream is described in ``docs/storage.md``."""

    def __init__(self, engine: Engine) -> None:
        self._checking = engine.checking

    async def check(self, call: Call) -> Response:
        """Check, and with ``repair`` repair; ``deep`` reads every byte. Ends with the client."""
        progress = self._checking.check(deep=call.flag("deep"), repair=call.flag("repair"))
        return await send_progress(call, progress)
