"""Looking at a snapshot from outside: a detached mount, seen by nobody else.

The host's mount table is not touched, and the container's own mounts are not used: what a
container has mounted on its files is not in the way. The mount goes with its descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from errno import EINVAL

from barque.errors import FailedPrecondition, KernelError
from barque.kernel import mount as km
from barque.kernel.process import CLONE_FS, CLONE_NEWNS, unshare
from barque.models.launch import RootfsMount


@contextmanager
def open_view(mount: RootfsMount) -> Iterator[int]:
    """Open the root of what ``mount`` describes, read-only, until the block is left.

    Needs CAP_SYS_ADMIN. Raises KernelError, FailedPrecondition.
    """
    fd = _mount(mount)
    try:
        km.set_attributes(
            fd,
            set_=km.MOUNT_ATTR_RDONLY | km.MOUNT_ATTR_NOATIME,
            clear=km.MOUNT_ATTR__ATIME,
            what="a view",
        )
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            yield root
        finally:
            os.close(root)
    finally:
        os.close(fd)


def _mount(mount: RootfsMount) -> int:
    layers = [*([mount.upper] if mount.upper else []), *mount.lower]
    if mount.type != "overlay" or len(layers) == 1:
        return km.clone_tree(mount.source or layers[0])
    try:
        return km.new_overlay(layers)
    except KernelError as error:
        if error.errno != EINVAL:
            raise
        return mount_classic(layers)  # Linux before 6.5


def mount_classic(layers: Sequence[str]) -> int:
    """Return a detached, read-only overlay of ``layers``, top first, by the way of mount(2).

    That mounts somewhere: in a mount namespace of a thread's own, which is gone before this
    returns. Its options are limited to one page, so the layers are named relative to what they
    have in common. Raises KernelError, FailedPrecondition for too many layers.
    """
    base = os.path.commonpath(layers)
    options = "lowerdir=" + ":".join(os.path.relpath(layer, base) for layer in layers)
    if len(options) >= os.sysconf("SC_PAGE_SIZE"):
        raise FailedPrecondition(
            f"{len(layers)} layers are more than this kernel's mount options hold: use Linux 6.5 "
            "or newer, or the storage driver vfs"
        )

    def mount() -> int:
        unshare(CLONE_FS | CLONE_NEWNS)
        km.mount("", "/", "", km.MS_REC | km.MS_PRIVATE, "")
        os.chdir(base)
        km.mount("overlay", base, "overlay", 0, options)
        return km.clone_tree(base)

    with ThreadPoolExecutor(1, thread_name_prefix="classic-overlay") as thread:
        return thread.submit(mount).result()
