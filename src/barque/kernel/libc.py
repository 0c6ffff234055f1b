"""The way into the C library: system calls by number and by name, errno as KernelError.

``PyDLL`` keeps the interpreter lock over a call. Every process that uses this module between
fork and execve has one thread, and a child of ``clone3`` comes back inside the call: it must
find the lock as it left it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from barque.errors import KernelError

libc = ctypes.PyDLL(None, use_errno=True)

_syscall = libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6


def syscall(
    name: str,
    number: int,
    *args: Any,
    path: str = "",
    hint: str = "",
) -> int:
    """Call system call ``number`` with up to six integers, bytes or ctypes references.

    Raises KernelError(name, errno, path, hint) when it returns -1.
    """
    result: int = _syscall(number, *args, *(None,) * (6 - len(args)))
    if result == -1:
        raise KernelError(name, ctypes.get_errno(), path, hint)
    return result


def function(name: str, *argtypes: Any) -> Any:
    """The C library's function ``name``, returning int, with its argument types set."""
    found = getattr(libc, name)
    found.restype = ctypes.c_int
    found.argtypes = list(argtypes)
    return found


def check(result: int, name: str, path: str = "", hint: str = "") -> int:
    """Return ``result``, or raise KernelError from errno when it is -1."""
    if result == -1:
        raise KernelError(name, ctypes.get_errno(), path, hint)
    return result
