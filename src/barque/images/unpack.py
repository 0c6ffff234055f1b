"""Applying a layer to a directory, whatever the archive tries.

The directory is a snapshot that nobody else has mounted, but the archive itself is hostile:
it may plant a symbolic link and write through it, climb with ``..``, or link to what is
outside. So a parent directory is always opened by openat2 inside the root, and all that
happens then happens to one name in an open directory, without following it.

Whiteouts (OCI image-spec, layer.md): ``.wh.NAME`` hides NAME of the layers below,
``.wh..wh..opq`` all of a directory's lower children; neither touches what the same layer
brings, in whatever order the entries stand.
"""

from __future__ import annotations

import enum
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ELOOP, ENODATA, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM

import msgspec

from barque.errors import InvalidArgument, KernelError
from barque.images.ownership import bring_in
from barque.images.tar import Entry, Kind, Limits, Source, TarReader, show
from barque.kernel.paths import open_in_root
from barque.models.idmap import IdMap
from barque.snapshots.trash import remove_tree
from barque.snapshots.trees import (
    copy_attributes,
    copy_file,
    copy_special_attributes,
    entry_path,
    open_beneath,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OWN_DIRECTORY = _DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_OPEN_DIRECTORIES = 64
_LINKS = 40
"""Symbolic links followed where parents are made, as in the kernel."""
_NEW_PARENT_MODE = 0o755
_CALL_BYTES = 4095
"""The longest path that one system call takes."""
_NAME_BYTES = 255
_OPAQUE = b"trusted.overlay.opaque"
_OVERLAY_XATTRS = b"trusted.overlay."
_OPAQUE_NAME = b".wh..opq"
_CAPABILITY = b"security.capability"
_PLAIN = re.compile(rb"[^/.][^/]{0,254}(?:/[^/.][^/]{0,254})*/?")
"""A name that is clean, but for a slash at its end."""


class Whiteouts(enum.Enum):
    """What becomes of a whiteout."""

    IGNORE = "ignore"
    """Nothing: this is the lowest layer."""
    DELETE = "delete"
    """The directory holds a copy of the layers below: what is hidden is deleted."""
    PLAIN = "plain"
    """It is a file like any other: the archive is no layer."""
    OVERLAY = "overlay"
    """The directory is an overlayfs upper layer: a device 0:0 or an xattr says it."""


class Placing(msgspec.Struct, frozen=True, kw_only=True):
    """Where in the directory an archive is unpacked, and how. Source: Engine API,
    PutContainerArchive.
    """

    prefix: bytes = b""
    """A directory that is there: what all names are relative to; it is left as it is."""
    keep_kinds: bool = False
    """Refuse to replace a directory by something else, or the other way round."""
    owner: tuple[int, int] | None = None
    """Who gets it all, if not the owners in the archive."""
    ids: IdMap | None = None
    """The user namespace that it is unpacked in; the caller's thread makes files as its root."""


class Layer:
    """Applies archives to the directory ``root_fd``.

    ``lower_fds`` are the layers below, top first, for OVERLAY: they lend the attributes of
    directories that the archive does not mention, and the targets of hard links. ``placing``
    is for archives that are no layers. All descriptors stay the caller's. Needs CAP_CHOWN,
    CAP_MKNOD and, for OVERLAY, CAP_SYS_ADMIN. Blocks: for threads.
    """

    def __init__(
        self,
        root_fd: int,
        whiteouts: Whiteouts = Whiteouts.IGNORE,
        lower_fds: tuple[int, ...] = (),
        limits: Limits | None = None,
        placing: Placing | None = None,
    ) -> None:
        self._root = root_fd
        self._placing = placing or Placing()
        self._whiteouts = whiteouts
        self._lower = lower_fds
        self._limits = limits or Limits()
        self._directories: OrderedDict[bytes, int] = OrderedDict()
        self._inodes: dict[int, int] = {}  # open directory to inode, for DELETE
        self._created: set[tuple[int, bytes]] = set()  # (directory's inode, name), for DELETE
        self._entered: set[int] = set()  # inodes of directories with something new, for DELETE
        self._times: dict[bytes, int] = {}
        self._hidden: list[tuple[bytes, bytes]] = []  # (directory, name), for OVERLAY
        self._opaque: list[tuple[bytes, bytes]] = []
        self._linked: set[bytes] = set()  # what hard links have of the layers below
        self.size_bytes = 0
        """Apparent size of the files unpacked so far."""

    def apply(self, source: Source) -> None:
        """Unpack the archive in ``source`` up to its end.

        Raises InvalidArgument for what is wrong with the archive, KernelError for what the
        file system refuses. The directory is left half done then: the caller drops it.
        """
        entry: Entry | None = None
        try:
            for entry in TarReader(source, self._limits):
                self._apply(entry, source)
            entry = None
            self._make_whiteouts()
            self._set_times()
        except OSError as error:
            what = show(entry.name) if entry else "the layer's directories"
            raise KernelError("unpack", error.errno or 0, what) from error
        finally:
            self._forget_directories()

    def _apply(self, entry: Entry, source: Source) -> None:
        name = clean(entry.name, self._limits)
        if not name:
            if self._whiteouts is not Whiteouts.PLAIN:
                self._apply_to_root(entry)
            return
        if self._placing.prefix:
            name = self._placing.prefix + b"/" + name
        if self._placing.owner is not None:
            entry.uid, entry.gid = self._placing.owner
        if self._placing.ids is not None:
            bring_in(entry, self._placing.ids)
        parent, _, base = name.rpartition(b"/")
        if b".wh." in name and self._whiteouts is not Whiteouts.PLAIN:
            if b"/.wh..wh." in b"/" + parent:
                return  # aufs's own notes
            if b"/.wh." in b"/" + parent:
                raise InvalidArgument(f"invalid layer: {show(name)} is inside a whiteout")
            if base.startswith(b".wh."):
                self._white_out(parent, base)
                return
        directory = self._open_parent(parent)
        if self._placing.keep_kinds:
            self._check_kind(directory, base, name, entry)
        match entry.kind:
            case Kind.FILE:
                self._make_file(directory, base, entry, source)
            case Kind.DIRECTORY:
                self._make_directory(directory, base, name, entry)
            case Kind.LINK:
                self._make_link(directory, base, entry)
            case _:
                self._make_special(directory, base, entry)
        if self._whiteouts is Whiteouts.DELETE:
            self._note(self._inodes[directory], base)

    def _note(self, directory: int, base: bytes) -> None:
        """Remember what this layer has brought: whiteouts do not concern it."""
        self._created.add((directory, base))
        if len(self._created) > self._limits.remembered:
            raise InvalidArgument(
                f"the layer has more than the {self._limits.remembered} entries that can be "
                "unpacked where the storage driver copies layers: use the storage driver overlay"
            )

    def _check_kind(self, directory: int, base: bytes, name: bytes, entry: Entry) -> None:
        """Refuse to make a directory of a file that is there, or a file of a directory."""
        status = _find(directory, base)
        if status is None:
            return
        path = show(b"/" + name)
        if stat.S_ISDIR(status.st_mode) and entry.kind is not Kind.DIRECTORY:
            raise InvalidArgument(f"cannot overwrite directory {path} with non-directory")
        if not stat.S_ISDIR(status.st_mode) and entry.kind is Kind.DIRECTORY:
            raise InvalidArgument(f"cannot overwrite non-directory {path} with directory")

    # Parents

    def _open_parent(self, path: bytes) -> int:
        """Return the directory ``path``, made if it is missing; it stays ours."""
        fd = self._directories.get(path)
        if fd is not None:
            self._directories.move_to_end(path)
            return fd
        try:
            fd = _open_inside(self._root, path, _DIRECTORY)
        except KernelError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                raise InvalidArgument(
                    f"invalid layer: the directory {show(path)} cannot be entered: {error}"
                ) from error
            fd = self._make_parents(path, 0)
        return self._remember(path, fd)

    def _remember(self, path: bytes, fd: int) -> int:
        if len(self._directories) >= _OPEN_DIRECTORIES:
            _, oldest = self._directories.popitem(last=False)
            self._inodes.pop(oldest, None)
            os.close(oldest)
        self._directories[path] = fd
        if self._whiteouts is Whiteouts.DELETE:
            self._inodes[fd] = self._enter(fd)
        return fd

    def _enter(self, fd: int) -> int:
        """Note that this layer has something in a directory, and so in those around it.

        Return its inode.
        """
        inode = own = os.fstat(fd).st_ino
        above = os.dup(fd)
        try:
            while inode not in self._entered:
                self._entered.add(inode)
                if inode == os.fstat(self._root).st_ino:
                    break
                below, above = above, os.open("..", _DIRECTORY, dir_fd=above)
                os.close(below)
                inode = os.fstat(above).st_ino
        finally:
            os.close(above)
        return own

    def _forget_directories(self) -> None:
        """Close all: a directory or link on the way to one of them may have been replaced."""
        for fd in self._directories.values():
            os.close(fd)
        self._directories.clear()
        self._inodes.clear()

    def _make_parents(self, path: bytes, links: int) -> int:
        """Make the directories of ``path`` that are missing; return it, opened.

        A symbolic link on the way whose target is missing gets its target made, inside the
        root: it may stand in a lower layer.
        """
        if links > _LINKS:
            raise InvalidArgument(f"invalid layer: too many symbolic links in {show(path)}")
        reached = b""
        fd = os.dup(self._root)
        try:
            for component in path.split(b"/"):
                following = reached + b"/" + component if reached else component
                try:
                    below = _open_inside(self._root, following, _DIRECTORY)
                except KernelError as error:
                    if error.errno not in (ENOENT, ENOTDIR):
                        raise
                    following, below = self._make_parent(fd, reached, component, links)
                os.close(fd)
                fd, reached = below, following
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _make_parent(
        self, fd: int, reached: bytes, component: bytes, links: int
    ) -> tuple[bytes, int]:
        path = reached + b"/" + component if reached else component
        status = _find(fd, component)
        if status is not None and stat.S_ISLNK(status.st_mode):
            target = os.readlink(component, dir_fd=fd)
            path = clean(target if target.startswith(b"/") else reached + b"/" + target)
            return path, self._make_parents(path, links + 1)
        if status is not None:
            raise InvalidArgument(f"invalid layer: {show(path)} is not a directory, but a parent")
        os.mkdir(component, _NEW_PARENT_MODE, dir_fd=fd)
        below = os.open(component, _OWN_DIRECTORY, dir_fd=fd)
        try:
            os.fchmod(below, _NEW_PARENT_MODE)
            self._inherit(path, below)
            if self._whiteouts is Whiteouts.DELETE:
                self._note(os.fstat(fd).st_ino, component)
        except BaseException:
            os.close(below)
            raise
        return path, below

    def _inherit(self, path: bytes, fd: int) -> None:
        """Give a new directory the attributes of the one that it covers in a lower layer."""
        for lower in self._lower:
            try:
                below = _open_inside(lower, path, _OWN_DIRECTORY)
            except KernelError as error:
                if error.errno == ENOENT:
                    continue
                return  # something else stands there
            try:
                copy_attributes(below, fd)
                self._times[path] = os.fstat(below).st_mtime_ns
            finally:
                os.close(below)
            return

    # Entries

    def _apply_to_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise InvalidArgument(f"invalid layer: its root is a {entry.kind.value}")
        fd = _open_inside(self._root, b".", _DIRECTORY)
        try:
            self._set_attributes(fd, entry)
        finally:
            os.close(fd)
        self._times[b""] = entry.mtime_ns

    def _make_file(self, directory: int, base: bytes, entry: Entry, source: Source) -> None:
        # Nobody may read it before it has its owner, where others are at work.
        permissions = entry.mode & (0o600 if self._whiteouts is Whiteouts.PLAIN else 0o777)
        try:
            fd = os.open(base, _NEW_FILE, permissions, dir_fd=directory)
        except FileExistsError:
            self._clear(directory, base)
            fd = os.open(base, _NEW_FILE, permissions, dir_fd=directory)
        try:
            if entry.extents is None:
                if entry.size:
                    for piece in source.pieces(entry.size):
                        _write_all(fd, piece)
            else:
                os.ftruncate(fd, entry.real_size)
                for offset, length in entry.extents:
                    os.lseek(fd, offset, os.SEEK_SET)
                    for piece in source.pieces(length):
                        _write_all(fd, piece)
            self.size_bytes += entry.real_size
            self._set_attributes(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _make_directory(self, directory: int, base: bytes, name: bytes, entry: Entry) -> None:
        opaque = False
        try:
            os.mkdir(base, 0o700, dir_fd=directory)
        except FileExistsError:
            status = os.stat(base, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                # What stood here hid the directory of this name below, and so must this one.
                opaque = self._whiteouts is Whiteouts.OVERLAY
                self._clear(directory, base)
                os.mkdir(base, 0o700, dir_fd=directory)
        fd = self._directories.get(name)
        if fd is None:
            fd = self._remember(name, os.open(base, _OWN_DIRECTORY, dir_fd=directory))
        if opaque:
            os.setxattr(fd, _OPAQUE, b"y")
        self._set_attributes(fd, entry)
        self._times[name] = entry.mtime_ns

    def _make_link(self, directory: int, base: bytes, entry: Entry) -> None:
        target = clean(entry.link, self._limits)
        if target and self._placing.prefix:
            target = self._placing.prefix + b"/" + target
        parent, _, name = target.rpartition(b"/")
        is_whiteout = name.startswith(b".wh.") and self._whiteouts is not Whiteouts.PLAIN
        if not name or is_whiteout:
            raise InvalidArgument(
                f"invalid layer: {show(entry.name)} is a hard link to {show(entry.link)}"
            )
        with self._open_existing(parent, target, entry) as target_directory:
            status = _find(target_directory, name)
            if status is None:
                raise _missing_target(entry)
            if stat.S_ISDIR(status.st_mode):
                raise InvalidArgument(
                    f"invalid layer: {show(entry.name)} is a hard link to the directory "
                    f"{show(entry.link)}"
                )
            if self._whiteouts is Whiteouts.DELETE:
                inode = os.fstat(target_directory).st_ino
                if (inode, name) not in self._created:
                    self._linked.add(target)
            there = _find(directory, base)
            if there is not None:
                if os.path.samestat(there, status):
                    return
                self._clear(directory, base)
            os.link(
                name, base, src_dir_fd=target_directory, dst_dir_fd=directory, follow_symlinks=False
            )

    @contextmanager
    def _open_existing(self, parent: bytes, target: bytes, entry: Entry) -> Iterator[int]:
        """Open the directory of a hard link's target; copied up from below where needed."""
        try:
            fd = _open_inside(self._root, parent, _DIRECTORY)
        except KernelError:
            fd = -1
        try:
            base = target.rpartition(b"/")[2]
            if fd < 0 or _find(fd, base) is None:
                if not self._copy_up(target):
                    raise _missing_target(entry)
                if fd >= 0:
                    os.close(fd)
                fd = os.dup(self._open_parent(parent))
            yield fd
        finally:
            if fd >= 0:
                os.close(fd)

    def _copy_up(self, path: bytes) -> bool:
        """Copy the file ``path`` of the layers below into this one; False if there is none."""
        parent, _, base = path.rpartition(b"/")
        for lower in self._lower:
            try:
                source = _open_inside(lower, parent, _DIRECTORY)
            except KernelError as error:
                if error.errno == ENOENT:
                    continue
                return False
            try:
                status = _find(source, base)
                if status is None:
                    continue
                if stat.S_ISDIR(status.st_mode) or _is_whiteout(status):
                    return False
                self._copy_from(source, self._open_parent(parent), base, status)
                self._linked.add(path)
            finally:
                os.close(source)
            return True
        return False

    def _copy_from(self, source: int, target: int, base: bytes, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            copy_file(source, target, base)
            self.size_bytes += status.st_size
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(base, dir_fd=source), base, dir_fd=target)
        else:
            os.mknod(base, status.st_mode, status.st_rdev, dir_fd=target)
        copy_special_attributes(source, target, base, status)

    def _make_special(self, directory: int, base: bytes, entry: Entry) -> None:
        """Make a symbolic link, a device or a FIFO."""
        if _find(directory, base) is not None:
            self._clear(directory, base)
        match entry.kind:
            case Kind.SYMLINK:
                if not entry.link or len(entry.link) > _CALL_BYTES:
                    raise InvalidArgument(
                        f"invalid layer: the symbolic link {show(entry.name)} has a target of "
                        f"{len(entry.link)} bytes"
                    )
                os.symlink(entry.link, base, dir_fd=directory)
            case Kind.FIFO:
                os.mkfifo(base, 0o600, dir_fd=directory)
            case _:
                kind = stat.S_IFCHR if entry.kind is Kind.CHARACTER else stat.S_IFBLK
                device = os.makedev(entry.major, entry.minor)
                os.mknod(base, kind | 0o600, device, dir_fd=directory)
        os.chown(base, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            _chmod(directory, base, entry.mode)
        if entry.xattrs:
            self._set_xattrs(entry_path(directory, base), entry)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(base, ns=times, dir_fd=directory, follow_symlinks=False)

    def _set_attributes(self, fd: int, entry: Entry) -> None:
        """Set owner, mode and attributes, in the order in which none undoes another.

        What is right already is left: asking is cheaper than a change of the inode.
        """
        status = os.fstat(fd)
        if status.st_uid != entry.uid or status.st_gid != entry.gid:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
        elif stat.S_IMODE(status.st_mode) != entry.mode:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(fd, entry)

    def _set_xattrs(self, where: int | bytes, entry: Entry) -> None:
        for name, value in entry.xattrs.items():
            if name.startswith(_OVERLAY_XATTRS):
                continue  # would let a layer redirect overlayfs
            try:
                os.setxattr(where, name, value, follow_symlinks=isinstance(where, int))
            except (OSError, ValueError) as error:
                unsupported = isinstance(error, OSError) and error.errno in (EOPNOTSUPP, EPERM)
                if unsupported and name != _CAPABILITY:
                    continue  # as every unpacker does: the file works without
                reason = error.strerror if isinstance(error, OSError) else error
                raise InvalidArgument(
                    f"the extended attribute {show(name)} of {show(entry.name)} cannot be set: "
                    f"{reason}"
                ) from error

    def _clear(self, directory: int, base: bytes) -> None:
        """Remove what stands in the way of an entry.

        Not a link by which the entry's own directory was reached: readers differ in where the
        entry is then, and some of them fail.
        """
        remove_tree(directory, base)
        keep = directory, self._inodes.get(directory)
        path = next(path for path, fd in self._directories.items() if fd == directory)
        if not self._leads_to(path, directory):
            raise InvalidArgument(
                f"invalid layer: {show(path + b'/' + base)} replaces a link on its own way"
            )
        del self._directories[path]
        self._forget_directories()
        self._directories[path] = keep[0]
        if keep[1] is not None:
            self._inodes[directory] = keep[1]

    def _leads_to(self, path: bytes, directory: int) -> bool:
        try:
            fd = _open_inside(self._root, path, _DIRECTORY)
        except KernelError:
            return False
        try:
            return os.path.samestat(os.fstat(fd), os.fstat(directory))
        finally:
            os.close(fd)

    # Whiteouts

    def _white_out(self, parent: bytes, base: bytes) -> None:
        name = base.removeprefix(b".wh.")
        if name != _OPAQUE_NAME and name.startswith(b".wh."):
            return  # aufs's own notes
        if name in (b"", b".", b".."):
            raise InvalidArgument(f"invalid layer: {show(base)} is not the whiteout of a name")
        match self._whiteouts:
            case Whiteouts.IGNORE | Whiteouts.PLAIN:
                return
            case Whiteouts.OVERLAY:  # at the end, when it is known what this layer brings
                (self._opaque if name == _OPAQUE_NAME else self._hidden).append((parent, name))
            case Whiteouts.DELETE if name == _OPAQUE_NAME:
                self._check_links(parent, name)
                self._delete_lower(parent)
            case Whiteouts.DELETE:
                self._check_links(parent, name)
                self._delete(parent, name)

    def _check_links(self, parent: bytes, name: bytes) -> None:
        """Refuse to hide what this layer has a hard link to: it would be there, and not."""
        path = parent if name == _OPAQUE_NAME else parent + b"/" + name
        beneath = path.strip(b"/") + b"/"
        for linked in self._linked:
            if (linked + b"/").startswith(beneath) or beneath == b"/":
                raise InvalidArgument(
                    f"invalid layer: it hides {show(linked)}, to which it has a hard link"
                )

    def _make_whiteouts(self) -> None:
        """Hide in an overlayfs upper layer what was asked to be hidden.

        Only what is there below: overlayfs shows a whiteout in a directory that it need not
        merge, to those who list it.
        """
        for parent, name in self._opaque + self._hidden:
            self._check_links(parent, name)
        for path, _ in self._opaque:
            if path:
                parent, _, name = path.rpartition(b"/")
                status = self._find_below(parent, name)
                if status is not None and stat.S_ISDIR(status.st_mode):
                    os.setxattr(self._open_parent(path), _OPAQUE, b"y")
                continue
            # Overlayfs merges the roots whatever they say: hide name by name.
            for lower in self._lower:
                self._hidden += [(b"", name) for name in _list(lower)]
        for parent, name in self._hidden:
            if self._find_below(parent, name) is not None:
                self._hide(parent, name)

    def _hide(self, parent: bytes, name: bytes) -> None:
        directory = self._open_parent(parent)
        status = _find(directory, name)
        if status is None:
            if not self._is_covered(parent):
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)
        elif stat.S_ISDIR(status.st_mode):
            fd = os.open(name, _OWN_DIRECTORY, dir_fd=directory)
            try:
                os.setxattr(fd, _OPAQUE, b"y")
            finally:
                os.close(fd)

    def _is_covered(self, path: bytes) -> bool:
        """Tell whether nothing of the layers below is seen in the directory ``path``."""
        while path:
            fd = _open_inside(self._root, path, _DIRECTORY)
            try:
                if _is_opaque(fd):
                    return True
            finally:
                os.close(fd)
            path = path.rpartition(b"/")[0]
        return False

    def _find_below(self, parent: bytes, name: bytes) -> os.stat_result | None:
        """Return what the layers below show as ``name`` in the directory ``parent``."""
        for lower in self._lower:
            try:
                fd = _open_inside(lower, parent, _DIRECTORY)
            except KernelError as error:
                if error.errno == ENOENT:
                    continue
                return None  # a file or a whiteout hides the directory
            try:
                status = _find(fd, name)
                if status is not None:
                    return None if _is_whiteout(status) else status
                if _is_opaque(fd):
                    return None
            finally:
                os.close(fd)
        return None

    def _delete(self, parent: bytes, name: bytes) -> None:
        try:
            directory = _open_inside(self._root, parent, _DIRECTORY)
        except KernelError as error:
            if error.errno in (ENOENT, ENOTDIR):
                return  # nothing there to be hidden
            raise InvalidArgument(
                f"invalid layer: the directory {show(parent)} cannot be entered: {error}"
            ) from error
        try:
            status = _find(directory, name)
            if status is None:
                return
            if not self._is_brought(os.fstat(directory).st_ino, name, status):
                remove_tree(directory, name)
                self._forget_directories()
                return
        finally:
            os.close(directory)
        if stat.S_ISDIR(status.st_mode):
            self._delete_lower(parent + b"/" + name if parent else name)

    def _delete_lower(self, path: bytes) -> None:
        """Delete all below the directory ``path`` that this layer did not bring."""
        pending = [path]
        while pending:
            path = pending.pop()
            try:
                fd = _open_inside(self._root, path, _DIRECTORY)
            except KernelError as error:
                if error.errno in (ENOENT, ENOTDIR):
                    continue
                raise
            try:
                inode = os.fstat(fd).st_ino
                for name in _list(fd):
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if not self._is_brought(inode, name, status):
                        remove_tree(fd, name)
                    elif stat.S_ISDIR(status.st_mode):
                        pending.append(path + b"/" + name if path else name)
            finally:
                os.close(fd)
        self._forget_directories()

    def _is_brought(self, directory: int, name: bytes, status: os.stat_result) -> bool:
        """Tell whether this layer has brought a name, or something that stands below it."""
        is_directory = stat.S_ISDIR(status.st_mode)
        return (directory, name) in self._created or (
            is_directory and status.st_ino in self._entered
        )

    def _set_times(self) -> None:
        """Set the directories' dates, which unpacking into them has changed."""
        for path, mtime_ns in self._times.items():
            try:
                fd = _open_inside(self._root, path, _OWN_DIRECTORY)
            except KernelError as error:
                if error.errno in (ENOENT, ENOTDIR, ELOOP):
                    continue  # replaced or deleted by a later entry
                raise
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)


def clean(name: bytes, limits: Limits | None = None) -> bytes:
    """Return ``name`` relative to the root, without empty, ``.`` and ``..`` components.

    ``..`` stops at the root, as it does in a file system. b"" is the root itself. Raises
    InvalidArgument for a name that is too long or too deep.
    """
    limits = limits or _LIMITS
    if len(name) <= _CALL_BYTES and _PLAIN.fullmatch(name):  # nearly all are
        name = name.rstrip(b"/")
        if name.count(b"/") < limits.depth:
            return name
    if len(name) > limits.path_bytes:
        raise InvalidArgument(
            f"invalid layer: the name {show(name)}… has {len(name)} bytes, "
            f"{limits.path_bytes} are allowed"
        )
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if parts:
                parts.pop()
            continue
        if len(part) > _NAME_BYTES:
            raise InvalidArgument(
                f"invalid layer: {show(part)}… has {len(part)} bytes, "
                f"{_NAME_BYTES} are allowed in a name"
            )
        parts.append(part)
    if len(parts) > limits.depth:
        raise InvalidArgument(
            f"invalid layer: {show(name)}… is {len(parts)} directories deep, "
            f"{limits.depth} are allowed"
        )
    return b"/".join(parts)


_LIMITS = Limits()


def _open_inside(root_fd: int, path: bytes, flags: int) -> int:
    """Open ``path`` inside the root, even where it is longer than a system call takes.

    Links are followed in its first 4,095 bytes only: behind them there is no root any more to
    resolve them in. Raises KernelError.
    """
    if len(path) <= _CALL_BYTES:
        return open_in_root(root_fd, path, flags)
    cut = path.rindex(b"/", 0, _CALL_BYTES + 1)
    start = open_in_root(root_fd, path[:cut], _DIRECTORY)
    try:
        return open_beneath(start, path[cut + 1 :])
    finally:
        os.close(start)


def _missing_target(entry: Entry) -> InvalidArgument:
    return InvalidArgument(
        f"invalid layer: {show(entry.name)} is a hard link to {show(entry.link)}, which does not "
        "exist"
    )


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (ENODATA, EOPNOTSUPP):
            return False
        raise


def _chmod(directory: int, name: bytes, mode: int) -> None:
    """Set the mode of a device or FIFO just made, and of nothing that took its place.

    chmod(2) by name follows a link: where somebody else can write, that may be one now.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _find(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _list(directory: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(directory)]


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
