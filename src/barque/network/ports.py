"""Published ports: what is asked for, which numbers it gets, and the sockets that hold them.

A port is held by a socket of the engine that is bound to it: nobody else can take it, and who
tries is told "address already in use". Packets never reach that socket, because the firewall
leads them to the container first. The exception is TCP over IPv6: Linux does not route ``::1``
away from the loopback, and a container may have no IPv6 at all; for these the socket listens,
and ``relay`` carries the connection. See docs/adr/0009.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain
from typing import NamedTuple

from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.models.api import PortBinding
from barque.network.endpoints import Target
from barque.network.firewall import PROTOCOLS, UNSPECIFIED, Port

ANY_4, ANY_6 = "0.0.0.0", "::"  # noqa: S104 - what is asked for

_SPEC = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(\w+))?")
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_LOCAL_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"
_FALLBACK_RANGE = (49153, 65535)
_BACKLOG = 128
_RELAYED = frozenset({"tcp", "udp"})
"""What is published over IPv6 where the kernel cannot translate it; see ``Relay``."""
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}

Published = dict[str, list[PortBinding]]
"""``NetworkSettings.Ports`` without the ports that are exposed only."""


class Wanted(NamedTuple):
    """One publication: of ``port`` at ``host_ip`` ("" any) under the first free of a range.

    0 to 0 is an ephemeral port.
    """

    port: int
    protocol: str
    host_ip: str
    first: int
    last: int


def parse_container_port(text: str) -> tuple[range, str]:
    """Read ``80``, ``80/udp``, ``8000-8010/tcp``. Raises InvalidArgument."""
    match = _SPEC.fullmatch(text)
    protocol = (match[3] or "tcp").lower() if match else ""
    if match is None or protocol not in PROTOCOLS:
        raise InvalidArgument(f"invalid port specification: {text!r}: give port[/tcp|udp|sctp]")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 < first <= last <= 65535:
        raise InvalidArgument(f"invalid port specification: {text!r}: ports go from 1 to 65535")
    return range(first, last + 1), protocol


def parse_bindings(
    bindings: Mapping[str, list[PortBinding] | None] | None,
    exposed: Iterable[str] = (),
    *,
    publish_all: bool = False,
) -> list[Wanted]:
    """Return what ``PortBindings``, ``ExposedPorts`` and ``PublishAllPorts`` ask for, in order.

    Raises InvalidArgument for ports and addresses that are none.
    """
    wanted: list[Wanted] = []
    for text, entries in (bindings or {}).items():
        ports, protocol = parse_container_port(text)
        for port in ports:
            wanted += [_parse_binding(port, protocol, entry) for entry in entries or ()]
    if publish_all:
        have = {(want.port, want.protocol) for want in wanted}
        for text in (*(bindings or {}), *exposed):
            ports, protocol = parse_container_port(text)
            for port in ports:
                if (port, protocol) not in have:
                    have.add((port, protocol))
                    wanted.append(Wanted(port, protocol, "", 0, 0))
    return sorted(wanted, key=lambda want: (want.port, want.protocol))


def _parse_binding(port: int, protocol: str, entry: PortBinding) -> Wanted:
    host_ip = entry.host_ip.strip("[]")
    if host_ip:
        try:
            host_ip = str(ip_address(host_ip))
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {entry.host_ip}") from None
    if not entry.host_port:
        return Wanted(port, protocol, host_ip, 0, 0)
    match = _RANGE.fullmatch(entry.host_port)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last <= 65535:
        raise InvalidArgument(f'invalid port specification: "{entry.host_port}"')
    return Wanted(port, protocol, host_ip, first, last)


@dataclass
class Held:
    """The ports of one container: how they are shown, and what stands behind them."""

    published: Published = field(default_factory=dict)
    ports: list[Port] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    listeners: list[tuple[socket.socket, str, int]] = field(default_factory=list)
    """Those of ``sockets`` that are read, and where what comes to them leads."""

    def close(self) -> None:
        """Let go of the ports."""
        for holder in self.sockets:
            holder.close()
        self.sockets.clear()
        self.listeners.clear()


class PortAllocator:
    """Gives out host ports. Use on the loop's thread."""

    def __init__(self, *, ipv6: bool) -> None:
        """``ipv6``: whether this host has it."""
        self._ipv6 = ipv6
        self._next: dict[str, int] = {}
        self._used: dict[tuple[str, int, int], set[str]] = {}

    def hold(self, wanted: Iterable[Wanted], target: Target, *, default_ip: str, who: str) -> Held:
        """Hold all that is ``wanted``, or nothing.

        ``default_ip`` is where ports without an address are published; ``who`` names the
        endpoint in errors. Raises FailedPrecondition with docker's words: the port is
        allocated, in use by another program, or its address is not this host's.
        """
        held = Held()
        with ExitStack() as undo:
            undo.callback(self.release, held)
            for want in wanted:
                self._hold_one(held, want, target, default_ip, who)
            undo.pop_all()
        return held

    def _hold_one(
        self, held: Held, want: Wanted, target: Target, default_ip: str, who: str
    ) -> None:
        addresses = self._addresses(want, target, default_ip)
        routed = [
            address
            for address, translated in (
                (target.ipv4, target.translated_4),
                (target.ipv6, target.translated_6),
            )
            if address and not translated
        ]
        if not (routed or addresses):
            return
        shown = held.published.setdefault(f"{want.port}/{want.protocol}", [])
        for address in routed:
            held.ports.append(Port(want.protocol, "", 0, address, want.port, translated=False))
            shown.append(PortBinding(host_ip=ANY_6 if ":" in address else ANY_4, host_port=""))
        if not addresses:
            return
        number = self._choose(held, want, addresses, who)
        for host_ip in addresses:
            shown.append(PortBinding(host_ip=host_ip, host_port=str(number)))
            address = target.ipv6 if ":" in host_ip else target.ipv4
            if address:
                held.ports.append(Port(want.protocol, host_ip, number, address, want.port))

    def _addresses(self, want: Wanted, target: Target, default_ip: str) -> list[str]:
        """Where the port is published: at one address, or at all of IPv4 and of IPv6."""
        host_ip = want.host_ip or default_ip
        candidates = [host_ip] if host_ip else [ANY_4, ANY_6]
        if host_ip == ANY_4 and not want.host_ip:
            candidates = [ANY_4, ANY_6]
        found = []
        for candidate in candidates:
            if ":" not in candidate:
                if target.ipv4 and target.translated_4:
                    found.append(candidate)
                continue
            relayed = want.protocol in _RELAYED and bool(target.ipv4) and target.translated_4
            direct = bool(target.ipv6) and target.translated_6
            routed = bool(target.ipv6) and not target.translated_6
            if self._ipv6 and not routed and (direct or relayed):
                found.append(candidate)
        return found

    def _choose(self, held: Held, want: Wanted, addresses: list[str], who: str) -> int:
        if want.first == want.last != 0:
            self._bind_all(held, want, addresses, want.first, who)
            return want.first
        failure: FailedPrecondition | None = None
        for number in self._candidates(want):
            try:
                self._bind_all(held, want, addresses, number, who)
            except FailedPrecondition as error:
                failure = error
                continue
            if not want.first:
                self._next[want.protocol] = number + 1
            return number
        raise failure or FailedPrecondition(
            f"{_failed(who)}all ports are allocated: no ephemeral {want.protocol} port is free"
        )

    def _candidates(self, want: Wanted) -> Iterable[int]:
        """The range asked for; else the ephemeral ports, from the one behind the last given."""
        if want.first:
            return range(want.first, want.last + 1)
        first, last = _local_range()
        reserved = _reserved_ports()
        start = self._next.get(want.protocol, first)
        if not first <= start <= last:
            start = first
        numbers = chain(range(start, last + 1), range(first, start))
        return (number for number in numbers if number not in reserved)

    def _bind_all(
        self, held: Held, want: Wanted, addresses: list[str], number: int, who: str
    ) -> None:
        with ExitStack() as undo:
            made: list[tuple[socket.socket | None, str]] = []
            for host_ip in addresses:
                if self._clashes(want.protocol, host_ip, number):
                    raise FailedPrecondition(
                        f"{_failed(who)}Bind for {_join(host_ip, number)} failed: port is already "
                        "allocated"
                    )
                holder = _open_holder(want.protocol, host_ip, number, who)
                if holder is not None:
                    undo.callback(holder.close)
                made.append((holder, host_ip))
            undo.pop_all()
        for holder, host_ip in made:
            self._use(want.protocol, host_ip, number)
            if holder is None:
                continue
            held.sockets.append(holder)
            if want.protocol in _RELAYED and ":" in host_ip:
                held.listeners.append((holder, host_ip, want.port))

    def _clashes(self, protocol: str, host_ip: str, number: int) -> bool:
        """Whether the port is given out already: an unspecified address is all of its family."""
        used = self._used.get((protocol, _version(host_ip), number))
        if not used:
            return False
        return host_ip in UNSPECIFIED or host_ip in used or not UNSPECIFIED.isdisjoint(used)

    def _use(self, protocol: str, host_ip: str, number: int) -> None:
        self._used.setdefault((protocol, _version(host_ip), number), set()).add(host_ip)

    def release(self, held: Held) -> None:
        """Let go of the ports. Idempotent."""
        for text, bindings in held.published.items():
            protocol = text.partition("/")[2]
            for binding in bindings:
                if not binding.host_port:
                    continue
                key = (protocol, _version(binding.host_ip), int(binding.host_port))
                used = self._used.get(key, set())
                used.discard(binding.host_ip)
                if not used:
                    self._used.pop(key, None)
        held.close()

    def retake(self, published: Published, target: Target, *, who: str) -> tuple[Held, list[str]]:
        """Hold again what a running container had before the engine was started anew.

        Returns what could not be held, as warnings. A port that another program has taken
        meanwhile is kept all the same, as its rules are in force; one that belongs to a container
        retaken before is not.
        """
        held, warnings = Held(), []
        for text, bindings in published.items():
            ports, protocol = parse_container_port(text)
            for binding in bindings:
                if not binding.host_port:
                    address = target.ipv6 if ":" in binding.host_ip else target.ipv4
                    port = Port(protocol, "", 0, address, ports[0], translated=False)
                    held.published.setdefault(text, []).append(binding)
                    held.ports.append(port)
                    continue
                number, host_ip = int(binding.host_port), binding.host_ip
                want = Wanted(ports[0], protocol, host_ip, number, number)
                if self._clashes(protocol, host_ip, number):
                    shown = _join(host_ip, number)
                    warnings.append(f"{shown}/{protocol} belongs to another container: given up")
                    continue
                try:
                    self._bind_all(held, want, [host_ip], number, who)
                except FailedPrecondition as error:
                    warnings.append(str(error))
                    self._use(protocol, host_ip, number)
                held.published.setdefault(text, []).append(binding)
                address = target.ipv6 if ":" in host_ip else target.ipv4
                if address:
                    held.ports.append(Port(protocol, host_ip, number, address, ports[0]))
        return held, warnings


def _open_holder(protocol: str, host_ip: str, number: int, who: str) -> socket.socket | None:
    """Bind a socket, ready to be read if it is relayed. None: the kernel has no such protocol."""
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    listens = protocol == "tcp" and family == socket.AF_INET6
    try:
        holder = socket.socket(family, _KINDS[protocol] | socket.SOCK_CLOEXEC, PROTOCOLS[protocol])
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return None  # sctp: without it in the kernel nobody else has the port, either
        raise KernelError("socket", error.errno or 0, protocol) from error
    try:
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if family == socket.AF_INET6 and protocol == "udp":
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            holder.setblocking(False)
        if listens:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(holder, host_ip, number)
        if listens:
            holder.listen(_BACKLOG)
            holder.setblocking(False)
    except OSError as error:
        holder.close()
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(
            f"{_failed(who)}failed to bind host port {_join(host_ip, number)}/{protocol}: {reason}"
        ) from error
    return holder


def _bind(holder: socket.socket, host_ip: str, number: int) -> None:
    """Bind, if need be beside connections in TIME_WAIT that a program before us has left.

    ``SO_REUSEADDR`` is taken off again: whoever wants to listen here does not share with us.
    """
    try:
        holder.bind((host_ip, number))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or holder.type != socket.SOCK_STREAM:
            raise
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host_ip, number))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _failed(who: str) -> str:
    return (
        "failed to set up container networking: driver failed programming external connectivity "
        f"on endpoint {who}: "
    )


def _join(host_ip: str, number: int) -> str:
    return f"[{host_ip}]:{number}" if ":" in host_ip else f"{host_ip}:{number}"


def _local_range() -> tuple[int, int]:
    try:
        with open(_LOCAL_RANGE) as file:
            first, last = (int(word) for word in file.read().split())
    except (OSError, ValueError):
        return _FALLBACK_RANGE
    return first, last


def _reserved_ports() -> set[int]:
    reserved: set[int] = set()
    try:
        with open(_RESERVED) as file:
            parts = file.read().strip().split(",")
    except OSError:
        return reserved
    for part in filter(None, parts):
        first, _, last = part.partition("-")
        reserved.update(range(int(first), int(last or first) + 1))
    return reserved
