"""The Engine API over a unix socket, one connection for each call: faster than a client program."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from support.scale import patient


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def call(
    path: Path, method: str, target: str, body: Any = None, timeout_s: float = 30.0
) -> tuple[int, Any]:
    """Return the status and the decoded JSON body, or None where there is none.

    Raises OSError or http.client.HTTPException if the engine goes away meanwhile.
    """
    connection = _Connection(path, patient(timeout_s))
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        connection.request(method, target, data, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


def hijack(path: Path, target: str, body: Any = None) -> socket.socket:
    """Send an upgrading POST and return the raw stream that follows its reply."""
    data = json.dumps(body or {}).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(patient(30))
    connection.connect(str(path))
    connection.sendall(
        f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"no reply to POST {target}: {head!r}"
        head += byte
    assert b" 101 " in head.split(b"\r\n")[0], head
    return connection
