"""Snapshots as whole copies: for file systems on which overlayfs does not work.

Files are shared by reflink where the file system can, else copied. ``<number>/fs`` holds all
of the file system, so a deletion is a deletion.
"""

from __future__ import annotations

import os

from barque.models.launch import RootfsMount
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.trees import copy_tree
from barque.store.snapshots import SnapshotRow

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class VfsSnapshotter(DirectorySnapshotter):
    """See ``contract.Snapshotter``."""

    driver = "vfs"
    copies = True

    def _tree(self, row: SnapshotRow) -> str:
        return f"{self._directory(row)}/fs"

    def _make(self, row: SnapshotRow) -> None:
        os.mkdir(self._tree(row), 0o700)
        os.chmod(self._tree(row), 0o755)

    def _fill(self, row: SnapshotRow) -> None:
        if not row.parent:
            return
        source = os.open(self._tree(self._get(row.parent)), _DIRECTORY)
        try:
            target = os.open(self._tree(row), _DIRECTORY)
            try:
                copy_tree(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _mount(self, row: SnapshotRow) -> RootfsMount:
        if row.kind == "view":
            source = self._tree(self._get(row.parent))
            return RootfsMount(type="bind", source=source, readonly=True)
        return RootfsMount(type="bind", source=self._tree(row))

    def _peek(self, row: SnapshotRow) -> RootfsMount:
        return RootfsMount(type="bind", source=self._tree(row), readonly=True)
