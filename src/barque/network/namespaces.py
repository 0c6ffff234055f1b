"""Work in the network namespaces of containers, by threads that live for one call.

The event loop's thread never leaves the host's namespace. A thread that has been somewhere
else is thrown away, so that none can come back in the wrong place. What is made there stays
there: sockets keep the namespace in which they were opened.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_interface
from typing import NamedTuple, TypeVar

from barque.errors import KernelError
from barque.kernel import nftables
from barque.kernel.conntrack import forget_udp
from barque.kernel.netlink import Netlink, delete_link, replace_default_route
from barque.kernel.process import CLONE_NEWNET, setns, unshare
from barque.models.launch import Interface
from barque.models.network import WITH_PARENT
from barque.network.endpoints import Way, next_interface
from barque.network.files import RESOLVER
from barque.runtime.network import configure

_OWN = "/proc/thread-self/ns/net"
_TABLE = "barque-names"
_BACKLOG = 64

_log = logging.getLogger("barque.network")

T = TypeVar("T")


class ResolverSockets(NamedTuple):
    """The sockets at which a container's names are asked for. Whoever has them closes them."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        """Close both."""
        self.udp.close()
        self.tcp.close()


async def call_in_thread(work: Callable[[], T], dispose: Callable[[T], None] | None = None) -> T:
    """Run ``work`` in a thread of its own and return what it returns, or raise what it raises.

    If the caller is cancelled, ``work`` still ends, and ``dispose`` gets its result.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # a T without an error
        elif error is None and dispose is not None:
            dispose(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001 - raised where it is awaited
            error = caught
        loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, daemon=True, name="namespace").start()
    return await future


def make_namespace(interfaces: list[Interface]) -> tuple[int, ResolverSockets]:
    """Make a network namespace with ``interfaces`` and resolver sockets; for a thread.

    Returns a descriptor of it and the sockets, both the caller's. On failure nothing is left.
    """
    host = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        made = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            configure(interfaces, host)
            return made, _open_resolver()
        except BaseException:
            os.close(made)
            raise
    finally:
        os.close(host)


def wire_namespace(namespace_fd: int, interfaces: list[Interface]) -> ResolverSockets:
    """Put ``interfaces`` and resolver sockets into a namespace; for a thread.

    Takes the descriptor, returns the sockets, the caller's.
    """
    host = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace_fd)
        configure(interfaces, host)
        return _open_resolver()
    finally:
        os.close(host)


def open_resolver(namespace_fd: int) -> ResolverSockets:
    """Make resolver sockets in an existing namespace; for a thread. Takes the descriptor."""
    _enter(namespace_fd)
    return _open_resolver()


def open_socket(namespace_fd: int, family: int, kind: int) -> socket.socket:
    """Make a socket in an existing namespace; for a thread. Takes the descriptor."""
    _enter(namespace_fd)
    return socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


def _enter(namespace_fd: int) -> None:
    try:
        setns(namespace_fd, CLONE_NEWNET)
    finally:
        os.close(namespace_fd)


def add_interface(
    namespace_fd: int, interface: Interface, ways: list[Way], *, named: bool = False
) -> None:
    """Make ``interface`` in an existing namespace, then set the default routes; for a thread.

    Its ``name``, unless ``named``, is a prefix: it gets the first number that is free.
    """
    host = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace_fd, CLONE_NEWNET)
        if not named:
            with Netlink() as netlink:
                names = [link.name for link in netlink.links()]
            interface.name = next_interface(names, interface.name)
        configure([interface], host)
        _set_ways(ways)
    finally:
        os.close(host)


def set_ways(namespace_fd: int, ways: list[Way]) -> None:
    """Set the default routes of an existing namespace; for a thread."""
    setns(namespace_fd, CLONE_NEWNET)
    _set_ways(ways)


def _set_ways(ways: list[Way]) -> None:
    with Netlink() as netlink:
        found = {_plain(address.cidr): address.ifindex for address in netlink.addresses()}
        for way in ways:
            index = found.get(_plain(way.address))
            if index is not None:
                netlink.execute(replace_default_route(index, way.gateway))


def _plain(cidr: str) -> str:
    return str(ip_interface(cidr).ip)


def remove_inside(namespace_fd: int, addresses: list[str]) -> None:
    """Remove the interface that has one of ``addresses``, by its namespace; for a thread."""
    setns(namespace_fd, CLONE_NEWNET)
    with Netlink() as netlink:
        wanted = {_plain(address) for address in addresses}
        for index in {a.ifindex for a in netlink.addresses() if _plain(a.cidr) in wanted}:
            netlink.execute(delete_link(index))


def remove_strangers(namespace_fd: int, lost: Collection[str]) -> Sequence[str]:
    """Remove interfaces upon a parent in the host that have an address of ``lost``; for a thread.

    Takes the descriptor; returns their names.
    """
    _enter(namespace_fd)
    wanted = {_plain(address) for address in lost}
    removed = []
    with Netlink() as netlink:
        found = {a.ifindex for a in netlink.addresses() if _plain(a.cidr) in wanted}
        for link in netlink.links():
            if link.ifindex in found and link.kind in WITH_PARENT and link.reaches_out:
                netlink.execute(delete_link(link.ifindex))
                removed.append(link.name)
    return removed


def remove_interface(host_name: str) -> None:
    """Remove a veth pair by its end in the host. Nothing happens where there is none."""
    with Netlink() as netlink:
        index = netlink.find_index(host_name)
        if index is not None:
            netlink.execute(delete_link(index))


def _open_resolver() -> ResolverSockets:
    """Open the sockets at ports of the kernel's choice and lead port 53 there.

    A name server of the container's own may so have port 53 of all its addresses.
    """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sockets = ResolverSockets(udp, tcp)
    try:
        for opened in sockets:
            opened.bind((RESOLVER, 0))
            opened.setblocking(False)
        tcp.listen(_BACKLOG)
        targets = [
            (socket.IPPROTO_UDP, udp.getsockname()[1]),
            (socket.IPPROTO_TCP, tcp.getsockname()[1]),
        ]
        _redirect(targets)
    except OSError as error:
        sockets.close()
        raise KernelError("bind", error.errno or 0, RESOLVER) from error
    except BaseException:
        sockets.close()
        raise
    return sockets


def _redirect(targets: list[tuple[int, int]]) -> None:
    """Lead port 53 of the resolver's address to ``targets``, and no longer to earlier ones."""
    address = socket.inet_aton(RESOLVER)
    operation = "redirect the resolver's port in"
    with nftables.Nftables() as tables:
        try:
            new = nftables.redirect_locally(_TABLE, address, 53, targets, replace=False)
            tables.batch(new, operation, _TABLE)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            again = nftables.redirect_locally(_TABLE, address, 53, targets, replace=True)
            tables.batch(again, operation, _TABLE)
            _forget_questions()


def _forget_questions() -> None:
    """Lead those to the new socket, too, who ask by one of their own again and again."""
    try:
        forget_udp({53})
    except KernelError as error:
        _log.warning("a program that asks for names all the while may get no answer: %s", error)
