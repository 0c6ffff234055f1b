"""GET /containers/{id}/logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from struct import Struct
from urllib.parse import quote_plus

from barque.api.contracts import Engine
from barque.api.hijack import get_content_type
from barque.api.http import Call, Response, Stream
from barque.api.parameters import find_time
from barque.engine.logfiles import LogEntry
from barque.engine.logs import LogQuery
from barque.errors import InvalidArgument

STDOUT, STDERR = 1, 2

_PADDED_LENGTH = len("2006-01-02T15:04:05.000000000Z")
_pack_header = Struct(">BxxxL").pack


class ContainerLogs:
    """Logs."""

    def __init__(self, engine: Engine) -> None:
        self._containers = engine.containers

    async def logs(self, call: Call) -> Response:
        """Stream the log; the head goes out before the first entry."""
        query = parse_query(call)
        record = self._containers.get(call.name)
        tty = record.config.tty
        encode = make_encoder(
            framed=not tty, timestamps=call.flag("timestamps"), details=query.details
        )
        batches = self._containers.logs(call.name, query)
        with call.cancelled_by_disconnect():
            stream = Stream(call, get_content_type(call, tty=tty))
            async with aclosing(batches):  # type: ignore[type-var]  # an async generator
                async for batch in batches:
                    await stream.write(encode(batch))
            return stream.end()


def parse_query(call: Call) -> LogQuery:
    """Read what is wanted. Raises InvalidArgument if it is neither stdout nor stderr."""
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    tail = call.text("tail")
    return LogQuery(
        stdout=stdout,
        stderr=stderr,
        follow=call.flag("follow"),
        since_ns=find_time(call.text("since")),
        until_ns=find_time(call.text("until")),
        # "all", nothing, and what is no number at all mean everything, as in dockerd.
        tail=int(tail) if tail.isascii() and tail.isdigit() else None,
        details=call.flag("details"),
    )


def make_encoder(
    *, framed: bool, timestamps: bool, details: bool
) -> Callable[[Sequence[LogEntry]], bytes]:
    """Return a function that makes the wire's bytes of a batch.

    ``framed`` puts the 8-byte stdcopy header before each entry (no terminal).
    """

    def prefix(entry: LogEntry) -> bytes:
        text = f"{pad_time(entry.time)} " if timestamps else ""
        if details:
            text += format_details(entry.attrs) + " "
        return text.encode()

    def frame(entry: LogEntry, line: bytes) -> bytes:
        return make_frame(STDERR if entry.stream == "stderr" else STDOUT, line)

    if timestamps or details:
        if framed:
            return lambda batch: b"".join([frame(e, prefix(e) + e.log.encode()) for e in batch])
        return lambda batch: b"".join([prefix(e) + e.log.encode() for e in batch])
    if framed:
        return lambda batch: b"".join([frame(e, e.log.encode()) for e in batch])
    return lambda batch: b"".join([e.log.encode() for e in batch])


def make_frame(stream: int, data: bytes) -> bytes:
    """Return ``data`` behind its stdcopy header."""
    return _pack_header(stream, len(data)) + data


def pad_time(text: str) -> str:
    """Return an RFC 3339 time in UTC with always nine digits of the second."""
    if len(text) == _PADDED_LENGTH:
        return text
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}Z"


def format_details(attrs: dict[str, str]) -> str:
    """Return ``k=v,k2=v2``, sorted, escaped as in a URL's query."""
    return ",".join(f"{quote_plus(key)}={quote_plus(attrs[key])}" for key in sorted(attrs))
