"""The life of a container: start, stop, restart, kill, pause, wait, rename, remove, top."""

from __future__ import annotations

import asyncio

import msgspec

from barque.api.contracts import Engine
from barque.api.filters import parse_filters
from barque.api.http import EMPTY, JSON, Call, Reply, Response, Stream, no_content, reply_json
from barque.errors import BarqueError, InvalidArgument

_MAX_START_BODY_BYTES = 7
_SIGNAL_SINCE = 42
_STRICT_CONDITION_SINCE = 42
_ERROR_ALWAYS_UNTIL = 42
_CONDITIONS = frozenset({"not-running", "next-exit", "removed"})
_PRUNE_KEYS = frozenset({"label", "label!", "until"})


class Containers:
    """Operations on one container, and prune."""

    def __init__(self, engine: Engine) -> None:
        self._containers = engine.containers

    async def start(self, call: Call) -> Reply:
        """Start; a body, which no version since 1.24 has, is refused."""
        length = call.request.content_length
        if length is not None and length > _MAX_START_BODY_BYTES:
            raise InvalidArgument(
                "starting container with non-empty request body was deprecated since API v1.22 "
                "and removed in v1.24"
            )
        await self._containers.start(call.name)
        return no_content()

    async def stop(self, call: Call) -> Reply:
        """Stop: ``signal``, then SIGKILL after ``t`` seconds (-1: never)."""
        await self._containers.stop(call.name, _get_signal(call), call.integer("t"))
        return no_content()

    async def restart(self, call: Call) -> Reply:
        """Stop, then start."""
        await self._containers.restart(call.name, _get_signal(call), call.integer("t"))
        return no_content()

    async def kill(self, call: Call) -> Reply:
        """Send ``signal`` (default SIGKILL)."""
        await self._containers.kill(call.name, call.text("signal") or "SIGKILL")
        return no_content()

    async def pause(self, call: Call) -> Reply:
        """Freeze all processes."""
        await self._containers.pause(call.name)
        return no_content()

    async def unpause(self, call: Call) -> Reply:
        """Thaw all processes."""
        await self._containers.unpause(call.name)
        return no_content()

    async def rename(self, call: Call) -> Reply:
        """Give the container the name ``name``."""
        name = call.text("name")
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        await self._containers.rename(call.name, name)
        return no_content()

    async def remove(self, call: Call) -> Reply:
        """Remove; ``force`` kills first, ``v`` takes anonymous volumes along."""
        if call.flag("link"):
            raise InvalidArgument("legacy links are not supported: remove the container instead")
        await self._containers.remove(call.name, force=call.flag("force"), volumes=call.flag("v"))
        return no_content()

    async def resize(self, call: Call) -> Reply:
        """Set the terminal's size."""
        height, width = call.dimensions()
        await self._containers.resize(call.name, height, width)
        return Reply(EMPTY)

    async def top(self, call: Call) -> Reply:
        """List processes in the columns of ``ps_args``."""
        processes = await self._containers.top(call.name, call.text("ps_args") or "-ef")
        return reply_json({"Titles": processes.titles, "Processes": processes.rows})

    async def prune(self, call: Call) -> Reply:
        """Remove all stopped containers."""
        filters = parse_filters(call.text("filters"), _PRUNE_KEYS)
        ids, reclaimed_bytes = await self._containers.prune(filters)
        return reply_json(
            {"ContainersDeleted": list(ids) or None, "SpaceReclaimed": reclaimed_bytes}
        )

    async def wait(self, call: Call) -> Response:
        """Wait for ``condition``. The head goes out at once: ``docker run`` waits for it
        before it starts the container.
        """
        condition = call.text("condition") or "not-running"
        if condition not in _CONDITIONS:
            if call.minor >= _STRICT_CONDITION_SINCE:
                raise InvalidArgument(f'invalid condition: "{condition}"')
            condition = "not-running"
        future = self._containers.wait(call.name, condition)
        try:
            with call.cancelled_by_disconnect():
                stream = Stream(call, JSON)
                try:
                    result = await asyncio.shield(future)
                    error, code = result.error, result.status_code
                except BarqueError as failure:
                    error, code = str(failure), 0
                document: dict[str, object] = {"StatusCode": code}
                if error:
                    document["Error"] = {"Message": error}
                elif call.minor < _ERROR_ALWAYS_UNTIL:
                    document = {"Error": None, "StatusCode": code}
                await stream.write(msgspec.json.encode(document) + b"\n")
                return stream.end()
        finally:
            if not future.done():
                future.cancel()


def _get_signal(call: Call) -> str | None:
    return call.text("signal") or None if call.minor >= _SIGNAL_SINCE else None
