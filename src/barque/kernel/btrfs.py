"""Btrfs subvolumes: made, snapshotted and deleted by their parent directory.

Source: btrfs-subvolume(8), linux/btrfs.h. Errors are KernelError, with the ioctl's name.
"""

from __future__ import annotations

import fcntl
import struct
from errno import EPERM

from barque.errors import KernelError

MAGIC = 0x9123683E
"""What fstatfs(2) says of btrfs."""

_VOLUME_ARGS = struct.Struct("=q4088s")
_SNAPSHOT_CREATE = 0x50009401  # _IOW(0x94, 1, struct btrfs_ioctl_vol_args), and so on
_SUBVOLUME_CREATE = 0x5000940E
_SNAPSHOT_DESTROY = 0x5000940F


def create_subvolume(directory_fd: int, name: str) -> None:
    """Make the empty subvolume ``name`` in a directory."""
    _call("BTRFS_IOC_SUBVOL_CREATE", _SUBVOLUME_CREATE, directory_fd, 0, name)


def create_snapshot(directory_fd: int, name: str, source_fd: int) -> None:
    """Make ``name`` a writable snapshot of the subvolume whose root is ``source_fd``."""
    _call("BTRFS_IOC_SNAP_CREATE", _SNAPSHOT_CREATE, directory_fd, source_fd, name)


def destroy_subvolume(directory_fd: int, name: str) -> None:
    """Delete the subvolume ``name`` with all that is in it. Needs CAP_SYS_ADMIN."""
    _call("BTRFS_IOC_SNAP_DESTROY", _SNAPSHOT_DESTROY, directory_fd, 0, name)


def _call(call: str, request: int, directory_fd: int, fd: int, name: str) -> None:
    try:
        # Mutable: of bytes the ioctl function takes 1 KB only.
        fcntl.ioctl(directory_fd, request, bytearray(_VOLUME_ARGS.pack(fd, name.encode())))
    except OSError as error:
        hint = "subvolumes need CAP_SYS_ADMIN" if error.errno == EPERM else ""
        raise KernelError(call, error.errno or 0, name, hint) from None
