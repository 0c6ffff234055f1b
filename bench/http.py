"""The thinnest HTTP client: one kept connection to a unix socket, JSON in and out.

Its own cost is some ten microseconds a request, so that what is measured is the engine.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class Connection:
    """A connection to an engine's API socket. Use from one thread; close after use."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._buffer = b""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the decoded answer (None if empty).

        Raises RuntimeError on a status of 400 and above.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /v1.41{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n"
        if payload:
            head += "Content-Type: application/json\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + payload)
        status, content = self._read_answer()
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {content.decode(errors='replace')}")
        return json.loads(content) if content else None

    def _fill(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the engine closed the connection")
        self._buffer += data

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _read_answer(self) -> tuple[int, bytes]:
        status = int(self._read_line().split()[1])
        length, chunked = 0, False
        while line := self._read_line().lower():
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
            elif line.startswith(b"transfer-encoding:"):
                chunked = b"chunked" in line
        if not chunked:
            return status, self._read_exactly(length)
        content = b""
        while size := int(self._read_line(), 16):
            content += self._read_exactly(size)
            self._read_line()
        self._read_line()
        return status, content
