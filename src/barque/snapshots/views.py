"""Looking at a snapshot from outside: a detached mount, seen by nobody else.

The host's mount table is not touched, and the container's own mounts are not used: what a
container has mounted on its files is not in the way. The mount goes with its descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL

from barque.errors import FailedPrecondition, KernelError
from barque.kernel import mount as km
from barque.models.launch import RootfsMount


@contextmanager
def open_view(mount: RootfsMount) -> Iterator[int]:
    """Open the root of what ``mount`` describes, read-only, until the block is left.

    Needs CAP_SYS_ADMIN, and Linux 6.5 for several layers. Raises KernelError,
    FailedPrecondition.
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
        if error.errno == EINVAL and error.path.startswith("lowerdir+="):
            raise FailedPrecondition(
                "the file system of a container cannot be read from outside on this kernel: "
                "use Linux 6.5 or newer, or the storage driver vfs"
            ) from error
        raise
