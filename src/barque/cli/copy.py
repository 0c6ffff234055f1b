"""``cp``: files and directories, or a tar stream, from a container and into one."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.client.http import quote_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from barque.cli.copyfiles import Side

_STREAM = "-"
_GO_DIRECTORY = 1 << 31
_GO_SYMLINK = 1 << 27
_NOT_FOUND = 404


def split_path(text: str) -> tuple[str, str]:
    """Container and path of ``CONTAINER:PATH``; container "" for a path here.

    A leading ``/`` or ``.`` makes it local, and so does the absence of a colon.
    """
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return "", text
    return container, path


def _cp(call: Invocation) -> int:
    source, target = call.args
    from_container, from_path = split_path(source)
    to_container, to_path = split_path(target)
    if from_container and to_container:
        raise CommandError("copying between containers is not supported")
    if from_container:
        return _download(call, from_container, from_path, to_path)
    if to_container:
        return _upload(call, from_path, to_container, to_path)
    raise CommandError("must specify at least one container source")


def _resource(container: str) -> str:
    return f"/containers/{quote_segment(container)}/archive"


def _stat(call: Invocation, container: str, path: str) -> dict[str, Any]:
    """What the engine says of a file. Raises ApiError, 404 if there is none."""
    answer = call.client.request("HEAD", _resource(container), query={"path": path})
    answer.read()
    return _parse_stat(answer.headers)


def _parse_stat(headers: Mapping[str, str]) -> dict[str, Any]:
    import base64  # noqa: PLC0415 - completion imports us
    import json  # noqa: PLC0415 - the same

    text = headers.get("x-docker-container-path-stat", "")
    document: dict[str, Any] = json.loads(base64.b64decode(text) or b"{}")
    return document


def _is_link(found: Mapping[str, Any]) -> bool:
    return bool(found.get("mode", 0) & _GO_SYMLINK)


def _download(call: Invocation, container: str, path: str, target: str) -> int:
    from barque.cli.copyfiles import Side, look_at_target, plan_copy, unpack  # noqa: PLC0415

    name = ""
    if call.flags["follow-link"]:
        found = _stat(call, container, path)
        if _is_link(found):
            name, path = found["name"], found["linkTarget"]
    if target == _STREAM:
        return _send(call, container, path)
    place = look_at_target(target)
    answer = call.client.request("GET", _resource(container), query={"path": path})
    with answer:
        found = _parse_stat(answer.headers)
        is_directory = bool(found["mode"] & _GO_DIRECTORY)
        source = Side(path, exists=True, is_directory=is_directory, name=name)
        directory, new = plan_copy(source, place)
        stream = _Chunks(answer.chunks())
        unpack(stream, directory, found["name"], new)  # type: ignore[arg-type]  # only read from
        stream.drain()
    _tell(call, stream.bytes_read, place.path)
    return 0


def _send(call: Invocation, container: str, path: str) -> int:
    from barque.cli.output import open_output  # noqa: PLC0415 - completion imports us

    answer = call.client.request("GET", _resource(container), query={"path": path})
    refusal = "refusing to write a tar archive to a terminal: redirect the output"
    with answer, open_output("", refusal=refusal, failure="") as out:
        for data in answer.chunks():
            out.write(data)
    return 0


def _upload(call: Invocation, path: str, container: str, target: str) -> int:
    from barque.cli.archives import read_pieces  # noqa: PLC0415 - completion imports us
    from barque.cli.copyfiles import look_at_source, pack, plan_copy  # noqa: PLC0415

    place = _look_into(call, container, target)
    if path == _STREAM:
        if not place.is_directory:
            raise CommandError(f'destination "{container}:{target}" must be a directory')
        _put(call, container, place.path, read_pieces(0))
        return 0
    source = look_at_source(path, follow=call.flags["follow-link"])
    directory, name = plan_copy(source, place)
    counted = _Chunks(pack(source, name))
    _put(call, container, directory, counted)
    _tell(call, counted.bytes_read, f"{container}:{target}")
    return 0


def _look_into(call: Invocation, container: str, path: str) -> Side:
    """Describe a target in a container; a link there is followed."""
    from barque.cli.copyfiles import Side  # noqa: PLC0415 - completion imports us
    from barque.client.errors import ApiError  # noqa: PLC0415 - the same

    try:
        found = _stat(call, container, path)
        if _is_link(found):
            path = found["linkTarget"]
            found = _stat(call, container, path)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return Side(path, exists=False, is_directory=False)
    return Side(path, exists=True, is_directory=bool(found["mode"] & _GO_DIRECTORY))


def _put(call: Invocation, container: str, path: str, data: Iterable[bytes]) -> None:
    query = {
        "path": path,
        "noOverwriteDirNonDir": True,
        "copyUIDGID": call.flags["archive"] or None,
    }
    call.client.request("PUT", _resource(container), query=query, data=data).read()


def _tell(call: Invocation, size: int, target: str) -> None:
    """Say what was copied, where somebody is there to read it."""
    from barque.cli.terminal import STDOUT, is_terminal  # noqa: PLC0415 - completion imports us
    from barque.cli.units import human_size  # noqa: PLC0415 - the same

    if not call.flags["quiet"] and is_terminal(STDOUT):
        sys.stderr.write(f"Successfully copied {human_size(size)} to {target}\n")


class _Chunks:
    """Chunks that are counted as they pass, and can be read like a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = b""
        self.bytes_read = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.bytes_read += len(chunk)
            yield chunk

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes; fewer only at the end."""
        parts = [self._left]
        length = len(self._left)
        while length < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self.bytes_read += len(chunk)
            parts.append(chunk)
            length += len(chunk)
        data = b"".join(parts)
        self._left = data[size:]
        return data[:size]

    def drain(self) -> None:
        """Read to the end."""
        for _ in self:
            pass


CP = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\ncp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    _cp,
    minimum=2,
    maximum=2,
    description=(
        "Copy files/folders between a container and the local filesystem\n\n"
        "Use '-' as the source to read a tar archive from stdin\n"
        "and extract it to a directory destination in a container.\n"
        "Use '-' as the destination to stream a tar archive of a\n"
        "container source to stdout."
    ),
    flags=(
        Flag("archive", "bool", "Archive mode (copy all uid/gid information)", short="a"),
        Flag("follow-link", "bool", "Always follow symbol link in SRC_PATH", short="L"),
        Flag("quiet", "bool", "Suppress progress output during copy", short="q"),
    ),
)
