"""POST /containers/{id}/attach."""

from __future__ import annotations

from barque.api.contracts import Engine
from barque.api.hijack import parse_detach_keys, take_socket
from barque.api.http import Call, Response, Written
from barque.api.tasks import Background
from barque.engine.shims import Client


class Attach:
    """Attach."""

    def __init__(self, engine: Engine, background: Background) -> None:
        self._containers = engine.containers
        self._background = background

    async def attach(self, call: Call) -> Response:
        """Make the connection the container's stdio. Errors are given before the switch."""
        await call.body()
        keys = parse_detach_keys(call.text("detachKeys"))
        record = self._containers.attachable(call.name)
        tty = record.config.tty
        fd = await take_socket(call, tty=tty, background=self._background)
        await self._containers.attach(
            record.id,
            client=Client(
                fd=fd,
                stdin=call.flag("stdin"),
                stdout=call.flag("stdout"),
                stderr=call.flag("stderr"),
                multiplexed=not tty,
                detach_keys=keys if tty else b"",
            ),
            logs=call.flag("logs"),
            stream=call.flag("stream"),
        )
        return Written()
