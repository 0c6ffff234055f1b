"""Requests as the handlers see them, and the replies they give.

Replies are written straight to the connection, head and body in one write: the head is put
together once per status and content type, so a reply costs a few microseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import web
from aiohttp.http import HttpVersion11

import barque
from barque.api import decode
from barque.api.connection import Connection
from barque.api.errors import PayloadTooLarge
from barque.api.parameters import parse_dimension, parse_flag, parse_integer
from barque.api.versions import NEWEST, format_version
from barque.errors import InvalidArgument

T = TypeVar("T", bound=msgspec.Struct)

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

MAX_JSON_BYTES = 8 << 20
"""Limit of a JSON request body; inline seccomp profiles are the largest known, at 100 KB."""

ENGINE_HEADERS = (
    f"Api-Version: {format_version(NEWEST)}\r\n"
    "Docker-Experimental: false\r\n"
    "Ostype: linux\r\n"
    f"Server: barque/{barque.__version__} (linux)\r\n"
)
"""What every reply carries."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})

_heads: dict[tuple[int, str], bytes] = {}
_date: tuple[int, bytes] = (0, b"")


def _format_date() -> bytes:
    """Return the Date header, made once a second."""
    global _date  # noqa: PLW0603 - a cache of one entry
    now = int(time.time())
    if _date[0] != now:
        day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        month = (
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
        )  # fmt: skip
        t = time.gmtime(now)
        text = (
            f"Date: {day[t.tm_wday]}, {t.tm_mday:02} {month[t.tm_mon - 1]} {t.tm_year} "
            f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT\r\n"
        )
        _date = (now, text.encode())
    return _date[1]


def make_head(status: int, content_type: str, headers: str = "") -> bytes:
    """Return status line and headers, up to where the framing headers go."""
    head = _heads.get((status, content_type))
    if head is None:
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{ENGINE_HEADERS}{kind}".encode()
        _heads[status, content_type] = head
    return head + _format_date() + headers.encode("latin-1") if headers else head + _format_date()


class Response:
    """What a handler returns: aiohttp's server calls ``prepare`` and ``write_eof``."""

    __slots__ = ("keep_alive",)

    def __init__(self) -> None:
        self.keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the reply."""

    async def write_eof(self) -> None:
        """Nothing is left to be written."""


class Reply(Response):
    """A complete reply. ``headers`` are raw lines, each ending in CRLF."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = JSON,
        headers: str = "",
    ) -> None:
        super().__init__()
        self.status = status
        self.body = body
        self.content_type = content_type if body else ""
        self.headers = headers

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write head and body in one piece."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        message = request._message  # noqa: SLF001 - the parsed head; properties of it are slow
        # The parser drops what follows an upgrade that nobody took up, so that is the last.
        self.keep_alive = not (
            message.should_close
            or message.upgrade
            or getattr(request.protocol, "half_closed", False)
        )
        head = make_head(self.status, self.content_type, self.headers)
        if self.status not in _WITHOUT_BODY:
            head += b"Content-Length: %d\r\n" % len(self.body)
        if not self.keep_alive:
            head += b"Connection: close\r\n\r\n"
        elif message.version < HttpVersion11:
            head += b"Connection: keep-alive\r\n\r\n"
        else:
            head += b"\r\n"
        transport.write(head if message.method == "HEAD" else head + self.body)


class Written(Response):
    """The handler wrote its reply itself."""

    __slots__ = ()

    def __init__(self, *, keep_alive: bool = False) -> None:
        super().__init__()
        self.keep_alive = keep_alive


EMPTY = b""


def reply_json(value: Any, status: int = 200) -> Reply:
    """Reply with ``value`` as compact JSON and a newline."""
    return Reply(msgspec.json.encode(value) + b"\n", status=status)


def no_content() -> Reply:
    """Reply 204."""
    return Reply(status=204)


class Stream:
    """A streaming reply: the head is sent at once, every message flushed.

    HTTP/1.1 gets chunks, HTTP/1.0 raw bytes until the connection closes.
    """

    def __init__(self, call: Call, content_type: str, headers: str = "") -> None:
        self._connection = call.connection
        self._request = call.request
        self._chunked = call.request.version >= HttpVersion11
        self._keep_alive = self._chunked and call.request.keep_alive
        framing = b"Transfer-Encoding: chunked\r\n" if self._chunked else b""
        if not self._keep_alive:
            framing += b"Connection: close\r\n"
        call.stream = self
        self._send(make_head(200, content_type, headers) + framing + b"\r\n")

    def _send(self, data: bytes) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        transport.write(data)

    async def write(self, data: bytes) -> None:
        """Send one message; waits while the client's socket is full.

        Raises ConnectionError when the client is gone.
        """
        if not data:
            return
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        await self._request.writer.drain()

    def end(self) -> Written:
        """Finish the reply in order."""
        if self._chunked:
            self._send(b"0\r\n\r\n")
        return Written(keep_alive=self._keep_alive)


class Call:
    """One request: an operation, what it is about, and its parameters."""

    __slots__ = ("_query", "connection", "method", "minor", "name", "path", "request", "stream")

    def __init__(self, request: web.BaseRequest, method: str, path: str, minor: int) -> None:
        connection = request.protocol
        assert isinstance(connection, Connection)
        self.request = request
        self.connection = connection
        self.method = method
        self.path = path
        self.minor = minor
        self.name = ""
        """The path's parameter: a container, image, network, ..."""
        self.stream: Stream | None = None
        self._query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        """The decoded query parameters."""
        if self._query is None:
            _, _, text = self.request._message.path.partition("?")  # noqa: SLF001 - as above
            try:
                self._query = parse_qs(text, keep_blank_values=True) if text else {}
            except ValueError as error:
                raise InvalidArgument(f"invalid query: {error}") from None
        return self._query

    def text(self, key: str, default: str = "") -> str:
        """Return the first value of a parameter."""
        values = self.query.get(key)
        return values[0] if values else default

    def texts(self, key: str) -> list[str]:
        """Return all values of a repeatable parameter."""
        return self.query.get(key, [])

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a boolean parameter; ``default`` only if the key is absent."""
        values = self.query.get(key)
        return parse_flag(values[0]) if values else default

    def integer(self, key: str) -> int | None:
        """Return an integer parameter, or None if absent or empty."""
        text = self.text(key)
        return parse_integer(key, text) if text else None

    def dimensions(self) -> tuple[int, int]:
        """Return the required parameters ``h`` and ``w``."""
        return parse_dimension("height", self.text("h")), parse_dimension("width", self.text("w"))

    def header(self, name: str) -> str:
        """Return a header's value, or ""."""
        return self.request.headers.get(name, "")

    def _continue(self) -> None:
        """Answer ``Expect: 100-continue`` now that the body is wanted."""
        if self.header("Expect").lower() == "100-continue":
            transport = self.connection.transport
            if transport is not None:
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def body(self, limit_bytes: int = MAX_JSON_BYTES) -> bytes:
        """Read the whole body. Raises PayloadTooLarge behind ``limit_bytes``."""
        content = self.request.content
        if content.is_eof() and content.at_eof():
            return EMPTY
        length = self.request.content_length
        if length is not None and length > limit_bytes:
            raise PayloadTooLarge(
                f"the request body has {length} bytes, {self.path} takes at most {limit_bytes}"
            )
        self._continue()
        parts = bytearray()
        async for part in content.iter_any():
            parts += part
            if len(parts) > limit_bytes:
                raise PayloadTooLarge(
                    f"the request body is larger than the {limit_bytes} bytes {self.path} takes"
                )
        return bytes(parts)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read the body as it arrives (archives)."""
        self._continue()
        async for part in self.request.content.iter_any():
            yield part

    async def json(self) -> dict[str, Any] | None:
        """Read a JSON object; None without a body.

        Raises InvalidArgument for another content type, invalid JSON, and trailing data.
        """
        body = await self.body()
        kind = self.header("Content-Type")
        if kind or body:
            self._check_content_type(kind)
        return decode.parse_object(body) if body.strip() else None

    async def json_as(self, kind: type[T]) -> T | None:
        """Read a JSON object as a ``kind``; None without a body."""
        document = await self.json()
        return None if document is None else decode.convert(document, kind)

    def _check_content_type(self, kind: str) -> None:
        if kind.partition(";")[0].strip().lower() != JSON:
            raise InvalidArgument(f"unsupported Content-Type header ({kind}): must be '{JSON}'")

    @contextmanager
    def cancelled_by_disconnect(self) -> Iterator[None]:
        """Cancel the block when the client goes away, or the server closes."""
        task = asyncio.current_task()
        assert task is not None
        self.connection.streaming = task
        try:
            yield
        finally:
            self.connection.streaming = None


def decode_path(raw: str) -> str:
    """Return the path of a request target, without its query, percent-decoded."""
    path = raw.partition("?")[0]
    return unquote(path) if "%" in path else path


Handler = Callable[[Call], Awaitable[Response]]
