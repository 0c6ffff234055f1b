"""Measuring and copying whole trees, by descriptors, without following symbolic links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ELOOP, ENODATA, ENOENT, ENOTDIR, EOPNOTSUPP

from barque.errors import KernelError
from barque.kernel.files import copy_data
from barque.kernel.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_PATH_BYTES = 4095
"""The longest path that one system call takes."""


@contextmanager
def open_directory(root_fd: int, path: bytes) -> Iterator[int]:
    """Open the directory ``path`` (relative, no links) below ``root_fd``.

    The path may be longer than a system call takes: it is then opened piece by piece.
    """
    fd = open_beneath(root_fd, path)
    try:
        yield fd
    finally:
        os.close(fd)


def open_beneath(root_fd: int, path: bytes) -> int:
    """Open the directory ``path`` as ``open_directory`` does; the caller closes it.

    Raises KernelError: ENOENT, ENOTDIR, ELOOP for a link on the way.
    """
    start, reached = root_fd, -1
    while len(path) > _PATH_BYTES:
        cut = path.rindex(b"/", 0, _PATH_BYTES + 1)
        piece, path = path[:cut], path[cut + 1 :]
        try:
            fd = open_in_root(start, piece, _DIRECTORY, resolve=_STRICT)
        finally:
            if reached >= 0:
                os.close(reached)
        start = reached = fd
    try:
        return open_in_root(start, path or b".", _DIRECTORY, resolve=_STRICT)
    finally:
        if reached >= 0:
            os.close(reached)


def walk_tree(
    root_fd: int, enters: Callable[[bytes, os.stat_result], bool] = lambda _path, _status: True
) -> Iterator[tuple[bytes, os.stat_result]]:
    """Give the path and status of all below ``root_fd``, a directory before what is in it.

    Sorted by name within each directory, whatever the depth; links are not followed. What
    vanishes meanwhile is left out, as is what is in a directory that ``enters`` says no to.
    Blocks: for a thread.
    """
    pending = [_list_tree(root_fd, b"")]
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        path, status = pending[-1].pop()
        yield path, status
        if stat.S_ISDIR(status.st_mode) and enters(path, status):
            pending.append(_list_tree(root_fd, path))


def _list_tree(root_fd: int, path: bytes) -> list[tuple[bytes, os.stat_result]]:
    """Return what is in a directory, last name first."""
    found = []
    try:
        with open_directory(root_fd, path) as fd:
            for name in sorted(map(os.fsencode, os.listdir(fd)), reverse=True):
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                found.append((path + b"/" + name if path else name, status))
    except KernelError as error:
        if error.errno not in (ENOENT, ENOTDIR, ELOOP):
            raise
    return found


def measure_tree(root_fd: int) -> int:
    """Return the bytes of all files below ``root_fd``; hard links count once.

    The tree may change meanwhile; what vanishes is not counted. Blocks: call it from a thread.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            with open_directory(root_fd, path) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(os.path.join(path, os.fsencode(entry.name)))
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_size
        except KernelError as error:
            if error.errno not in (ENOENT, ENOTDIR, ELOOP):
                raise
    return total


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy all that is below ``source_fd`` to the empty directory ``target_fd``.

    Kept: contents (shared where the file system can), holes, hard links, symbolic links,
    devices, owners, modes, extended attributes and times, also those of the two
    directories themselves. Blocks: call it from a thread. Raises KernelError or OSError.
    """
    _Copy(source_fd, target_fd).run()


class _Copy:
    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        directories = [b""]
        for path in directories:  # grows while it is walked: breadth first
            with (
                open_directory(self._source, path) as source,
                open_directory(self._target, path) as target,
            ):
                for name in sorted(map(os.fsencode, os.listdir(source))):
                    status = os.stat(name, dir_fd=source, follow_symlinks=False)
                    where = os.path.join(path, name)
                    if stat.S_ISDIR(status.st_mode):
                        os.mkdir(name, 0o700, dir_fd=target)
                        directories.append(where)
                    else:
                        self._copy(source, target, name, status, where)
        for path in reversed(directories):  # a directory's times last: its children changed them
            with (
                open_directory(self._source, path) as source,
                open_directory(self._target, path) as target,
            ):
                copy_attributes(source, target)

    def _copy(
        self, source: int, target: int, name: bytes, status: os.stat_result, where: bytes
    ) -> None:
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), where)
            if first != where:
                parent, _, base = first.rpartition(b"/")
                with open_directory(self._target, parent) as directory:
                    os.link(base, name, src_dir_fd=directory, dst_dir_fd=target)
                return
        if stat.S_ISREG(status.st_mode):
            copy_file(source, target, name)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        copy_special_attributes(source, target, name, status)


def copy_file(source: int, target: int, name: bytes, target_name: bytes | None = None) -> None:
    """Copy the regular file ``name`` with all its attributes from one directory to another."""
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        writing = os.open(
            target_name or name,
            os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=target,
        )
        try:
            copy_data(reading, writing, os.fstat(reading).st_size)
            copy_attributes(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_attributes(source: int, target: int) -> None:
    """Copy owner, mode, extended attributes and times between two open files."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)  # first: it clears set-id bits and caps
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    _copy_xattrs(source, target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_special_attributes(source: int, target: int, name: bytes, status: os.stat_result) -> None:
    """Copy the attributes of what cannot be opened: a link, a device, a FIFO, a socket."""
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
    _copy_xattrs(entry_path(source, name), entry_path(target, name))
    os.utime(
        name,
        ns=(status.st_atime_ns, status.st_mtime_ns),
        dir_fd=target,
        follow_symlinks=False,
    )


def entry_path(directory_fd: int, name: bytes) -> bytes:
    """Return a path to one entry of an open directory, for calls without a dir_fd.

    ``name`` is a single component; the call must not follow it.
    """
    return b"/proc/self/fd/%d/%s" % (directory_fd, name)


def _copy_xattrs(source: int | bytes, target: int | bytes) -> None:
    follow = isinstance(source, int)
    try:
        names = os.listxattr(source, follow_symlinks=follow)
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            return
        raise
    for name in names:
        if name.startswith("trusted.overlay."):
            continue  # says something about the layer it stood in, not about the file
        try:
            value = os.getxattr(source, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno == ENODATA:
                continue
            raise
        os.setxattr(target, name, value, follow_symlinks=follow)
