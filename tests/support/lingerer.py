"""A container's program that has each shim's process it catches report with a bad descriptor.

Run there as ``python -I lingerer.py``, where the container's PID namespace is its own. It takes
the socket of the reports from a process that is on its way to its program, and sends by it a
socket that nobody lets go of in less than ``LINGER_S`` seconds. It tells of each what came of it:
``sent``, or the error's name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

LINGER_S = 20

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000
_AHEAD = 4
_PIDFD_GETFD = 438
_WARNING = b'{"type":"warning","message":"caught"}'

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


_unread: list[socket.socket] = []


def linger(end: socket.socket, *, lingers: bool) -> None:
    """Have who lets go of it last wait for its data to be taken, or not."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", lingers, LINGER_S))


def make_lingering() -> socket.socket:
    """A socket with data that nobody takes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    _unread.append(theirs)
    linger(ours, lingers=True)
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(65536))
    ours.setblocking(True)  # who does not block does not linger
    return ours


def take_socket(pid: int) -> socket.socket | None:
    """The one message socket of the process, or None."""
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                continue
            fd = _libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
            if fd < 0:
                continue
            taken = socket.socket(fileno=fd)
            if taken.type == socket.SOCK_SEQPACKET:
                return taken
            taken.close()
    finally:
        os.close(pidfd)
    return None


def attack(pid: int) -> str:
    """What came of it, or "" where the process had become its program."""
    end = take_socket(pid)
    if end is None:
        return ""
    bad = make_lingering()
    try:
        socket.send_fds(end, [_WARNING], [bad.fileno()])
        bad.close()  # the last is who receives it
    except OSError as error:
        linger(bad, lingers=False)
        bad.close()
        return errno.errorcode[error.errno or 0]
    finally:
        end.close()
    return "sent"


def newest() -> int:
    """The number that was given to a process last."""
    return int(Path("/proc/loadavg").read_text().split()[-1])


def say(text: str) -> None:
    """Tell it at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Watch until killed."""
    done = newest()
    say("ready")
    while True:
        last = newest()
        for pid in range(done + 1, last + _AHEAD):
            if _libc.ptrace(_SEIZE, pid, None, None):
                continue
            _libc.ptrace(_INTERRUPT, pid, None, None)
            with suppress(ChildProcessError):
                os.waitpid(pid, _WALL)
            done = pid
            try:
                told = attack(pid)
            except OSError:  # it has ended
                told = ""
            finally:
                _libc.ptrace(_DETACH, pid, None, None)
            if told:
                say(told)
        done = max(done, last)


if __name__ == "__main__":
    main()
