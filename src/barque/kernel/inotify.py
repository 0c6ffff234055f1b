"""File change notices. Source: inotify(7)."""

from __future__ import annotations

import ctypes
import os
from struct import Struct

from barque.kernel.libc import check, function

IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
_BUFFER = 65536

_init = function("inotify_init1", ctypes.c_int)
_add = function("inotify_add_watch", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_remove = function("inotify_rm_watch", ctypes.c_int, ctypes.c_int)
_header = Struct("iIII")


class Inotify:
    """One inotify instance; non-blocking, close-on-exec."""

    def __init__(self) -> None:
        """Raises KernelError(EMFILE) if the user has too many instances."""
        hint = "see fs.inotify.max_user_instances"
        self.fd: int = check(_init(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1", hint=hint)

    def add(self, path: str, mask: int) -> int:
        """Watch ``path``; return the watch descriptor, which is the same for the same inode.

        Raises KernelError, with ENOSPC if the user watches too much.
        """
        hint = "see fs.inotify.max_user_watches"
        result = _add(self.fd, os.fsencode(path), mask)
        return check(result, "inotify_add_watch", path, hint)

    def remove(self, watch: int) -> None:
        """Stop watching. Raises KernelError(EINVAL) if the watched directory is gone."""
        check(_remove(self.fd, watch), "inotify_rm_watch")

    def read(self) -> list[tuple[int, int]]:
        """Return (watch descriptor, mask) of what has happened; nothing if nothing has."""
        try:
            data = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return []
        events = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _header.unpack_from(data, offset)
            events.append((watch, mask))
            offset += _header.size + length
        return events

    def close(self) -> None:
        """Give the instance back."""
        os.close(self.fd)
