"""What a writable layer changes: for ``diff``, for commit.

Two ways to find out, with one answer: an overlayfs upper layer is read as it is (``walk_layer``),
whole trees are compared (``compare_trees``).

What counts as a change is docker's rule: another kind, mode, owner or device; of files also
another size or date; another file capability. Of a directory neither size nor date counts, but
it is modified if anything in it was added, modified or deleted. What replaces a directory by
something else is one modification. Source: moby, ``pkg/archive/changes.go``.

A layer holds more than that: files that were copied up and are as before, directories with
another date. They are UNCHANGED to a user, but belong to the layer.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from errno import ELOOP, ENODATA, ENOENT, ENOTDIR, EOPNOTSUPP

import msgspec

from barque.errors import KernelError
from barque.snapshots.trees import entry_path, open_beneath

_OPAQUE = b"trusted.overlay.opaque"
_REDIRECT = b"trusted.overlay.redirect"
_CAPABILITY = b"security.capability"


class ChangeKind(enum.Enum):
    """What happened to a path; the values are the Engine API's."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2
    UNCHANGED = -1
    """In the layer, but as before."""


class Change(msgspec.Struct, frozen=True):
    """One path, relative to the root, and what happened to it."""

    path: bytes
    kind: ChangeKind
    opaque: bool = False
    """A directory of which nothing is seen that the layers below have."""


Changes = list[Change]


class Redirected(Exception):
    """The layer has renamed directories in a way that only overlayfs itself resolves."""


class _Entry:
    """One name in a directory of the layer: what it is now and what it was."""

    __slots__ = ("added", "after", "before", "layers", "name", "opaque", "same_capability")

    def __init__(
        self, name: bytes, before: os.stat_result | None, after: os.stat_result | None
    ) -> None:
        self.name = name
        self.before = before
        self.after = after
        self.layers: Sequence[int] = ()
        self.opaque = False
        self.same_capability = True

    @property
    def kind(self) -> ChangeKind:
        if self.after is None:
            return ChangeKind.DELETED
        if self.before is None:
            return ChangeKind.ADDED
        if not self.same_capability or _differs(self.before, self.after):
            return ChangeKind.MODIFIED
        return ChangeKind.UNCHANGED


class _Record:
    """A change in the making; ``parent`` is its directory's place in the list, -1 the root."""

    __slots__ = ("entry", "hidden", "kept", "kind", "parent", "path")

    def __init__(self, path: bytes, entry: _Entry, parent: int) -> None:
        self.path = path
        self.entry = entry
        self.parent = parent
        self.kind = entry.kind
        self.kept = False
        self.hidden = False


_Reader = Callable[[bytes, Sequence[int]], list[_Entry]]


def walk_layer(
    upper_fd: int, lower_fds: Sequence[int], stubs: frozenset[bytes] = frozenset()
) -> Changes:
    """Return what the overlayfs layer ``upper_fd`` changes in those below it, top first.

    A directory comes before what is in it, else sorted by name. ``stubs`` are paths that the
    engine makes as mount points: where a layer only has them added, they are no change.
    The descriptors stay the caller's. The layer may be in use. Blocks: for a thread. Raises
    Redirected, KernelError, OSError.
    """
    reader = _LayerReader(upper_fd, lower_fds)
    return _collect(reader.read, range(len(lower_fds)), stubs)


def compare_trees(
    before_fd: int | None, after_fd: int, stubs: frozenset[bytes] = frozenset()
) -> Changes:
    """Return what has to be changed in one tree to get the other, as ``walk_layer`` does.

    Without ``before_fd`` all is added. Nothing is UNCHANGED here.
    """

    def read(path: bytes, _layers: Sequence[int]) -> list[_Entry]:
        before = _read(before_fd, path) if before_fd is not None else {}
        after = _read(after_fd, path)
        entries = [_Entry(name, before.get(name), after.get(name)) for name in before | after]
        if before_fd is not None:
            _compare_capabilities(before_fd, after_fd, path, entries)
        return entries

    changes = _collect(read, (), stubs)
    return [change for change in changes if change.kind is not ChangeKind.UNCHANGED]


def _collect(read: _Reader, layers: Sequence[int], stubs: frozenset[bytes]) -> Changes:
    records: list[_Record] = []
    pending: list[tuple[bytes, int, list[_Entry]]] = [(b"", -1, _sort(read(b"", layers)))]
    while pending:
        path, parent, entries = pending[-1]
        if not entries:
            pending.pop()
            continue
        entry = entries.pop()
        where = path + b"/" + entry.name if path else entry.name
        record = _Record(where, entry, parent)
        record.hidden = where in stubs and entry.before is None
        records.append(record)
        if entry.after is not None and stat.S_ISDIR(entry.after.st_mode):
            pending.append((where, len(records) - 1, _sort(read(where, entry.layers))))
    _mark(records)
    return [
        Change(record.path, record.kind, record.entry.opaque) for record in records if record.kept
    ]


def _mark(records: list[_Record]) -> None:
    """Decide what is kept, from the leaves up: what is changed below changes a directory."""
    has_stubs: set[int] = set()
    changed: set[int] = set()
    filled: set[int] = set()
    for number in range(len(records) - 1, -1, -1):
        record = records[number]
        if number in changed and (record.hidden or record.kind is ChangeKind.UNCHANGED):
            record.kind = ChangeKind.MODIFIED
        elif record.hidden:
            has_stubs.add(record.parent)
            continue
        elif number in has_stubs and number not in filled and record.kind is ChangeKind.UNCHANGED:
            continue  # only its date says that a mount point was made in it
        record.kept = True
        filled.add(record.parent)
        if record.kind is not ChangeKind.UNCHANGED:
            changed.add(record.parent)


def _sort(entries: list[_Entry]) -> list[_Entry]:
    """Return the entries, last name first."""
    return sorted(entries, key=lambda entry: entry.name, reverse=True)


def _differs(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mode != after.st_mode
        or before.st_uid != after.st_uid
        or before.st_gid != after.st_gid
        or before.st_rdev != after.st_rdev
        or (
            not stat.S_ISDIR(after.st_mode)
            and (before.st_mtime_ns != after.st_mtime_ns or before.st_size != after.st_size)
        )
    )


class _LayerReader:
    """Reads directories of an overlayfs layer beside those of the layers below."""

    def __init__(self, upper_fd: int, lower_fds: Sequence[int]) -> None:
        self._upper = upper_fd
        self._lower = lower_fds
        self._covered: set[bytes] = set()

    def read(self, path: bytes, layers: Sequence[int]) -> list[_Entry]:
        """Return what the layer says of ``path``, which ``layers`` have as a directory."""
        after = _read(self._upper, path)
        with ExitStack() as stack:
            lower = {}
            for number in layers:
                lower[number] = _open(stack, self._lower[number], path)
            upper = _open(stack, self._upper, path)
            if upper is None:
                return []
            names = set(after)
            covered = path in self._covered
            if covered:
                for fd in lower.values():
                    names |= set(_list(fd)) if fd is not None else set()
            entries = []
            for name in names:
                entry = self._compare(name, after.get(name), upper, lower)
                if entry is None:
                    continue
                entries.append(entry)
                if entry.opaque or (covered and entry.layers):
                    self._covered.add(path + b"/" + name if path else name)
            return entries

    def _compare(
        self,
        name: bytes,
        after: os.stat_result | None,
        upper: int,
        lower: dict[int, int | None],
    ) -> _Entry | None:
        if after is not None and _is_whiteout(after):
            after = None
        before, where, layers = _look_below(name, lower)
        if after is None and before is None:
            return None  # hides nothing: made and deleted again
        entry = _Entry(name, before, after)
        if after is not None and stat.S_ISDIR(after.st_mode):
            entry.layers = layers
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                         dir_fd=upper)  # fmt: skip
            try:
                if _get_xattr(fd, _REDIRECT):
                    raise Redirected
                entry.opaque = before is not None and _get_xattr(fd, _OPAQUE) == b"y"
            finally:
                os.close(fd)
        if after is not None and before is not None and stat.S_ISREG(after.st_mode):
            entry.same_capability = _get_capability(upper, name) == _get_capability(where, name)
        return entry


def _look_below(
    name: bytes, lower: dict[int, int | None]
) -> tuple[os.stat_result | None, int, list[int]]:
    """Return what the layers below show as ``name``, in which directory, and which of them
    make it up if it is a directory.
    """
    found: os.stat_result | None = None
    where = -1
    layers: list[int] = []
    for number, fd in lower.items():
        if fd is None:
            break
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            if _get_xattr(fd, _OPAQUE) == b"y":
                break
            continue
        if _is_whiteout(status):
            break
        is_directory = stat.S_ISDIR(status.st_mode)
        if found is None:
            found, where = status, fd
        elif not is_directory:
            break
        if not is_directory:
            break
        layers.append(number)
        if _get_xattr(entry_path(fd, name), _OPAQUE) == b"y":
            break
        if _get_xattr(fd, _OPAQUE) == b"y":
            break
    return found, where, layers


def _compare_capabilities(
    before_fd: int, after_fd: int, path: bytes, entries: list[_Entry]
) -> None:
    files = [
        entry
        for entry in entries
        if entry.before and entry.after and stat.S_ISREG(entry.after.st_mode)
    ]
    if not files:
        return
    with ExitStack() as stack:
        before, after = _open(stack, before_fd, path), _open(stack, after_fd, path)
        if before is None or after is None:
            return
        for entry in files:
            mine, theirs = _get_capability(after, entry.name), _get_capability(before, entry.name)
            entry.same_capability = mine == theirs


def _open(stack: ExitStack, root_fd: int, path: bytes) -> int | None:
    """Open a directory until the stack is left; None if there is none, or something else."""
    try:
        fd = open_beneath(root_fd, path)
    except KernelError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return None
        raise
    stack.callback(os.close, fd)
    return fd


def _list(fd: int) -> Iterator[bytes]:
    return map(os.fsencode, os.listdir(fd))


def _read(root_fd: int, path: bytes) -> dict[bytes, os.stat_result]:
    with ExitStack() as stack:
        fd = _open(stack, root_fd, path)
        if fd is None:
            return {}
        found = {}
        for name in _list(fd):
            try:
                found[name] = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted by its container meanwhile
        return found


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _get_xattr(where: int | bytes, name: bytes) -> bytes:
    try:
        return os.getxattr(where, name, follow_symlinks=isinstance(where, int))
    except OSError as error:
        if error.errno in (ENODATA, EOPNOTSUPP, ENOENT):
            return b""
        raise


def _get_capability(directory_fd: int, name: bytes) -> bytes:
    return _get_xattr(entry_path(directory_fd, name), _CAPABILITY)
