"""Writing to procfs, and to nothing that only looks like it.

What a write there does depends on where it lands: a label that reaches a file of a container does
nothing, one that reaches ``/proc/sysrq-trigger`` ends the machine (CVE-2019-16884, CVE-2025-52881).
"""

from __future__ import annotations

import os

from barque.errors import FailedPrecondition
from barque.kernel.files import get_file_system_type
from barque.kernel.paths import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    open_in_root,
)

_PROC_SUPER_MAGIC = 0x9FA0  # linux/magic.h
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV


def write_proc(proc_fd: int, path: str, value: str) -> None:
    """Write ``value`` to the file ``path`` of the procfs ``proc_fd``, in one write.

    What was mounted on the way, or linked in place of the file, is not written to. Raises
    KernelError, OSError from the write, FailedPrecondition if ``proc_fd`` is no procfs.
    """
    fd = open_in_root(proc_fd, path, os.O_WRONLY | os.O_NOFOLLOW, resolve=_RESOLVE)
    try:
        if get_file_system_type(fd) != _PROC_SUPER_MAGIC:
            raise FailedPrecondition(f"{path} is not written: it is no file of procfs")
        os.write(fd, value.encode())
    finally:
        os.close(fd)
