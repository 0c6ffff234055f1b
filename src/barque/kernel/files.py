"""System calls on files that Python's os module lacks, or takes several lines for."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
from errno import EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP, EPERM, EXDEV

from barque.errors import KernelError

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # linux/fs.h: FS_IOC_GETFLAGS, _SETFLAGS
_TOP_DIRECTORY = 0x20000  # FS_TOPDIR_FL
_NO_REFLINK = (EINVAL, ENOTTY, EOPNOTSUPP, EXDEV, ENOSYS)

_libc = ctypes.CDLL(None, use_errno=True)  # releases the interpreter lock: syncfs is slow
_syncfs = _libc.syncfs
_syncfs.restype = ctypes.c_int
_syncfs.argtypes = (ctypes.c_int,)
_sync_file_range = _libc.sync_file_range
_sync_file_range.restype = ctypes.c_int
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_WRITE = 2  # linux/fs.h: SYNC_FILE_RANGE_WRITE
_fstatfs = _libc.fstatfs
_fstatfs.restype = ctypes.c_int
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
_STATFS_BYTES = 256  # struct statfs is smaller; its first field is the type


def write_value(path: str, value: str, *, dir_fd: int | None = None) -> None:
    """Write a file of the kernel's, which is there, in one write(2). Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def sync_file_system(fd: int) -> None:
    """Write all of the file system that holds ``fd`` to the disk: syncfs(2).

    Raises KernelError if it fails, or if an earlier write to that file system did.
    """
    if _syncfs(fd) == -1:
        raise KernelError("syncfs", ctypes.get_errno())


def begin_writing(fd: int, offset: int, size: int) -> None:
    """Have the disk begin with the ``size`` bytes from ``offset`` on: sync_file_range(2).

    Promises nothing: an fsync that follows has less to wait for. What fails is told by that.
    """
    _sync_file_range(fd, offset, size, _WRITE)


def get_file_system_type(fd: int) -> int:
    """Return the magic number of the file system that holds ``fd``: fstatfs(2), linux/magic.h.

    Raises KernelError.
    """
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _fstatfs(fd, buffer) == -1:
        raise KernelError("fstatfs", ctypes.get_errno())
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\"))


def find_filesystem(path: str) -> str:
    """Return the type of the file system that ``path`` is on, as mounted."""
    best, found = "", "unknown"
    real = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split(" ")[4]
        for code, character in _ESCAPES:
            point = point.replace(code, character)
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, rest.split(" ")[0]
    return found


def try_spread(directory_fd: int) -> bool:
    """Ask the file system to place the directory's subdirectories far apart; False if it cannot.

    On ext4 (FS_TOPDIR_FL) each gets a block group of its own. Where trees come and go that is a
    great difference: making a file looks through all inodes of the group that were deleted in
    the last minutes. Source: ioctl_iflags(2), chattr(1) ``T``.
    """
    flags = bytearray(struct.calcsize("l"))
    try:
        fcntl.ioctl(directory_fd, _GET_FLAGS, flags)
        number = int.from_bytes(flags[:4], sys.byteorder) | _TOP_DIRECTORY
        flags[:4] = number.to_bytes(4, sys.byteorder)
        fcntl.ioctl(directory_fd, _SET_FLAGS, flags)
    except OSError as error:
        if error.errno in (*_NO_REFLINK, EPERM):
            return False
        raise
    return True


def try_reflink(source_fd: int, target_fd: int) -> bool:
    """Make the target share the source's blocks (FICLONE); False where that cannot be done.

    Raises OSError for other failures, such as a full disk.
    """
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True


def copy_data(source_fd: int, target_fd: int, size: int) -> None:
    """Copy ``size`` bytes of the source to the (new) target: shared, or in the kernel.

    Holes stay holes. Both descriptors' offsets are left anywhere.
    """
    if size == 0 or try_reflink(source_fd, target_fd):
        return
    os.ftruncate(target_fd, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(source_fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        end = min(os.lseek(source_fd, start, os.SEEK_HOLE), size)
        at = start
        while at < end:
            copied = _copy_extent(source_fd, target_fd, end - at, at)
            if copied == 0:  # the source shrank
                return
            at += copied


def _copy_extent(source_fd: int, target_fd: int, length: int, at: int) -> int:
    try:
        return os.copy_file_range(source_fd, target_fd, length, at, at)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
    return os.pwrite(target_fd, os.pread(source_fd, min(length, 1 << 20), at), at)
