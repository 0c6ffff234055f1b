"""Writing an archive of files below a directory that somebody hostile may be changing.

Every file is opened by its directory's descriptor, without following links, and described by
its own descriptor. A file that shrinks while it is read is filled up with zeros, one that
grows is cut off: the archive stays whole. Nothing but a regular file is opened for reading.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from errno import ELOOP, ENODATA, ENOENT, ENOTDIR, ENXIO, EOPNOTSUPP

from barque.errors import KernelError
from barque.images.feed import Stopped
from barque.images.tar import BLOCK, Entry, Kind
from barque.images.tarwrite import END, encode_header, make_entry
from barque.kernel.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, open_in_root
from barque.snapshots.changes import ChangeKind, Changes
from barque.snapshots.trees import entry_path, open_beneath, walk_tree

Write = Callable[[bytes], object]

_PIECE = 1 << 20
_GATHER = 1 << 18
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MIN_HOLE = 1 << 16
_MAX_EXTENTS = 10_000
_GONE = (ENOENT, ENOTDIR, ELOOP)
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}


class Packer:
    """Writes entries of the tree ``root_fd`` to ``write``; the descriptor stays the caller's.

    ``close`` ends the archive and lets go of what is open. Blocks: for a thread. ``stop``
    makes it raise Stopped. ``translate`` may change entries before they are written.
    """

    def __init__(
        self,
        root_fd: int,
        write: Write,
        stop: threading.Event,
        translate: Callable[[Entry], object] = lambda _: None,
    ) -> None:
        self._root = root_fd
        self._write = write
        self._stop = stop
        self._translate = translate
        self._gathered = bytearray()
        self._directory: tuple[bytes, int] | None = None
        self._links: dict[tuple[int, int], bytes] = {}
        self.size_bytes = 0
        """Apparent size of the files written."""

    def add(self, path: bytes, name: bytes | None = None) -> None:
        """Write the entry at ``path``, called ``name``. Sockets, and what is gone, are left out.

        Raises KernelError.
        """
        if self._stop.is_set():
            raise Stopped("the archive was given up")
        parent, _, base = path.rpartition(b"/")
        try:
            directory = self._open_directory(parent)
            status = os.stat(base or b".", dir_fd=directory, follow_symlinks=False)
            self._add(directory, base or b".", path if name is None else name, status)
        except KernelError as error:
            if error.errno not in _GONE:
                raise
        except OSError as error:
            if error.errno not in _GONE:
                raise KernelError("read", error.errno or 0, os.fsdecode(path)) from error

    def white_out(self, path: bytes) -> None:
        """Say that ``path`` is deleted."""
        parent, _, base = path.rpartition(b"/")
        self._gather(encode_header(make_entry(_join(parent, b".wh." + base), mode=0)))

    def make_opaque(self, path: bytes) -> None:
        """Say that the directory ``path`` begins empty."""
        self._gather(encode_header(make_entry(_join(path, b".wh..wh..opq"), mode=0)))

    def finish(self) -> None:
        """End the archive."""
        self._gather(END)
        self._flush()

    def close(self) -> None:
        """Let go of what is open."""
        if self._directory is not None:
            os.close(self._directory[1])
            self._directory = None

    def _open_directory(self, path: bytes) -> int:
        """Return the directory; it stays ours."""
        if self._directory is not None:
            if self._directory[0] == path:
                return self._directory[1]
            self.close()
        fd = open_beneath(self._root, path)
        self._directory = path, fd
        return fd

    def _add(self, directory: int, base: bytes, name: bytes, status: os.stat_result) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket says nothing without who listens to it
        if kind is not Kind.DIRECTORY and status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                entry = _describe(name, Kind.LINK, status)
                entry.link = first
                self._write_header(entry)
                return
        if kind is Kind.FILE:
            self._add_file(directory, base, name)
            return
        entry = _describe(name, kind, status)
        if kind is Kind.SYMLINK:
            entry.link = os.readlink(base, dir_fd=directory)
        elif kind is Kind.DIRECTORY:
            fd = open_in_root(
                directory, base, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
            )
            try:
                entry.xattrs = _read_xattrs(fd)
            finally:
                os.close(fd)
        elif kind in (Kind.CHARACTER, Kind.BLOCK):
            entry.major, entry.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if kind is not Kind.DIRECTORY:
            entry.xattrs = _read_xattrs(entry_path(directory, base))
        self._write_header(entry)

    def _add_file(self, directory: int, base: bytes, name: bytes) -> None:
        fd = os.open(base, _FILE, dir_fd=directory)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return  # replaced by something else meanwhile
            entry = _describe(name, Kind.FILE, status)
            entry.size = entry.real_size = status.st_size
            entry.xattrs = _read_xattrs(fd)
            if status.st_size - status.st_blocks * 512 >= _MIN_HOLE:
                entry.extents = _find_extents(fd, status.st_size)
                if entry.extents is not None:
                    entry.size = sum(length for _, length in entry.extents)
            self._write_header(entry)
            self.size_bytes += entry.real_size
            extents = [(0, entry.size)] if entry.extents is None else entry.extents
            for offset, length in extents:
                self._copy(fd, offset, length)
            self._gather(bytes(-entry.size % BLOCK))
        finally:
            os.close(fd)

    def _write_header(self, entry: Entry) -> None:
        self._translate(entry)
        self._gather(encode_header(entry))

    def _copy(self, fd: int, offset: int, length: int) -> None:
        """Write exactly ``length`` bytes of the file from ``offset`` on."""
        end = offset + length
        while offset < end:
            piece = os.pread(fd, min(end - offset, _PIECE), offset)
            if not piece:
                piece = bytes(min(end - offset, _PIECE))
            self._gather(piece)
            offset += len(piece)

    def _gather(self, data: bytes) -> None:
        if len(data) >= _GATHER:
            self._flush()
            self._emit(data)
            return
        self._gathered += data
        if len(self._gathered) >= _GATHER:
            self._flush()

    def _flush(self) -> None:
        if self._gathered:
            data, self._gathered = bytes(self._gathered), bytearray()
            self._emit(data)

    def _emit(self, data: bytes) -> None:
        if self._stop.is_set():
            raise Stopped("the archive was given up")
        try:
            self._write(data)
        except OSError as error:
            raise KernelError("write", error.errno or 0, "the archive") from error


def pack_tree(root_fd: int, write: Write, stop: threading.Event) -> None:
    """Write all that is below ``root_fd``. Blocks: for a thread. Raises KernelError."""
    packer = Packer(root_fd, write, stop)
    try:
        packer.add(b"", b"./")
        for path, _ in walk_tree(root_fd):
            packer.add(path)
        packer.finish()
    finally:
        packer.close()


def pack_changes(root_fd: int, changes: Changes, write: Write, stop: threading.Event) -> int:
    """Write a layer: ``changes``, as they stand in the tree ``root_fd``.

    Returns the apparent size of its files. Blocks as ``pack_tree`` does.
    """
    packer = Packer(root_fd, write, stop)
    opaque = b""
    try:
        for change in changes:
            if change.kind is ChangeKind.DELETED:
                if not (opaque and change.path.startswith(opaque)):
                    packer.white_out(change.path)
                continue
            packer.add(change.path)
            if change.opaque:
                packer.make_opaque(change.path)
                opaque = change.path + b"/"
        packer.finish()
    finally:
        packer.close()
    return packer.size_bytes


def _describe(name: bytes, kind: Kind, status: os.stat_result) -> Entry:
    entry = make_entry(name, kind, mode=stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)
    entry.uid, entry.gid = status.st_uid, status.st_gid
    return entry


def _find_extents(fd: int, size: int) -> list[tuple[int, int]] | None:
    """Return where a file has data, or None if it is better written whole.

    The last extent says where the file ends, as GNU tar writes it.
    """
    extents: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == ENXIO:
                break  # nothing but a hole up to the end
            return None
        if start >= size:
            break
        extents.append((start, end - start))
        if len(extents) > _MAX_EXTENTS:
            return None
        at = end
    if not extents or sum(extents[-1]) < size:
        extents.append((size, 0))
    return extents


def _read_xattrs(where: int | bytes) -> dict[bytes, bytes]:
    """Return the attributes that belong to the file, not to where it stands."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (EOPNOTSUPP, ENOENT):
            return {}
        raise
    found = {}
    for name in names:
        if name.startswith("trusted.overlay."):
            continue
        if name.startswith("security.") and name != "security.capability":
            continue  # labels of this machine
        try:
            found[os.fsencode(name)] = os.getxattr(where, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in (ENODATA, EOPNOTSUPP):
                raise
    return found


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
