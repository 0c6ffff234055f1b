"""Files out of a container's root and into it: look up, archive, unpack.

All of it works on a root descriptor and may be done beside a hostile container: paths are
resolved inside the root by openat2, and from then on there are only descriptors.

Source: Engine API, ContainerArchiveInfo, ContainerArchive, PutContainerArchive; moby's
``daemon/archive_unix.go`` for what the names in an archive are.
"""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from errno import EISDIR, ELOOP, ENOENT, ENOTDIR, EROFS

from barque.engine.clock import format_time
from barque.errors import InvalidArgument, KernelError, NotFound, PermissionDenied
from barque.images.compression import Readable, open_decompressed
from barque.images.layers import Metered
from barque.images.ownership import bring_out
from barque.images.pack import Packer
from barque.images.tar import Entry, Source
from barque.images.unpack import Layer, Placing, Whiteouts
from barque.kernel.files import get_file_system_type
from barque.kernel.paths import open_in_root
from barque.models.idmap import IdMap
from barque.models.launch import UserNames
from barque.runtime.idmapped import making_files_as
from barque.runtime.users import resolve
from barque.snapshots.trees import walk_tree

_PATH = os.O_PATH | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KERNEL_FILE_SYSTEMS = frozenset(
    (
        0x9FA0,  # proc
        0x62656572,  # sysfs
        0x27E0EB,  # cgroup v1
        0x63677270,  # cgroup v2
        0x64626720,  # debugfs
        0x74726163,  # tracefs
        0xCAFE4A11,  # bpf
        0x1CD1,  # devpts
        0x19800202,  # mqueue
    )
)
"""Linux's linux/magic.h."""

_GO_MODES = (
    (stat.S_IFDIR, 1 << 31),
    (stat.S_IFLNK, 1 << 27),
    (stat.S_IFBLK, 1 << 26),
    (stat.S_IFCHR, 1 << 26 | 1 << 21),
    (stat.S_IFIFO, 1 << 25),
    (stat.S_IFSOCK, 1 << 24),
)
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


@dataclass(frozen=True)
class PathStat:
    """What is at a path. ``mode`` is Go's FileMode, ``mtime`` RFC 3339."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


@dataclass(frozen=True)
class _Found:
    """A file by its open directory: ``base`` is "." for a directory that was opened itself."""

    directory: int
    base: bytes
    status: os.stat_result


def stat_path(root_fd: int, path: str, container: str) -> PathStat:
    """Describe what is at ``path``; a link there is not followed.

    ``container`` names it in errors. Blocks: for a thread. Raises NotFound, InvalidArgument.
    """
    with _find(root_fd, path, container) as found:
        status = found.status
        return PathStat(
            name=_get_name(path),
            size=status.st_size,
            mode=_make_go_mode(status.st_mode),
            mtime=format_time(status.st_mtime_ns),
            link_target=_resolve_link(root_fd, path) if stat.S_ISLNK(status.st_mode) else "",
        )


def pack_path(
    root_fd: int,
    path: str,
    container: str,
    write: Callable[[bytes], object],
    stop: threading.Event,
    *,
    ids: IdMap | None = None,
) -> None:
    """Write an archive of what is at ``path``, its names beginning with the path's last one.

    ``ids`` is the user namespace by which the root was opened: its ids are written.
    The kernel's own file systems are not entered. Blocks: for a thread. Raises NotFound,
    KernelError, Stopped.
    """
    name = os.fsencode(_get_name(path))

    def translate(entry: Entry) -> None:
        if ids is not None:
            bring_out(entry, ids)

    with _find(root_fd, path, container) as found:
        if not stat.S_ISDIR(found.status.st_mode):
            packer = Packer(found.directory, write, stop, translate)
            try:
                packer.add(found.base, name)
                packer.finish()
            finally:
                packer.close()
            return
        fd = open_in_root(found.directory, found.base, _DIRECTORY | os.O_NOFOLLOW)
        try:
            packer = Packer(fd, write, stop, translate)
            try:
                prefix = name.rstrip(b"/")
                packer.add(b"", prefix + b"/")
                for inner, _ in walk_tree(fd, _Border(fd).enters):
                    packer.add(inner, prefix + b"/" + inner)
                packer.finish()
            finally:
                packer.close()
        finally:
            os.close(fd)


def check_directory(root_fd: int, path: str, container: str) -> None:
    """Raise what ``unpack_at`` raises where ``path`` is no directory. Blocks: for a thread."""
    _find_directory(root_fd, path, container)


def unpack_at(
    root_fd: int,
    path: str,
    container: str,
    source: Readable,
    stop: threading.Event,
    *,
    keep_kinds: bool = False,
    user: str | None = None,
    ids: IdMap | None = None,
) -> None:
    """Unpack the archive in ``source``, compressed or not, in the directory ``path``.

    ``user`` is who gets it, looked up in the root's own passwd and group files; None leaves the
    owners as the archive has them. ``ids`` is the user namespace by which the root was opened,
    whose ids the archive has. Blocks: for a thread. Raises NotFound, InvalidArgument,
    PermissionDenied where it is read-only, KernelError, Stopped.
    """
    prefix = _find_directory(root_fd, path, container)
    owner = None
    if user is not None:
        identity = resolve(
            UserNames(user=user), lambda name, flags: open_in_root(root_fd, name, flags)
        )
        owner = (identity.uid, identity.gid)
    placing = Placing(prefix=prefix, keep_kinds=keep_kinds, owner=owner, ids=ids)
    metered = Metered(source, stop)
    _, pieces = open_decompressed(metered)
    archive = Source(pieces)
    try:
        with nullcontext() if ids is None else making_files_as(*ids.root):
            Layer(root_fd, Whiteouts.PLAIN, placing=placing).apply(archive)
    except KernelError as error:
        raise _explain(error, path) from error
    archive.drain()


def _explain(error: KernelError, path: str) -> Exception:
    if error.errno == EROFS:
        return PermissionDenied(
            f"cannot copy to {path}: the container rootfs or mounted volume is marked read-only"
        )
    return error


def _find_directory(root_fd: int, path: str, container: str) -> bytes:
    """Return where the directory ``path`` is, links followed, relative to the root."""
    try:
        fd = open_in_root(root_fd, path, _PATH)
    except KernelError as error:
        raise _not_found(error, path, container) from None
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise InvalidArgument("extraction point is not a directory")
        return _get_path(fd)
    finally:
        os.close(fd)


@contextmanager
def _find(root_fd: int, path: str, container: str) -> Iterator[_Found]:
    """Find what is at ``path``. What ends in ``/`` or ``/.`` must be a directory."""
    parent, base = _split(path)
    try:
        fd = open_in_root(root_fd, parent, _PATH | os.O_DIRECTORY)
    except KernelError as error:
        raise _not_found(error, path, container) from None
    try:
        try:
            status = os.stat(base, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            failure = KernelError("stat", error.errno or 0, path)
            raise _not_found(failure, path, container) from None
        yield _Found(fd, base, status)
    finally:
        os.close(fd)


def _not_found(error: KernelError, path: str, container: str) -> Exception:
    if error.errno in (ENOENT, ENOTDIR, ELOOP, EISDIR):
        return NotFound(f"Could not find the file {path} in container {container}")
    return error


def _split(path: str) -> tuple[bytes, bytes]:
    """Return the directory and the name in it: ``.`` where the path means a directory."""
    whole = posixpath.normpath("/" + path)
    whole = "/" + whole.lstrip("/")
    if whole == "/" or path.endswith(("/", "/.")) or path == ".":
        return os.fsencode(whole), b"."
    parent, _, base = whole.rpartition("/")
    return os.fsencode(parent or "/"), os.fsencode(base)


def _get_name(path: str) -> str:
    """Return what the archive calls it: ``.`` for the content of a directory."""
    if path.endswith("/.") or path == ".":
        return "."
    return posixpath.basename(posixpath.normpath("/" + path)) or "/"


def _get_path(fd: int) -> bytes:
    """Return where a descriptor's file is, relative to the root of its mount namespace."""
    return os.fsencode(os.readlink(f"/proc/self/fd/{fd}")).strip(b"/")


def _resolve_link(root_fd: int, path: str) -> str:
    """Return where a link leads in the end, as a path inside the root."""
    try:
        fd = open_in_root(root_fd, path, _PATH)
    except KernelError:
        parent, base = _split(path)  # it leads nowhere: say where that would be
        try:
            directory = open_in_root(root_fd, parent, _PATH | os.O_DIRECTORY)
        except KernelError:
            return ""
        try:
            target = os.readlink(base, dir_fd=directory)
        except OSError:
            return ""
        finally:
            os.close(directory)
        return posixpath.normpath(posixpath.join("/", os.fsdecode(parent), os.fsdecode(target)))
    try:
        return "/" + os.fsdecode(_get_path(fd))
    finally:
        os.close(fd)


def _make_go_mode(mode: int) -> int:
    kind = next((bit for kind, bit in _GO_MODES if kind == stat.S_IFMT(mode)), 0)
    return kind | sum(bit for own, bit in _GO_BITS if mode & own) | mode & 0o777


class _Border:
    """Tells the kernel's own file systems from those that hold files."""

    def __init__(self, fd: int) -> None:
        self._top = fd
        self._known = {os.fstat(fd).st_dev: True}

    def enters(self, path: bytes, status: os.stat_result) -> bool:
        """Tell whether a directory's content belongs into an archive."""
        known = self._known.get(status.st_dev)
        if known is None:
            try:
                fd = open_in_root(self._top, path, _PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            except KernelError:
                return False
            try:
                known = get_file_system_type(fd) not in _KERNEL_FILE_SYSTEMS
                self._known[os.fstat(fd).st_dev] = known
            finally:
                os.close(fd)
        return known
