"""One client connection, with what attach and exec need and plain HTTP does not.

A request that becomes a raw stream (attach, exec start) is kept apart from what follows it:
the HTTP parser sees its head and body, and every byte behind them is held back. If the
request is answered with a stream, the bytes belong to it; if it is refused, they are the next
request. ``Upgrade`` is renamed on the way, as the parser would throw away what follows it.

Known limit: this begins at a request that starts a read. A raw request pipelined behind
another one is served, but what is sent behind it before its answer is taken for HTTP.
"""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

UPGRADE = "Barque-Upgrade"
"""The name under which handlers of raw requests find the Upgrade header."""

_RAW_REQUEST = re.compile(
    rb"POST [^ ?\r\n]*/(?:attach|exec/[^/ ?\r\n]+/start)(?:\?[^ \r\n]*)? HTTP"
)
_UPGRADE_HEADER = re.compile(rb"(?<=\r\n)Upgrade(?=[ \t]*:)", re.IGNORECASE)
_TRANSFER_ENCODING = re.compile(rb"\r\nTransfer-Encoding[ \t]*:", re.IGNORECASE)
_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)

_METHOD = b"POST "
_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 1 << 16
_MAX_HELD_BYTES = 1 << 16


class Connection(web.RequestHandler):
    """A client connection."""

    __slots__ = ("_body_left", "_head", "_held", "half_closed", "streaming")

    def __init__(self, manager: web.Server, **options: object) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]  # the server's options
        self.half_closed = False
        """The client will send nothing more."""
        self.streaming: asyncio.Task[object] | None = None
        """The task to cancel when the client goes away."""
        self._head = b""
        """The beginning of what may be a raw request."""
        self._body_left = 0
        self._held: bytearray | None = None
        """What follows the raw request in progress; None: there is none."""

    def data_received(self, data: bytes) -> None:
        """Sort bytes into HTTP and what follows a raw request; see the module's text."""
        if self._held is not None:
            self._receive_raw(data)
            return
        if self._head or self._is_between_requests():
            data, self._head = self._head + data, b""
            if data.startswith(_METHOD[: len(data)]):
                match _find_raw_head(data):
                    case None:
                        self._head = data
                        return
                    case 0:
                        pass
                    case head_bytes:
                        self._begin_raw(data[:head_bytes], data[head_bytes:])
                        return
        super().data_received(data)

    def _is_between_requests(self) -> bool:
        return (self._waiter is not None or self._request_count == 0) and not self._messages

    def _begin_raw(self, head: bytes, rest: bytes) -> None:
        self._held = bytearray()
        length = _CONTENT_LENGTH.search(head)
        self._body_left = int(length[1]) if length is not None else 0
        super().data_received(_UPGRADE_HEADER.sub(UPGRADE.encode(), head))
        if rest:
            self._receive_raw(rest)

    def _receive_raw(self, data: bytes) -> None:
        assert self._held is not None
        body = data[: self._body_left]
        if body:
            self._body_left -= len(body)
            super().data_received(body)
        self._held += data[len(body) :]
        if len(self._held) >= _MAX_HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Reply; after a refused raw request, go on with what followed it."""
        result = await super().finish_response(request, resp, start_time)
        if self._held is not None:
            held = self.take_held_bytes()
            self._held = None
            if self.transport is not None:
                self.transport.resume_reading()
                if held:
                    self.data_received(held)
        return result

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's own type
        """Keep the connection open for a raw stream's output; otherwise close it."""
        self.half_closed = True
        return self._held is not None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the streaming handler, if there is one."""
        self.cancel_streaming()
        super().connection_lost(exc)

    def cancel_streaming(self) -> None:
        """End a reply that would go on for ever."""
        if self.streaming is not None:
            self.streaming.cancel()
            self.streaming = None

    def take_held_bytes(self) -> bytes:
        """Return, and forget, what the client sent behind the raw request."""
        held = bytes(self._held or b"")
        if self._held is not None:
            self._held.clear()
        return held

    async def flush(self) -> None:
        """Wait until everything written has reached the kernel."""
        transport = self.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        transport.set_write_buffer_limits(high=0)
        await self._drain_helper()


def _find_raw_head(data: bytes) -> int | None:
    """Return the size of a raw request's head, 0 if it is none, None if more is needed."""
    more = None if len(data) < _MAX_HEAD_BYTES else 0
    if b"\r\n" not in data:
        return more
    if _RAW_REQUEST.match(data) is None:
        return 0
    end = data.find(_HEAD_END)
    if end < 0:
        return more
    size = end + len(_HEAD_END)
    return 0 if _TRANSFER_ENCODING.search(data, 0, size) else size


class Connections(web.Server):
    """The HTTP server: a factory of Connections."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def cancel_streaming(self) -> None:
        """End all replies that would go on for ever."""
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.cancel_streaming()
