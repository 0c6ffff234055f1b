"""Files of a container: look up, copy out, copy in."""

from __future__ import annotations

import base64
from contextlib import aclosing

import msgspec

from barque.api.container_files import send_archive
from barque.api.contracts import Engine
from barque.api.http import Call, Reply, Response
from barque.engine.copying import PathStat
from barque.errors import InvalidArgument

_ARCHIVE = "application/x-tar"
_STAT_HEADER = "X-Docker-Container-Path-Stat"


class ContainerArchive:
    """Operations on the files of one container."""

    def __init__(self, engine: Engine) -> None:
        self._files = engine.files

    async def info(self, call: Call) -> Reply:
        """Describe the file ``path`` in a header."""
        with call.cancelled_by_disconnect():
            found = await self._files.stat_path(call.name, _get_path(call))
        return Reply(headers=_format_stat(found))

    async def get(self, call: Call) -> Response:
        """Send the file or directory ``path`` as a tar archive."""
        async with aclosing(self._files.read_archive(call.name, _get_path(call))) as steps:
            with call.cancelled_by_disconnect():
                found, chunks = await anext(steps)
            response = await send_archive(call, chunks, _ARCHIVE, _format_stat(found))
            async for _ in steps:
                raise AssertionError("one archive only")
            return response

    async def put(self, call: Call) -> Reply:
        """Unpack the body in the directory ``path``."""
        with call.cancelled_by_disconnect():
            await self._files.write_archive(
                call.name,
                _get_path(call),
                call.chunks(),
                keep_kinds=call.flag("noOverwriteDirNonDir"),
                as_user=call.flag("copyUIDGID"),
            )
        return Reply()


def _get_path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidArgument("bad parameter: 'path' cannot be empty")
    return path


def _format_stat(found: PathStat) -> str:
    document = {
        "name": _printable(found.name),
        "size": found.size,
        "mode": found.mode,
        "mtime": found.mtime,
        "linkTarget": _printable(found.link_target),
    }
    text = base64.b64encode(msgspec.json.encode(document)).decode()
    return f"{_STAT_HEADER}: {text}\r\n"


def _printable(name: str) -> str:
    """Return a name with U+FFFD for what is not UTF-8."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
