"""A minimal HTTP/1.1 client for the Engine API.

Made for one purpose, to cost nothing at the start of a command: it imports no part of the
standard library's network stack (``http.client`` alone costs more than the rest of
``barque ps``). What it knows: JSON and streamed requests, content-length and chunked
answers, keep-alive, connections taken over as raw streams (hijack).

One client serves one thread. Requests follow each other on one connection as long as every
answer is read to its end; while one is still being read, the next opens its own.

    client.get("/containers/json", query={"all": True})     # the decoded JSON answer
    with client.request("GET", "/events") as answer:        # a stream of JSON messages
        for message in answer.messages(): ...
    stream = client.hijack("/containers/x/attach", query={"stream": True, "stdout": True})

Requests go to the unversioned path, which means the engine's newest version, so no ping
has to come first; ``DOCKER_API_VERSION`` pins one.

Sources: https://www.rfc-editor.org/rfc/rfc9112 (HTTP/1.1), Engine API.
"""

from __future__ import annotations

from barque.client.errors import ApiError, ClientError, ConnectionLost
from barque.client.wirejson import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

_PIECE = 1 << 16
_HEAD_LIMIT = 1 << 20
_ERROR_LIMIT = 1 << 20
_AT_ONCE = 50
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH_SAFE = _UNRESERVED | frozenset(b"/:@!$&'()*+,;=")


def quote(text: str, safe: frozenset[int] = _UNRESERVED) -> str:
    """``text`` percent-encoded, except for the bytes in ``safe`` (RFC 3986)."""
    raw = text.encode("utf-8", "surrogateescape")
    if safe.issuperset(raw):
        return text
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in raw)


def quote_segment(text: str) -> str:
    """``text`` as one segment of a path: a container's name, a volume's name."""
    return quote(text)


def quote_image(text: str) -> str:
    """An image reference in a path: slashes and colons stay, as the API wants them."""
    return quote(text, _PATH_SAFE)


def encode_query(query: Mapping[str, Any] | None) -> str:
    """``?a=1&b=x``, or "" without parameters.

    True and False become 1 and 0, a list repeats its key, a mapping is sent as JSON
    (``filters``), None is left out.
    """
    if not query:
        return ""
    pairs: list[str] = []
    for key, value in query.items():
        if value is None:
            continue
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, bool):
                text = "1" if item else "0"
            elif isinstance(item, dict):
                text = encode(item)
            else:
                text = str(item)
            pairs.append(f"{quote(key)}={quote(text)}")
    return "?" + "&".join(pairs) if pairs else ""


def encode_filters(filters: Iterable[tuple[str, str]]) -> dict[str, dict[str, bool]] | None:
    """``--filter`` pairs in the API's form, for the query key ``filters``; None if empty.

    The older of the two accepted forms, ``{"status": {"running": true}}``, because every
    engine reads it.
    """
    found: dict[str, dict[str, bool]] = {}
    for key, value in filters:
        found.setdefault(key, {})[value] = True
    return found or None


class Connection:
    """A connected socket and what was read from it but not yet used."""

    __slots__ = ("pending", "socket", "used")

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket
        self.pending = b""
        self.used = False

    def receive(self) -> bytes:
        """Some bytes: those pending, else the next that come; b"" at the end."""
        if self.pending:
            data, self.pending = self.pending, b""
            return data
        return self.socket.recv(_PIECE)

    def read_until(self, mark: bytes, limit: int) -> bytes:
        """Everything before the next ``mark``, which is dropped; raises if the peer ends first."""
        data = self.receive()
        while (at := data.find(mark)) < 0:
            if len(data) > limit:
                raise ConnectionLost("the answer's header is too long to be HTTP")
            more = self.socket.recv(_PIECE)
            if not more:
                raise ConnectionLost(
                    "the engine closed the connection before it answered"
                    if not data
                    else "the engine closed the connection in the middle of its answer"
                )
            data += more
        self.pending = data[at + len(mark) :]
        return data[:at]


class Response:
    """An answer whose head has come. Its body is read once: whole, or piece by piece.

    A context manager: leaving it gives the connection up if the body was not read to its
    end. ``headers`` has names in lower case.
    """

    __slots__ = ("_client", "_connection", "_left", "headers", "status")

    _CHUNKED = -1
    _UNTIL_CLOSE = -2

    def __init__(
        self,
        client: Client,
        connection: Connection,
        status: int,
        headers: dict[str, str],
        *,
        empty: bool,
    ) -> None:
        self._client = client
        self._connection: Connection | None = connection
        self.status = status
        self.headers = headers
        if empty or status in (204, 304):
            self._left = 0
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            self._left = self._CHUNKED
        elif "content-length" in headers:
            self._left = int(headers["content-length"])
        else:
            self._left = self._UNTIL_CLOSE
        if self._left == 0:
            self._finish(reusable=True)

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes. Raises :class:`ConnectionLost` if it ends early."""
        connection = self._connection
        if connection is None:
            return
        if self._left == self._CHUNKED:
            yield from self._transfer_chunks(connection)
        elif self._left == self._UNTIL_CLOSE:
            while data := connection.receive():
                yield data
            self._finish(reusable=False)
            return
        else:
            yield from self._exactly(connection, self._left)
        self._finish(reusable=True)

    def fileno(self) -> int:
        """The descriptor that becomes readable when more of the body comes; -1 if none will."""
        return -1 if self._connection is None else self._connection.socket.fileno()

    def is_buffered(self) -> bool:
        """True if some of the body, or its end, has come: reading does not wait for it."""
        return self._connection is None or bool(self._connection.pending)

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def json(self) -> Any:
        """The body as one JSON value; None if it is empty."""
        body = self.read()
        return decode(body) if body else None

    def lines(self) -> Iterator[bytes]:
        """The body's lines, each as soon as it is complete, without their ends."""
        rest = b""
        for data in self.chunks():
            *complete, rest = (rest + data).split(b"\n")
            yield from complete
        if rest:
            yield rest

    def messages(self) -> Iterator[Any]:
        """The JSON values of a stream, one a line, each as soon as it has come."""
        for line in self.lines():
            if text := line.strip():
                yield decode(text)

    def close(self) -> None:
        """Give the connection up, if the body was not read to its end."""
        self._finish(reusable=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _transfer_chunks(self, connection: Connection) -> Iterator[bytes]:
        while True:
            size = int(connection.read_until(b"\r\n", _HEAD_LIMIT).split(b";")[0], 16)
            if size == 0:
                while connection.read_until(b"\r\n", _HEAD_LIMIT):
                    pass  # trailers
                return
            yield from self._exactly(connection, size)
            connection.read_until(b"\r\n", _HEAD_LIMIT)

    def _exactly(self, connection: Connection, size: int) -> Iterator[bytes]:
        while size > 0:
            data = connection.receive()
            if not data:
                raise ConnectionLost("the engine closed the connection in the middle of its answer")
            if len(data) > size:
                connection.pending = data[size:]
                data = data[:size]
            size -= len(data)
            yield data

    def _finish(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if reusable and self.headers.get("connection", "").lower() != "close":
            self._client.keep(connection)
        else:
            connection.socket.close()


class Client:
    """Requests to one engine.

    ``connect`` opens a new connection and raises
    :class:`barque.client.errors.CannotConnect`. ``headers`` are sent with every request;
    ``version`` ("1.47") pins the API version, "" means the newest.
    """

    def __init__(
        self,
        connect: Callable[[], _socket.socket],
        *,
        host: str = "localhost",
        headers: Mapping[str, str] | None = None,
        version: str = "",
    ) -> None:
        self._connect = connect
        self._prefix = f"/v{version}" if version else ""
        own = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._common = f"Host: {host}\r\nUser-Agent: barque\r\n{own}"
        self._idle: Connection | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        data: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request and read the answer's head.

        ``path`` is already percent-encoded (:func:`quote_segment`, :func:`quote_image`) and
        has no version. ``body`` is sent as JSON; ``data`` instead is sent in chunks as it
        comes (a tar archive). Raises :class:`ApiError` for a status of 400 and more,
        :class:`barque.client.errors.CannotConnect`, :class:`ConnectionLost`.
        """
        head = self._head(method, path, query, headers)
        if data is not None:
            connection = self._open()
            content_type = "" if _has(headers, "content-type") else "application/x-tar"
            kind = f"Content-Type: {content_type}\r\n" if content_type else ""
            start = f"{head}{kind}Transfer-Encoding: chunked\r\n\r\n"
            self._send_chunks(connection, start.encode("utf-8"), data)
            status, fields = _read_head(connection)
        else:
            message = head.encode("utf-8", "surrogateescape") + _json_body(method, body)
            connection, status, fields = self._exchange(message)
        answer = Response(self, connection, status, fields, empty=method == "HEAD")
        if status >= 400:
            raise _failure(answer, path)
        return answer

    def get(self, path: str, *, query: Mapping[str, Any] | None = None) -> Any:
        """The decoded JSON of a GET; raises as :meth:`request`."""
        return self.request("GET", path, query=query).json()

    def post(self, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """The decoded JSON answer (None if empty) of a POST; raises as :meth:`request`."""
        return self.request("POST", path, query=query, body=body).json()

    def delete(self, path: str, *, query: Mapping[str, Any] | None = None) -> Any:
        """The decoded JSON answer (None if empty) of a DELETE; raises as :meth:`request`."""
        return self.request("DELETE", path, query=query).json()

    def request_all(
        self, requests: Sequence[tuple[str, str, Mapping[str, Any] | None]]
    ) -> Iterator[Response | ClientError]:
        """The answers to many requests (method, path, query), in order, done at the same time.

        Up to 50 are under way, each on a connection of its own. An answer must be read or
        closed before the next is taken. Errors are values here: one that fails does not
        stop the others.
        """
        sent: list[Connection | ClientError] = []
        for position in range(len(requests)):
            while len(sent) < len(requests) and len(sent) < position + _AT_ONCE:
                sent.append(self._send(*requests[len(sent)]))
            connection = sent[position]
            yield (
                connection
                if isinstance(connection, ClientError)
                else self._collect(connection, requests[position])
            )

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None
    ) -> Connection | ClientError:
        try:
            connection = Connection(self._connect())
            connection.socket.sendall(
                self._head(method, path, query, None).encode("utf-8", "surrogateescape")
                + _json_body(method, None)
            )
        except ClientError as error:
            return error
        except OSError as error:
            return ConnectionLost(f"the engine closed the connection: {error.strerror}")
        return connection

    def _collect(
        self, connection: Connection, request: tuple[str, str, Mapping[str, Any] | None]
    ) -> Response | ClientError:
        method, path, _ = request
        try:
            status, fields = _read_head(connection)
            answer = Response(self, connection, status, fields, empty=method == "HEAD")
            return _failure(answer, path) if status >= 400 else answer
        except ClientError as error:
            connection.socket.close()
            return error

    def hijack(
        self, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> tuple[Connection, dict[str, str]]:
        """POST, and take the connection over as a raw stream in both directions.

        Returns the connection, which now is the caller's (it may hold ``pending`` bytes),
        and the answer's headers. Raises as :meth:`request`.
        """
        head = self._head("POST", path, query, {"Connection": "Upgrade", "Upgrade": "tcp"})
        connection, status, fields = self._exchange(
            head.encode("utf-8", "surrogateescape") + _json_body("POST", body)
        )
        if status >= 300:
            raise _failure(Response(self, connection, status, fields, empty=False), path)
        return connection, fields

    def keep(self, connection: Connection) -> None:
        """Keep an idle connection for the next request (called by :class:`Response`)."""
        if self._idle is None:
            connection.used = True
            self._idle = connection
        else:
            connection.socket.close()

    def close(self) -> None:
        """Close the idle connection."""
        if self._idle is not None:
            self._idle.socket.close()
            self._idle = None

    def _open(self) -> Connection:
        if self._idle is not None:
            connection, self._idle = self._idle, None
            return connection
        return Connection(self._connect())

    def _exchange(self, message: bytes) -> tuple[Connection, int, dict[str, str]]:
        connection = self._open()
        try:
            connection.socket.sendall(message)
            status, fields = _read_head(connection)
        except (ConnectionLost, OSError):
            connection.socket.close()
            if not connection.used:
                raise
            # The engine closed the idle connection meanwhile; it has not seen this request.
            connection = Connection(self._connect())
            connection.socket.sendall(message)
            status, fields = _read_head(connection)
        return connection, status, fields

    def _head(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> str:
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        target = f"{self._prefix}{path}{encode_query(query)}"
        return f"{method} {target} HTTP/1.1\r\n{self._common}{extra}"

    @staticmethod
    def _send_chunks(connection: Connection, start: bytes, data: Iterable[bytes]) -> None:
        socket = connection.socket
        try:
            socket.sendall(start)
            for piece in data:
                if piece:
                    socket.sendall(b"%x\r\n" % len(piece))
                    socket.sendall(piece)
                    socket.sendall(b"\r\n")
            socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            # The engine has stopped reading; its answer says why.
            return


def _has(headers: Mapping[str, str] | None, name: str) -> bool:
    return any(key.lower() == name for key in headers or ())


def _json_body(method: str, body: Any) -> bytes:
    if body is None:
        return b"Content-Length: 0\r\n\r\n" if method in ("POST", "PUT") else b"\r\n"
    content = encode(body).encode("utf-8", "surrogateescape")
    return (
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
    ) + content


def _read_head(connection: Connection) -> tuple[int, dict[str, str]]:
    """The status and the headers of the next final answer (interim ones are skipped)."""
    while True:
        try:
            head = connection.read_until(b"\r\n\r\n", _HEAD_LIMIT)
        except ConnectionResetError:
            raise ConnectionLost("the engine reset the connection before it answered") from None
        first, *lines = head.decode("latin-1").split("\r\n")
        protocol, _, rest = first.partition(" ")
        if not protocol.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ConnectionLost(f"the answer is not HTTP: {first[:60]!r}")
        status = int(rest[:3])
        if status >= 200 or status == 101:
            break
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return status, headers


def _failure(answer: Response, path: str) -> ApiError:
    body = b""
    for piece in answer.chunks():
        body += piece
        if len(body) > _ERROR_LIMIT:
            answer.close()
            break
    text = body.decode("utf-8", "replace").strip()
    message = text
    if text.startswith("{"):
        try:
            message = decode(text).get("message", "") or text
        except (ValueError, AttributeError):
            message = text
    if not message:
        message = (
            f"request returned {answer.status} for {path} without a message; "
            "check if the engine supports the requested API version"
        )
    return ApiError(answer.status, message)
