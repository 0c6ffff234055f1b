"""The container's terminal: a pair from its own devpts instance.

Source: pty(7), ioctl_tty(2).
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios

from barque.errors import InvalidArgument
from barque.kernel import mount as km
from barque.runtime.rootfs import Root

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
TIOCSCTTY = termios.TIOCSCTTY
_PTMX = os.makedev(5, 2)


def open_pair(root: Root) -> tuple[int, int]:
    """(master, slave) of a new terminal in the devpts mounted at the root's /dev/pts."""
    master = root.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    info = os.fstat(master)
    if not stat.S_ISCHR(info.st_mode) or info.st_rdev != _PTMX:
        raise InvalidArgument("/dev/pts/ptmx is not a terminal multiplexer: no terminal can be had")
    os.set_blocking(master, True)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
    return master, open_slave(master)


def open_slave(master: int) -> int:
    """The other side of ``master``, opened through it and not by a path."""
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def bind_console(root: Root, slave: int) -> None:
    """Show the terminal as /dev/console."""
    target = root.make_file("/dev/console")
    copy = km.clone_tree("", dir_fd=slave)
    km.move_mount(copy, target, "/dev/console")
    os.close(copy)
    os.close(target)


def resize(terminal: int, height: int, width: int) -> None:
    """Set the size in characters; the kernel sends SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("=4H", height, width, 0, 0))


def connect(slave: int) -> None:
    """Make the terminal stdin, stdout and stderr."""
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    if slave > 2:
        os.close(slave)


def control() -> None:
    """Make the terminal on stdin the controlling one of the session that the caller leads."""
    fcntl.ioctl(0, TIOCSCTTY, 0)
