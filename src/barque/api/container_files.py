"""The file system of a container: changes, export, commit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from barque.api.contracts import Engine
from barque.api.http import Call, Reply, Response, Stream, reply_json
from barque.engine.files import render_change
from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig

_ARCHIVE = "application/octet-stream"


class ContainerFiles:
    """Operations on a container's file system."""

    def __init__(self, engine: Engine) -> None:
        self._files = engine.files

    async def changes(self, call: Call) -> Reply:
        """List what the container has changed; ``null`` if nothing."""
        changes = await self._files.changes(call.name)
        return reply_json([render_change(change) for change in changes] or None)

    async def export(self, call: Call) -> Response:
        """Send the container's root as a tar archive."""
        return await send_archive(call, self._files.export(call.name), _ARCHIVE)

    async def commit(self, call: Call) -> Reply:
        """Make an image of a container."""
        container = call.text("container")
        if not container:
            raise InvalidArgument("commit needs the parameter container: an id or a name")
        image_id = await self._files.commit(
            container,
            repo=call.text("repo"),
            tag=call.text("tag"),
            author=call.text("author"),
            comment=call.text("comment"),
            changes=call.texts("changes"),
            config=await call.json_as(ContainerConfig),
            pause=call.flag("pause", default=True),
        )
        return reply_json({"Id": image_id}, status=201)


async def send_archive(
    call: Call, chunks: AsyncGenerator[bytes], content_type: str, headers: str = ""
) -> Response:
    """Send what ``chunks`` gives. An error before the first chunk becomes a status.

    Later ones break the reply off, so that nobody takes half an archive for a whole one.
    """
    async with aclosing(chunks):
        with call.cancelled_by_disconnect():
            first = await anext(chunks, b"")
            stream = Stream(call, content_type, headers)
            await stream.write(first)
            async for chunk in chunks:
                await stream.write(chunk)
            return stream.end()
