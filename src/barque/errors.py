"""The error vocabulary of barque.

Every failure that leaves a module is one of these. A front door (the Engine API,
the command line) maps a class to its own status once; nothing in between looks at
message texts. Messages say what was asked, what is wrong and what to do.
"""

from __future__ import annotations

import os
from errno import EDQUOT, ENOSPC

_FULL = (ENOSPC, EDQUOT)
MAKE_ROOM = (
    "free some space: `system df` shows what takes it, `system prune` removes what is unused"
)
"""What to do about a full disk."""


class BarqueError(Exception):
    """Base of all errors that a user may see. ``str(error)`` is the message."""


class NotFound(BarqueError):
    """The named object does not exist (HTTP 404)."""


class AlreadyExists(BarqueError):
    """The name is taken by another object (HTTP 409)."""


class InvalidArgument(BarqueError):
    """The request can never succeed as it stands (HTTP 400)."""


class Conflict(BarqueError):
    """The object's state forbids the operation now (HTTP 409)."""


class NotModified(BarqueError):
    """The object already is in the state asked for (HTTP 304)."""


class FailedPrecondition(BarqueError):
    """Something the operation rests on is missing or wrong (HTTP 500)."""


class PermissionDenied(BarqueError):
    """The operation is forbidden on this object (HTTP 403)."""


class NotImplementedHere(BarqueError):
    """The operation is part of the API, but not of this version of barque (HTTP 501)."""


class Unavailable(BarqueError):
    """A service that the operation needs does not answer (HTTP 503)."""


class Internal(BarqueError):
    """A defect of barque itself (HTTP 500)."""


class KernelError(BarqueError):
    """A system call failed.

    Keeps what is needed to explain it: the call's name, the errno, the path or object
    it concerned and, where we know better than the kernel, a hint.
    """

    def __init__(self, syscall: str, errno: int, path: str = "", hint: str = "") -> None:
        self.syscall = syscall
        self.errno = errno
        self.path = path
        self.hint = hint
        if not hint and errno in _FULL:
            hint = MAKE_ROOM
        where = f" {path}" if path else ""
        advice = f" ({hint})" if hint else ""
        super().__init__(f"{syscall}{where}: {os.strerror(errno).lower()}{advice}")


class DatabaseError(FailedPrecondition):
    """The engine's records cannot be written or read: the disk is full or broken (HTTP 500)."""


def explain_system(error: OSError) -> KernelError:
    """Return the error of a system call that nothing in between has explained."""
    call = "write" if error.errno in _FULL else "access"
    return KernelError(call, error.errno or 0, os.fsdecode(error.filename or ""))
