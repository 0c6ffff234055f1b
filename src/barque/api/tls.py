"""TLS in front of the server.

Connections are decrypted here and carried to the server over a socket pair, so that the
server only ever sees plain sockets: attach and exec hand out a descriptor in any case, and a
client's close_notify becomes a half-close, which ends stdin without ending the output.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

_HANDSHAKE_S = 10.0
_LINGER_S = 10.0
_READ_BYTES = 1 << 16

_log = logging.getLogger("barque.api")


class TlsFront:
    """Accepts TLS connections and passes their plain side to ``protocol_factory``."""

    def __init__(
        self, context: ssl.SSLContext, protocol_factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._context = context
        self._protocol_factory = protocol_factory

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until both directions have ended."""
        try:
            await self._serve(reader, writer)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            _log.info("TLS connection from %s ended: %s", writer.get_extra_info("peername"), error)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self._context, reader, writer)
        async with asyncio.timeout(_HANDSHAKE_S):
            await session.handshake()
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._protocol_factory, theirs)
        inner_reader, inner_writer = await asyncio.open_unix_connection(sock=ours)
        inbound = asyncio.create_task(_decrypt(session, inner_writer))
        try:
            await _encrypt(inner_reader, session)
            await asyncio.wait({inbound}, timeout=_LINGER_S)
        finally:
            inbound.cancel()
            await asyncio.gather(inbound, return_exceptions=True)
            inner_writer.close()


async def _decrypt(session: _Session, inner: asyncio.StreamWriter) -> None:
    while data := await session.read():
        inner.write(data)
        await inner.drain()
    inner.write_eof()


async def _encrypt(inner: asyncio.StreamReader, session: _Session) -> None:
    while data := await inner.read(_READ_BYTES):
        await session.write(data)
    await session.close_notify()


class _Session:
    """A TLS session over asyncio streams; reading and writing may go on at once."""

    def __init__(
        self,
        context: ssl.SSLContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            self._writer.write(self._outgoing.read())
        await self._writer.drain()

    async def _receive(self) -> bool:
        """Feed what the client sent; False at its end."""
        data = await self._reader.read(_READ_BYTES)
        if not data:
            self._incoming.write_eof()
            return False
        self._incoming.write(data)
        return True

    async def handshake(self) -> None:
        """Shake hands. Raises ssl.SSLError, also when the client's certificate is not ours."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._receive():
                    raise ConnectionResetError("closed during the TLS handshake") from None
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Return decrypted bytes; b"" once the client has ended its side."""
        while True:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._receive():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            else:
                return data

    async def write(self, data: bytes) -> None:
        """Send ``data``."""
        self._tls.write(data)
        await self._flush()

    async def close_notify(self) -> None:
        """Tell the client that nothing more comes."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()
        self._writer.write_eof()
