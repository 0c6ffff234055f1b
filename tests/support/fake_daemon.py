"""An Engine API server that answers from a table and remembers what it was asked.

Both command lines, docker's and barque's, can be run against it and their requests
compared. It knows no containers: every create gives the same id, every stream ends at once
unless a test has set what to send.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

API_VERSION = "1.50"
CONTAINER_ID = "c0ffee" + "0" * 57 + "1"
EXEC_ID = "e" * 64


class Request(NamedTuple):
    """One request: the path without its version, decoded; the query; the decoded body."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """What to answer: ``raw`` is what a hijacked connection gets after the head."""

    status: int = 200
    body: Any = None
    raw: bytes | None = None


class FakeDaemon:
    """Listens at a unix socket from ``with`` to its end. ``requests`` are in order of arrival.

    ``replies`` maps ``"POST /containers/create"`` (path without version) to a
    :class:`Reply` or a list of them, used up one by one, and goes before the defaults.
    ``stdin`` is what clients of hijacked connections have sent. ``session``, if set, is
    called with the socket of a hijacked connection and talks to the client itself; when it
    returns the container has ended. ``ended`` can be cleared to let waits wait until then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.replies: dict[str, Reply | list[Reply]] = {}
        self.stdin = b""
        self.inspect: dict[str, Any] = {
            "Id": CONTAINER_ID,
            "Name": "/x",
            "State": {"Running": True, "Paused": False, "Restarting": False, "Status": "running"},
            "Config": {"Tty": False, "OpenStdin": True},
            "HostConfig": {"AutoRemove": False},
        }
        self.exit_code = 0
        self.stream = b""
        self.session: Callable[[socket.socket], None] | None = None
        self.ended = threading.Event()
        self.ended.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # shutdown wakes the accepting thread, close alone would not
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self.path.unlink(missing_ok=True)

    def sent(self, method: str, path: str) -> list[Request]:
        """The requests with this method and path."""
        return [r for r in self.requests if (r.method, r.path) == (method, path)]

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as file, suppress(OSError, ValueError):
                while self._answer(connection, file):
                    pass
        finally:
            with self._lock:
                self._open.discard(connection)

    def _answer(self, connection: socket.socket, file: Any) -> bool:
        line = file.readline().decode()
        if not line:
            return False
        method, target, _ = line.split()
        headers: dict[str, str] = {}
        while text := file.readline().decode().strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = _read_body(file, headers)
        parts = urlsplit(target)
        path = unquote(parts.path)
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        request = Request(
            method, path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body
        )
        with self._lock:
            if not path.endswith("/_ping"):
                self.requests.append(request)
        reply = self._find(request)
        if reply.raw is not None:
            self._hijack(connection, file, reply.raw)
            return False
        if path.endswith("/wait") and not self.ended.is_set():
            self._wait(connection)
            return True
        if isinstance(reply.body, bytes):
            content = reply.body
        else:
            content = b"" if reply.body is None else json.dumps(reply.body).encode() + b"\n"
        connection.sendall(
            f"HTTP/1.1 {reply.status} X\r\nApi-Version: {API_VERSION}\r\nOstype: linux\r\n"
            f"Docker-Experimental: true\r\nServer: Docker/28.2.2 (linux)\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + (b"" if method == "HEAD" else content)
        )
        return True

    def _hijack(self, connection: socket.socket, file: Any, raw: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        if self.session is not None:
            self.session(connection)
        else:
            connection.sendall(raw)
            received = file.read()
            with self._lock:
                self.stdin += received
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        self.ended.set()

    def _wait(self, connection: socket.socket) -> None:
        """The headers at once, the code when the container ends."""
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        self.ended.wait(30)
        content = json.dumps({"StatusCode": self.exit_code}).encode()
        connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))

    def _find(self, request: Request) -> Reply:
        scripted = self.replies.get(f"{request.method} {request.path}")
        if isinstance(scripted, list):
            scripted = scripted.pop(0) if scripted else None
        return scripted or self._default(request)

    def _default(self, request: Request) -> Reply:  # noqa: PLR0911 - a table
        method, path = request.method, request.path
        match method, path.strip("/").split("/"):
            case _, ["_ping"]:
                return Reply(body=None if method == "HEAD" else "OK")
            case "POST", ["containers", "create"]:
                return Reply(201, {"Id": CONTAINER_ID, "Warnings": []})
            case "GET", ["containers", "json"]:
                return Reply(200, [])
            case "GET", ["containers", _, "json"]:
                return Reply(200, self.inspect)
            case "POST", ["containers", _, "attach"]:
                return Reply(raw=self.stream)
            case "POST", ["containers", _, "exec"]:
                return Reply(201, {"Id": EXEC_ID})
            case "POST", ["exec", _, "start"]:
                return Reply() if request.body.get("Detach") else Reply(raw=self.stream)
            case "GET", ["exec", _, "json"]:
                return Reply(200, {"ID": EXEC_ID, "Running": False, "ExitCode": self.exit_code})
            case "POST", ["containers", _, "wait"]:
                return Reply(200, {"StatusCode": self.exit_code})
            case "POST", ["containers", _, "update"]:
                return Reply(200, {"Warnings": None})
            case "POST", ["commit"]:
                return Reply(201, {"Id": "sha256:" + "a" * 64})
            case "POST", ["containers", _, "resize"] | ["exec", _, "resize"]:
                return Reply(200)
            case "POST" | "DELETE", ["containers", *_]:
                return Reply(204)
            case "GET", ["info"]:
                return Reply(200, {"ID": "x", "OSType": "linux"})
            case _:
                return Reply(404, {"message": "page not found"})


def _read_body(file: Any, headers: dict[str, str]) -> Any:
    if headers.get("transfer-encoding") == "chunked":
        content = b""
        while size := int(file.readline(), 16):
            content += file.read(size)
            file.readline()
        file.readline()
    else:
        content = file.read(int(headers.get("content-length", "0")))
    if not content:
        return None
    return json.loads(content) if "json" in headers.get("content-type", "") else content
