"""The /dev/shm of another container, for those that share its IPC namespace.

POSIX shared memory and semaphores are files in /dev/shm: who shares the one shares the other.
The file system is mounted in the other container's mount namespace only, so it is cloned there
and brought along as a detached mount.

Source: setns(2), open_tree(2), shm_overview(7).
"""

from __future__ import annotations

import os

from barque.errors import FailedPrecondition
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.kernel.files import get_file_system_type
from barque.kernel.paths import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    open_in_root,
)

SHM = "/dev/shm"

_TMPFS_MAGIC = 0x01021994
_NO_LINKS = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


def clone_shm(mount_namespace: int) -> int:
    """Return the tmpfs at /dev/shm of a mount namespace as a detached mount.

    The caller is in its own mount namespace before and after, at its root directory, and has
    one thread. Raises FailedPrecondition if there is something else, KernelError.
    """
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kp.setns(mount_namespace, kp.CLONE_NEWNS)
        try:
            return _clone()
        finally:
            kp.setns(own, kp.CLONE_NEWNS)
    finally:
        os.close(own)


def _clone() -> int:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        shm = open_in_root(root, SHM, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
    finally:
        os.close(root)
    try:
        if get_file_system_type(shm) != _TMPFS_MAGIC:
            raise FailedPrecondition(
                "the container whose IPC namespace is to be shared has no /dev/shm of its own"
            )
        return km.clone_tree("", dir_fd=shm)
    finally:
        os.close(shm)
