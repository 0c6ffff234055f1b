"""What snapshotters that keep one directory per snapshot have in common.

Layout: ``<root>/<number>/``, where the number is the snapshot's in the database: short, as
paths end up in mount options. The table is mirrored in memory: this process is its only
writer, and a container's start must not pay for a walk up its parents by SQL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec

from barque.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    KernelError,
    NotFound,
)
from barque.kernel.files import try_spread
from barque.models.launch import RootfsMount
from barque.snapshots.changes import Changes, compare_trees
from barque.snapshots.contract import Snapshot
from barque.snapshots.equality import find_difference
from barque.snapshots.trash import discard, empty_trash
from barque.snapshots.trees import measure_tree
from barque.snapshots.views import open_view
from barque.store.database import Database
from barque.store.snapshots import SnapshotRow, SnapshotTable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logging.getLogger(__name__)


class DirectorySnapshotter(ABC):
    """A Snapshotter (see ``contract``) on directories below ``root``.

    ``root`` and ``trash`` are made if missing and must be on one file system.
    """

    driver: ClassVar[str]
    copies: bool = False

    def __init__(self, root: Path, database: Database, trash: Path) -> None:
        self._root = root
        self._trash = trash
        for directory in (root, trash):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try_spread(fd)
        finally:
            os.close(fd)
        self._table = SnapshotTable(database, self.driver)
        self._rows = {row.key: row for row in self._table.list()}
        self._children = Counter(row.parent for row in self._rows.values())

    @abstractmethod
    def _make(self, row: SnapshotRow) -> None:
        """Make the empty directories of an active snapshot. Quick."""

    @abstractmethod
    def _fill(self, row: SnapshotRow) -> None:
        """Copy what the parent has. May be slow; called from a thread if ``copies``."""

    @abstractmethod
    def _mount(self, row: SnapshotRow) -> RootfsMount:
        """Say how to mount an active snapshot or a view."""

    @abstractmethod
    def _tree(self, row: SnapshotRow) -> str:
        """Return the directory that holds the snapshot's own files."""

    @abstractmethod
    def _peek(self, row: SnapshotRow) -> RootfsMount:
        """Say how to mount what an active or committed snapshot holds, read-only."""

    def _directory(self, row: SnapshotRow) -> str:
        return f"{self._root}/{row.number}"

    def _get(self, key: str) -> SnapshotRow:
        try:
            return self._rows[key]
        except KeyError:
            raise NotFound(
                f"snapshot {key} does not exist in the {self.driver} store: if an image's layer is "
                "missing, pull or load the image again"
            ) from None

    def _chain(self, key: str) -> list[SnapshotRow]:
        """Return the rows from ``key`` down to the one without a parent."""
        rows = []
        while key:
            row = self._get(key)
            rows.append(row)
            key = row.parent
        return rows

    @contextmanager
    def _begin(self, key: str, parent: str, kind: str) -> Iterator[SnapshotRow]:
        if key in self._rows:
            raise AlreadyExists(f"snapshot {key} exists already in the {self.driver} store")
        if parent and self._get(parent).kind != "committed":
            raise InvalidArgument(f"snapshot {parent} is not committed: it cannot be a parent")
        with self._table.insert(key, parent, kind) as row:
            yield row
        self._rows[key] = row
        self._children[parent] += 1

    def _begin_active(self, key: str, parent: str) -> SnapshotRow:
        with self._begin(key, parent, "active") as row:
            try:
                try:
                    os.mkdir(self._directory(row), 0o700)
                except FileExistsError:  # of a prepare that was killed before it was recorded
                    discard(Path(self._directory(row)), self._trash)
                    os.mkdir(self._directory(row), 0o700)
                self._make(row)
            except OSError as error:
                discard(Path(self._directory(row)), self._trash)
                raise KernelError("mkdir", error.errno or 0, self._directory(row)) from error
        return row

    def prepare(self, key: str, parent: str) -> RootfsMount:
        """See ``Snapshotter.prepare``."""
        row = self._begin_active(key, parent)
        try:
            self._fill(row)
        except BaseException:
            self.remove(key)
            raise
        return self._mount(row)

    async def prepare_async(self, key: str, parent: str) -> RootfsMount:
        """See ``Snapshotter.prepare_async``."""
        if not self.copies:
            return self.prepare(key, parent)
        row = self._begin_active(key, parent)
        filling = asyncio.get_running_loop().run_in_executor(None, self._fill, row)
        try:
            await asyncio.shield(filling)
        except asyncio.CancelledError:
            await asyncio.wait([filling])  # a thread cannot be stopped; do not pull its floor away
            self.remove(key)
            raise
        except BaseException:
            self.remove(key)
            raise
        return self._mount(row)

    def view(self, key: str, parent: str) -> RootfsMount:
        """See ``Snapshotter.view``."""
        if not parent:
            raise InvalidArgument("a view needs a parent: there is nothing to be seen without")
        with self._begin(key, parent, "view") as row:
            pass
        return self._mount(row)

    def mounts(self, key: str) -> RootfsMount:
        """See ``Snapshotter.mounts``."""
        row = self._get(key)
        if row.kind == "committed":
            raise InvalidArgument(f"snapshot {key} is committed: make a view of it to mount it")
        return self._mount(row)

    def peek(self, key: str) -> RootfsMount:
        """See ``Snapshotter.peek``."""
        row = self._get(key)
        return self._mount(row) if row.kind == "view" else self._peek(row)

    def changes(self, key: str, stubs: frozenset[bytes] = frozenset()) -> Changes:
        """See ``Snapshotter.changes``. Compares whole trees."""
        row = self._get(key)
        if row.kind == "view":
            return []
        with ExitStack() as stack:
            after = stack.enter_context(open_view(self._peek(row)))
            before = None
            if row.parent:
                before = stack.enter_context(open_view(self._peek(self._get(row.parent))))
            return compare_trees(before, after, stubs)

    def commit(self, name: str, key: str, size_bytes: int) -> None:
        """See ``Snapshotter.commit``."""
        row = self._get(key)
        if row.kind != "active":
            raise InvalidArgument(f"snapshot {key} is {row.kind}: only an active one is committed")
        if name in self._rows:
            raise AlreadyExists(f"snapshot {name} exists already in the {self.driver} store")
        self._table.commit(row.number, name, size_bytes)
        del self._rows[key]
        self._rows[name] = msgspec.structs.replace(
            row, key=name, kind="committed", size_bytes=size_bytes
        )

    def remove(self, key: str) -> None:
        """See ``Snapshotter.remove``."""
        self._get(key)
        if self._children[key]:
            raise Conflict(
                f"snapshot {key} is the parent of {self._children[key]} others: remove those first"
            )
        self.drop(key)

    def stat(self, key: str) -> Snapshot:
        """See ``Snapshotter.stat``."""
        return _describe(self._get(key))

    def find(self, key: str) -> Snapshot | None:
        """See ``Snapshotter.find``."""
        row = self._rows.get(key)
        return _describe(row) if row else None

    def walk(self) -> list[Snapshot]:
        """See ``Snapshotter.walk``."""
        ordered: dict[str, SnapshotRow] = {}
        for row in sorted(self._rows.values(), key=lambda row: row.number):
            # Where a damaged parent was made again, it is younger than its children.
            climbed = []
            above: SnapshotRow | None = row
            while above is not None and above.key not in ordered:
                climbed.append(above)
                above = self._rows.get(above.parent)
            ordered.update((each.key, each) for each in reversed(climbed))
        return [_describe(row) for row in ordered.values()]

    def usage(self, key: str) -> int:
        """See ``Snapshotter.usage``."""
        row = self._get(key)
        if row.kind != "active":
            return row.size_bytes
        fd = os.open(self._tree(row), _DIRECTORY)
        try:
            return measure_tree(fd)
        finally:
            os.close(fd)

    def find_damage(self, key: str) -> str:
        """See ``Snapshotter.find_damage``."""
        row = self._get(key)
        if row.parent and row.parent not in self._rows:
            return f"the layer below, {row.parent}, is missing"
        if row.kind != "view" and not os.path.isdir(self._tree(row)):
            return f"its directory {self._tree(row)} is missing"
        return ""

    def find_difference(self, wanted: str, found: str, stop: threading.Event) -> str:
        """See ``Snapshotter.find_difference``."""
        trees = [self._tree(self._get(key)) for key in (wanted, found)]
        with ExitStack() as stack:
            fds = []
            for tree in trees:
                fds.append(os.open(tree, _DIRECTORY))
                stack.callback(os.close, fds[-1])
            return find_difference(fds[0], fds[1], stop)

    def drop(self, key: str) -> None:
        """See ``Snapshotter.drop``."""
        row = self._get(key)
        self._forget(row)  # first: a directory without a row is cleared by recover
        discard(Path(self._directory(row)), self._trash)

    def list_strays(self) -> list[str]:
        """See ``Snapshotter.list_strays``."""
        known = {str(row.number) for row in self._rows.values()}
        return sorted(set(os.listdir(self._root)) - known)

    def discard_stray(self, name: str) -> None:
        """See ``Snapshotter.discard_stray``."""
        if name in self.list_strays():
            discard(self._root / name, self._trash)

    def recover(self) -> None:
        """See ``Snapshotter.recover``."""
        for name in self.list_strays():
            discard(self._root / name, self._trash)
        there = set(os.listdir(self._root))
        for row in list(self._rows.values()):
            if row.kind != "view" and str(row.number) not in there:
                # A machine that crashed kept the row and lost the directory, or somebody
                # deleted it. What stands on it then fails by itself, the engine does not.
                _log.warning("snapshot %s is lost: %s is gone", row.key, self._directory(row))
                self._forget(row)

    def _forget(self, row: SnapshotRow) -> None:
        self._table.delete(row.number)
        del self._rows[row.key]
        self._children[row.parent] -= 1
        if not self._children[row.parent]:
            del self._children[row.parent]

    def reap(self) -> None:
        """See ``Snapshotter.reap``."""
        empty_trash(self._trash)


def _describe(row: SnapshotRow) -> Snapshot:
    return Snapshot(key=row.key, parent=row.parent, kind=row.kind, size_bytes=row.size_bytes)
