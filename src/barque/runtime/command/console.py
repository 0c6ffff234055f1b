"""Terminals: handed to a console socket, or joined to our own while we stay in front.

Source: runc's docs/terminals.md; the receiver gets one message with the master.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import signal
import struct
import termios
import time
import tty
from typing import Any, Self

from barque.errors import FailedPrecondition, InvalidArgument
from barque.kernel.seqpacket import Socket, send
from barque.runtime.command.follow import Process
from barque.runtime.terminal import resize

_TIMEOUT_S = 10.0
"""How long those who listen for a terminal or a filter's notices may take to accept."""


def check_console(*, terminal: bool, detached: bool, console_socket: str) -> None:
    """Raise InvalidArgument for a combination in which a terminal has no owner, or too many."""
    if terminal and detached and not console_socket:
        raise InvalidArgument(
            "cannot allocate tty if runc will detach without setting console socket"
        )
    if console_socket and not (terminal and detached):
        raise InvalidArgument("cannot use console socket if runc will not detach or allocate tty")


def send_descriptor(what: str, path: str, message: bytes, fd: int) -> None:
    """Give ``fd``, which stays open here, to whoever listens at ``path``.

    Raises FailedPrecondition, which names the socket as ``what``.
    """
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
    end.settimeout(_TIMEOUT_S)
    try:
        _connect(end, path)
        send(end, message, (fd,))
    except TimeoutError:
        raise FailedPrecondition(
            f"{what} {path}: nobody has accepted within {_TIMEOUT_S:.0f} s"
        ) from None
    except OSError as error:
        text = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"{what} {path}: {text}") from None
    finally:
        end.close()


def _connect(end: Socket, path: str) -> None:
    """Connect; a listener whose queue is full is waited for."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            end.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.01)
        else:
            return


def hand_over(process: Process, path: str) -> Process:
    """Give the process's terminal, if it has one, to the console socket at ``path``, if any."""
    if process.master < 0 or not path:
        return process
    send_descriptor("console socket", path, b"/dev/ptmx", process.master)
    os.close(process.master)
    return process._replace(master=-1)


class Proxy:
    """Our own terminal and the container's as one, until the container's is closed."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._saved: list[Any] | None = None

    def __enter__(self) -> Self:
        if os.isatty(0):
            self._saved = termios.tcgetattr(0)
            tty.setraw(0)
            self.resize()
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        os.close(self._master)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if os.isatty(0):
            packed = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            height, width, _, _ = struct.unpack("=4H", packed)
            resize(self._master, height, width)

    def pump(self, pidfd: int) -> None:
        """Copy both ways until the process has ended and all its output is here."""
        poll = select.poll()
        for fd in (self._master, 0, pidfd):
            poll.register(fd, select.POLLIN)
        ended = False
        while True:
            ready = {fd for fd, _ in poll.poll(0 if ended else None)}
            if self._master in ready and not self._copy(self._master, 1):
                return
            if 0 in ready and not self._copy(0, self._master):
                poll.unregister(0)
            if pidfd in ready:
                if ended and self._master not in ready:
                    return
                ended = True

    @staticmethod
    def _copy(source: int, target: int) -> bool:
        try:
            data = os.read(source, 65536)
        except OSError:  # EIO: the last program has closed its side
            return False
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        return bool(data)


FORWARDED = tuple(
    signal.valid_signals()
    - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGWINCH, signal.SIGURG}
    - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTTOU, signal.SIGTTIN}
)
"""What is passed on to a process in the foreground."""
