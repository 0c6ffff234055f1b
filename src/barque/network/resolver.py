"""The name server at 127.0.0.11 of containers on networks of the user's own.

Its sockets are in the container's network namespace, the event loop serves them all. Names of
containers are answered from ``Names``; everything else is asked of the servers that the
container was given, byte for byte but for the id, or refused where the container's networks
have no way out. A resolver ends with its engine; the next engine makes it again.

Source: RFC 1035, RFC 6891 (EDNS), the Engine's embedded DNS server.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from dnslib import AAAA, CLASS, PTR, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from barque.network.names import Names, parse_reverse
from barque.network.namespaces import ResolverSockets

TTL_S = 600
UPSTREAM_S = 4.0
MOST_UPSTREAMS = 3
MOST_QUERIES = 1024
MOST_TCP_CLIENTS = 64
TCP_IDLE_S = 10.0

_PLAIN_UDP_BYTES = 512
_MOST_UDP_BYTES = 65535
_HEADER_BYTES = 12
_CACHED = 512

_log = logging.getLogger("barque.network")


@dataclass(frozen=True)
class Upstream:
    """A server that is asked what we do not know. ``inside``: from the container's namespace."""

    address: str
    inside: bool
    port: int = 53


@dataclass(frozen=True)
class View:
    """What one container sees: its networks in order, its own links, whom it may ask."""

    networks: tuple[str, ...]
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    upstreams: tuple[Upstream, ...] = ()
    host_servers: Callable[[], tuple[Upstream, ...]] | None = None
    """Gives the servers to ask when one is needed, in the place of ``upstreams``."""
    keep_single_labels: bool = False
    """The user set ndots: names without a dot are no business of the servers outside."""


OpenSocket = Callable[[Upstream, int], Awaitable[socket.socket]]
"""Open a socket of a kind (SOCK_DGRAM, SOCK_STREAM) that reaches an upstream."""


class Resolver:
    """One container's name server. Use on the loop's thread."""

    def __init__(
        self, sockets: ResolverSockets, names: Names, view: View, open_socket: OpenSocket
    ) -> None:
        """Takes the sockets."""
        self.view = view
        self._sockets = sockets
        self._names = names
        self._open_socket = open_socket
        self._work: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._cache: dict[bytes, bytes] = {}
        self._cached = (-1, view)
        loop = asyncio.get_running_loop()
        loop.add_reader(sockets.udp.fileno(), self._on_datagram)
        self._start(self._accept())

    def close(self) -> None:
        """Answer no more; close the sockets. Idempotent."""
        if self._sockets.udp.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._sockets.udp.fileno())
        for task in self._work:
            task.cancel()
        asyncio.get_running_loop().remove_reader(self._sockets.tcp.fileno())
        self._sockets.close()

    def _start(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run())
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _on_datagram(self) -> None:
        for _ in range(64):  # then the others have their turn
            try:
                query, client = self._sockets.udp.recvfrom(_MOST_UDP_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ECONNREFUSED:  # of an earlier answer
                    _log.debug("resolver: %s", error)
                return
            answer = self._answer_cached(query)
            if answer is not None:
                self._send(answer, client)
            elif self._waiting >= MOST_QUERIES:
                self._send(refuse(query, RCODE.REFUSED), client)
            else:
                self._start(self._forward_datagram(query, client))

    def _send(self, answer: bytes, client: tuple[str, int]) -> None:
        with suppress(OSError):  # the client's queue is full, or it has gone: it asks again
            self._sockets.udp.sendto(answer, client)

    def _answer_cached(self, query: bytes) -> bytes | None:
        """Answer a query over UDP, or None if others are to be asked."""
        now = (self._names.generation, self.view)
        if self._cached != now:
            self._cache.clear()
            self._cached = now
        known = self._cache.get(query[2:])
        if known is not None:
            return query[:2] + known
        answer, limit, stable = answer_locally(query, self._names, self.view)
        if answer is None:
            return None
        if len(answer) > limit:
            answer = truncate(answer)
        if stable and len(self._cache) < _CACHED:
            self._cache[query[2:]] = answer[2:]
        return answer

    async def _forward_datagram(self, query: bytes, client: tuple[str, int]) -> None:
        self._waiting += 1
        try:
            answer = await self._forward(query, socket.SOCK_DGRAM)
        finally:
            self._waiting -= 1
        self._send(answer, client)

    async def _forward(self, query: bytes, kind: int) -> bytes:
        """Ask the upstreams, one after the other, until one has an answer."""
        last = refuse(query, RCODE.SERVFAIL)
        view = self.view
        upstreams = view.host_servers() if view.host_servers else view.upstreams
        for upstream in upstreams[:MOST_UPSTREAMS]:
            try:
                async with asyncio.timeout(UPSTREAM_S):
                    answer = await self._ask(upstream, query, kind)
            except (OSError, TimeoutError) as error:
                _log.debug("name server %s: %s", upstream.address, error or "no answer in time")
                continue
            if answer[3] & 0xF not in (RCODE.SERVFAIL, RCODE.REFUSED):
                return answer
            last = answer
        return last

    async def _ask(self, upstream: Upstream, query: bytes, kind: int) -> bytes:
        """Ask one server under an id of ours. Raises OSError."""
        loop = asyncio.get_running_loop()
        with await self._open_socket(upstream, kind) as asked:
            await loop.sock_connect(asked, (upstream.address, upstream.port))
            sent = secrets.token_bytes(2) + query[2:]
            if kind == socket.SOCK_STREAM:
                await loop.sock_sendall(asked, len(sent).to_bytes(2, "big") + sent)
                size = int.from_bytes(await _read_exactly(asked, 2), "big")
                answer = await _read_exactly(asked, size)
            else:
                await loop.sock_sendall(asked, sent)
                answer = b""
                while answer[:2] != sent[:2] or len(answer) < _HEADER_BYTES:
                    answer = await loop.sock_recv(asked, _MOST_UDP_BYTES)
        if len(answer) < _HEADER_BYTES or answer[:2] != sent[:2]:
            raise OSError(errno.EBADMSG, "the answer is not one to the question")
        return query[:2] + answer[2:]

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(MOST_TCP_CLIENTS)
        while True:
            await room.acquire()
            try:
                client, _ = await loop.sock_accept(self._sockets.tcp)
            except OSError as error:
                _log.debug("resolver: %s", error)
                room.release()
                await asyncio.sleep(0.1)
                continue
            self._start(self._serve(client, room))

    async def _serve(self, client: socket.socket, room: asyncio.Semaphore) -> None:
        """Answer the queries of one TCP connection."""
        loop = asyncio.get_running_loop()
        try:
            with client:
                client.setblocking(False)
                while True:
                    async with asyncio.timeout(TCP_IDLE_S):
                        size = int.from_bytes(await _read_exactly(client, 2), "big")
                        query = await _read_exactly(client, size)
                    answer, _, _ = answer_locally(query, self._names, self.view)
                    if answer is None:
                        answer = await self._forward(query, socket.SOCK_STREAM)
                    await loop.sock_sendall(client, len(answer).to_bytes(2, "big") + answer)
        except (OSError, TimeoutError):
            return
        finally:
            room.release()


async def _read_exactly(source: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(source, size - len(data))
        if not part:
            raise OSError(errno.ECONNRESET, "the connection ended")
        data += part
    return data


def answer_locally(query: bytes, names: Names, view: View) -> tuple[bytes | None, int, bool]:
    """Answer a query from ``names``: (answer, size that the client takes over UDP, is stable).

    The answer is None if others are to be asked. It is stable if asking again gives the same:
    the order of several addresses is not. A query that cannot be read is answered with FORMERR.
    """
    try:
        record = DNSRecord.parse(query)
        question = record.questions[0]
    except (DNSError, IndexError, ValueError):
        return refuse(query, RCODE.FORMERR), _PLAIN_UDP_BYTES, True
    limit = max((rr.rclass for rr in record.ar if rr.rtype == QTYPE.OPT), default=_PLAIN_UDP_BYTES)
    limit = max(limit, _PLAIN_UDP_BYTES)
    name = str(question.qname).rstrip(".")
    reply = record.reply(ra=1, aa=0)
    if question.qclass != CLASS.IN:
        return None, limit, False
    kind = question.qtype
    if kind == QTYPE.PTR:
        address = parse_reverse(name)
        found = names.find_name(view.networks, address) if address else None
        if found is None:
            return None, limit, False
        reply.add_answer(RR(question.qname, QTYPE.PTR, ttl=TTL_S, rdata=PTR(f"{found}.")))
        return bytes(reply.pack()), limit, True
    if kind not in (QTYPE.A, QTYPE.AAAA, QTYPE.MX):
        return None, limit, False
    addresses = names.find(view.networks, name, view.links)
    if addresses is None:
        if view.keep_single_labels and "." not in name and kind != QTYPE.MX:
            return bytes(reply.pack()), limit, True
        return None, limit, False
    _add_addresses(reply, addresses, kind)
    return bytes(reply.pack()), limit, len(reply.rr) < 2


def _add_addresses(reply: DNSRecord, addresses: Sequence[str], kind: int) -> None:
    version = {QTYPE.A: 4, QTYPE.AAAA: 6}.get(kind)
    fitting = [address for address in addresses if ip_address(address).version == version]
    random.shuffle(fitting)
    for address in fitting:
        data = A(address) if version == 4 else AAAA(address)
        reply.add_answer(RR(reply.q.qname, kind, ttl=TTL_S, rdata=data))


def truncate(answer: bytes) -> bytes:
    """Return the answer without its records, marked as truncated: the client asks by TCP."""
    record = DNSRecord.parse(answer)
    record.rr, record.auth, record.ar = [], [], []
    record.header.tc = 1
    return bytes(record.pack())


def refuse(query: bytes, code: int) -> bytes:
    """Return an answer to ``query`` that only tells ``code``; with its question, if readable."""
    try:
        reply = DNSRecord.parse(query).reply(ra=1, aa=0)
    except (DNSError, IndexError, ValueError):
        head = query[:2].ljust(2, b"\0") + bytes([0x80, 0x80 | code])
        return head + b"\0" * (_HEADER_BYTES - len(head))
    reply.header.rcode = code
    return bytes(reply.pack())
