"""Opening paths inside a root that somebody hostile may be changing: openat2(2).

A path inside a container's root is never looked up by the kernel's ordinary rules: a
symbolic link there may be absolute, climb with ``..``, or be swapped between a check and
a use. ``openat2`` with ``RESOLVE_IN_ROOT`` resolves every component as if the root
descriptor were ``/``, atomically. The result is a descriptor, and it is descriptors, not
strings, that are used from then on.

Source: openat2(2); needs Linux 5.6.
"""

from __future__ import annotations

import ctypes
import os
from errno import EAGAIN, EINTR, EINVAL, ENOSYS

from barque.errors import KernelError

_SYS_OPENAT2 = 437  # the same on every architecture that Linux 5.6 and later added it to

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_ATTEMPTS = 128
"""How often EAGAIN is answered by another try: the kernel gives it when a rename elsewhere
in the system raced with ``..``, and an attacker can rename in a loop."""


class _OpenHow(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_HOW_SIZE = ctypes.sizeof(_OpenHow)
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_OpenHow),
    ctypes.c_size_t,
)


def open_in_root(
    root_fd: int,
    path: str | bytes,
    flags: int,
    mode: int = 0,
    *,
    resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
) -> int:
    """Open ``path`` as if ``root_fd`` were the root directory; return the descriptor.

    Absolute paths, absolute symbolic links and ``..`` stay inside the root. ``flags`` and
    ``mode`` are open(2)'s; O_CLOEXEC is always set, and ``mode`` counts only with O_CREAT or
    O_TMPFILE. The caller closes the descriptor.

    Raises KernelError as openat2 fails: ENOENT, ENOTDIR, ELOOP (a link refused by
    O_NOFOLLOW or a magic link), EAGAIN when renames kept racing.
    """
    name = os.fsencode(path) or b"."
    if b"\0" in name:  # C would silently open what stands before it
        raise KernelError("openat2", EINVAL, os.fsdecode(name), "the path contains a NUL byte")
    how = _OpenHow(flags | os.O_CLOEXEC, mode & 0o7777, resolve)
    if not flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
        how.mode = 0  # openat2, unlike open, refuses a mode that would be ignored
    error = 0
    for _ in range(_ATTEMPTS):
        fd: int = _syscall(_SYS_OPENAT2, root_fd, name, how, _HOW_SIZE)
        if fd >= 0:
            return fd
        error = ctypes.get_errno()
        if error not in (EAGAIN, EINTR):
            break
    hint = "barque needs Linux 5.6 or newer" if error == ENOSYS else ""
    raise KernelError("openat2", error, os.fsdecode(name), hint)
