"""Local message sockets that carry descriptors, straight on the C socket type.

The standard ``socket`` module wraps that type in classes and enumerations whose objects a
forked process would have to copy page by page; here a socket is its descriptor and four calls.
Source: unix(7), cmsg(3).
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

Socket = _socket.socket
MSG_DONTWAIT = _socket.MSG_DONTWAIT

MAX_MESSAGE = 65536
MAX_FDS = 64
_INT = struct.calcsize("i")
_ANCILLARY = _socket.CMSG_SPACE(MAX_FDS * _INT)
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_SENDER = _socket.CMSG_SPACE(_UCRED.size)
_SO_PASSRIGHTS = 83


def pair() -> tuple[Socket, Socket]:
    """Two connected ends, close-on-exec."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)


def pair_with_senders() -> tuple[Socket, Socket]:
    """As ``pair``, and the kernel says who sent what the first receives; see ``receive_from``.

    It does so from the beginning: what was sent before it is asked to has no sender.
    """
    ours, theirs = pair()
    ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
    return ours, theirs


def refuse_descriptors(end: Socket) -> None:
    """Let nobody send ``end`` descriptors any more: who tries fails, from Linux 6.16 on.

    Closing a stranger's descriptor may block.
    """
    try:
        end.setsockopt(_socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


def new() -> Socket:
    """An unconnected socket, close-on-exec."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)


def from_fd(fd: int) -> Socket:
    """The socket that ``fd`` is. Takes ownership."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=fd)


def listen(listener: Socket, directory: str, name: str) -> None:
    """Let the new socket listen at ``directory/name``, however long that path is."""
    fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{name}")  # an address holds 107 bytes
    finally:
        os.close(fd)
    listener.listen(4)


def connect(directory: str, name: str) -> Socket:
    """A non-blocking connection to the listener at ``directory/name``. Raises OSError."""
    fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    end = new()
    try:
        end.setblocking(False)  # a local connect is accepted by the kernel at once
        end.connect(f"/proc/self/fd/{fd}/{name}")
    except OSError:
        end.close()
        raise
    finally:
        os.close(fd)
    return end


def accept(listener: Socket) -> Socket:
    """The next connection."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - as socket.accept
    return from_fd(fd)


def send(end: Socket, data: bytes, fds: list[int] | tuple[int, ...] = (), flags: int = 0) -> None:
    """Send one message with descriptors, which stay the caller's. Raises OSError."""
    ancillary = []
    if fds:
        packed = struct.pack(f"{len(fds)}i", *fds)
        ancillary.append((_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed))
    end.sendmsg([data], ancillary, flags)


def receive(end: Socket) -> tuple[bytes, list[int]]:
    """One message with its descriptors (close-on-exec, ours); ``b""`` when the peer has gone."""
    data, fds, _ = _receive(end, _ANCILLARY)
    return data, fds


def receive_from(end: Socket, *, descriptors: bool) -> tuple[bytes, list[int], int]:
    """As ``receive``, with the sender's pid, 0 where it is not in our PID namespace.

    Without ``descriptors`` there is no room for any: the kernel drops them, of which those that
    would not be closed at once (a file whose file system has to hear of it) never become ours.

    ``end`` is the first of ``pair_with_senders``. Who has CAP_SYS_ADMIN over a PID namespace may
    give the pid of another process of that namespace for its own.
    """
    return _receive(end, _SENDER + (_ANCILLARY if descriptors else 0))


def _receive(end: Socket, room: int) -> tuple[bytes, list[int], int]:
    data, ancillary, _, _ = end.recvmsg(MAX_MESSAGE, room, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    sender = 0
    for level, kind, packed in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(packed) // _INT}i", packed)
        elif level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
            sender, _, _ = _UCRED.unpack(packed)
    return data, fds, sender
