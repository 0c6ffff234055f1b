"""An Engine API on a unix socket that answers from fixed documents.

Two command lines that are to behave alike are run against it: the answers never change
and what each of them asked is on record.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Request(NamedTuple):
    method: str
    path: str  # without the version prefix
    query: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    body: bytes
    status: int = 200
    content_type: str = "application/json"


Answer = Reply | Callable[[Request], Reply]


def document(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode() + b"\n", status)


def problem(status: int, message: str) -> Reply:
    return document({"message": message}, status)


def frame(stream: int, payload: bytes) -> bytes:
    """One stdcopy frame."""
    return struct.pack(">BxxxL", stream, len(payload)) + payload


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def address_string(self) -> str:
        return "unix"

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _serve(self) -> None:
        url = urlsplit(self.path)
        path = url.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        request = Request(
            self.command,
            path,
            dict(parse_qsl(url.query, keep_blank_values=True)),
            self._read_body(),
        )
        engine = self.server.engine
        if path == "/_ping":
            reply = Reply(b"" if self.command == "HEAD" else b"OK", 200, "text/plain")
        else:
            engine.requests.append(request)
            reply = engine.answer(request)
        self.send_response(reply.status)
        self.send_header("Api-Version", engine.api_version)
        self.send_header("Docker-Experimental", "false")
        self.send_header("Ostype", "linux")
        self.send_header("Server", "Docker/28.2.2 (linux)")
        if reply.status not in (204, 304):
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = _serve  # noqa: N815 - the base's names


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    engine: FakeEngine

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; everything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeEngine:
    """Answers by ``(method, path)``; what is not known is a 404 as the engine gives it."""

    def __init__(self, socket: Path, answers: dict[tuple[str, str], Answer]) -> None:
        self.socket = socket
        self.host = f"unix://{socket}"
        self.answers = answers
        self.requests: list[Request] = []
        self.api_version = "1.50"

    def answer(self, request: Request) -> Reply:
        answer = self.answers.get((request.method, request.path))
        if answer is None:
            return self._missing(request)
        return answer if isinstance(answer, Reply) else answer(request)

    def _missing(self, request: Request) -> Reply:
        parts = request.path.strip("/").split("/")
        if len(parts) > 1:
            name = parts[1]
            match parts[0]:
                case "containers":
                    return problem(404, f"No such container: {name}")
                case "images":
                    name = "/".join(parts[1:-1]) if len(parts) > 2 else name
                    return problem(404, f"No such image: {name}:latest")
                case "volumes":
                    return problem(404, f"get {name}: no such volume")
                case "networks":
                    return problem(404, f"network {name} not found")
        return problem(404, "page not found")

    @contextlib.contextmanager
    def serving(self) -> Iterator[FakeEngine]:
        with _Server(str(self.socket), _Handler) as server:
            server.engine = self
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()
                self.socket.unlink()
