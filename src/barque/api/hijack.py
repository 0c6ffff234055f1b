"""Turning a request's connection into a raw stream (attach, exec start).

The client's own socket is taken out of the server and its descriptor given away, so that
whoever runs the process writes to the client directly. Only when the client already sent
bytes behind its request, which cannot be put back, a socket pair stands in between.

Source: Engine API, ContainerAttach, "Hijacking".
"""

from __future__ import annotations

import asyncio
import os
import socket

from barque.api.connection import UPGRADE
from barque.api.http import ENGINE_HEADERS, Call
from barque.api.tasks import Background
from barque.errors import InvalidArgument

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"
MULTIPLEXED_SINCE = 42
"""The version that began to announce multiplexed streams by their own content type."""

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"

_LINGER_S = 10.0
_PUMP_BYTES = 1 << 16
_CONTROL = {**{chr(c): c - 0x60 for c in range(ord("a"), ord("z") + 1)},
            "@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}  # fmt: skip


def parse_detach_keys(text: str) -> bytes:
    """Read ``a,ctrl-p,DEL`` into the bytes that a terminal sends; "" is the default.

    Raises InvalidArgument.
    """
    keys = bytearray()
    for key in (text or DEFAULT_DETACH_KEYS).split(","):
        if key.startswith("ctrl-") and key[5:].lower() in _CONTROL:
            keys.append(_CONTROL[key[5:].lower()])
        elif key == "DEL":
            keys.append(127)
        elif len(key) == 1 and key.isascii():
            keys.append(ord(key))
        else:
            raise InvalidArgument(f"Unknown character: {key!r} in detach keys {text!r}")
    return bytes(keys)


def get_content_type(call: Call, *, tty: bool) -> str:
    """Return the content type of a container's output for this request."""
    if tty or call.minor < MULTIPLEXED_SINCE:
        return RAW_STREAM
    return MULTIPLEXED_STREAM


async def take_socket(call: Call, *, tty: bool, background: Background) -> int:
    """Answer 101 (or 200, if the client asked for no upgrade) and take the socket out.

    Returns a descriptor of the connected stream socket that the caller owns. The server
    knows the connection no more. Raises ConnectionError if the client is gone.
    """
    connection = call.connection
    transport = connection.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    transport.pause_reading()
    if call.header(UPGRADE) or call.header("Upgrade"):
        head = (
            f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {get_content_type(call, tty=tty)}\r\n"
            f"Connection: Upgrade\r\nUpgrade: tcp\r\n{ENGINE_HEADERS}\r\n"
        )
    else:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {RAW_STREAM}\r\n{ENGINE_HEADERS}\r\n"
    transport.write(head.encode())
    await connection.flush()
    early = connection.take_held_bytes()
    fd = os.dup(transport.get_extra_info("socket").fileno())
    connection.force_close()
    if not early:
        return fd
    client = socket.socket(fileno=fd)
    ours, theirs = socket.socketpair()
    background.start(_pump_both(client, ours, early), name="hijack pump")
    return theirs.detach()


async def _pump_both(client: socket.socket, engine: socket.socket, early: bytes) -> None:
    """Carry bytes both ways until both are done; ``early`` goes to the engine first."""
    client.setblocking(False)
    engine.setblocking(False)
    with client, engine:
        to_engine = asyncio.create_task(_pump(client, engine, early))
        try:
            await _pump(engine, client, b"")
            # The output is complete and half-closed: let the client close in its own time, as
            # closing with unread input would reset the connection under its last bytes.
            await asyncio.wait({to_engine}, timeout=_LINGER_S)
        finally:
            to_engine.cancel()
            await asyncio.gather(to_engine, return_exceptions=True)


async def _pump(source: socket.socket, target: socket.socket, first: bytes) -> None:
    """Carry bytes one way, then half-close. A side that is gone ends it."""
    loop = asyncio.get_running_loop()
    try:
        data = first or await loop.sock_recv(source, _PUMP_BYTES)
        while data:
            await loop.sock_sendall(target, data)
            data = await loop.sock_recv(source, _PUMP_BYTES)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
