"""Snapshots as overlayfs layers: ``<number>/fs`` holds the differences, ``work`` is overlay's.

A snapshot costs two empty directories and one row, whatever its parents hold. An active
snapshot without parents is a plain directory (overlayfs wants at least one lower layer), as
is the view of a single layer.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from barque.models.launch import RootfsMount
from barque.snapshots.changes import Changes, Redirected, walk_layer
from barque.snapshots.directories import DirectorySnapshotter
from barque.store.snapshots import SnapshotRow

_DEFAULT_MODE = 0o755


class OverlaySnapshotter(DirectorySnapshotter):
    """See ``contract.Snapshotter``. Overlayfs itself is only needed where mounts are made."""

    driver = "overlay"

    def _tree(self, row: SnapshotRow) -> str:
        return f"{self._directory(row)}/fs"

    def _make(self, row: SnapshotRow) -> None:
        tree = self._tree(row)
        os.mkdir(tree, 0o700)
        if row.parent:
            # The merged root has the attributes of the topmost layer's.
            root = os.stat(self._tree(self._get(row.parent)))
            if root.st_uid != os.geteuid() or root.st_gid != os.getegid():
                os.chown(tree, root.st_uid, root.st_gid)
            os.chmod(tree, root.st_mode & 0o7777)
            os.mkdir(f"{self._directory(row)}/work", 0o700)
        else:
            os.chmod(tree, _DEFAULT_MODE)

    def _fill(self, row: SnapshotRow) -> None:
        """Copy nothing: the layers below are mounted with this one."""

    def _mount(self, row: SnapshotRow) -> RootfsMount:
        lower = [self._tree(parent) for parent in self._chain(row.parent)]
        if row.kind == "view":
            if len(lower) == 1:
                return RootfsMount(type="bind", source=lower[0], readonly=True)
            return RootfsMount(type="overlay", lower=lower, readonly=True)
        if not lower:
            return RootfsMount(type="bind", source=self._tree(row))
        return RootfsMount(
            type="overlay", lower=lower, upper=self._tree(row), work=f"{self._directory(row)}/work"
        )

    def _peek(self, row: SnapshotRow) -> RootfsMount:
        layers = [self._tree(layer) for layer in self._chain(row.key)]
        if len(layers) == 1:
            return RootfsMount(type="bind", source=layers[0], readonly=True)
        return RootfsMount(type="overlay", lower=layers, readonly=True)

    def changes(self, key: str, stubs: frozenset[bytes] = frozenset()) -> Changes:
        """See ``Snapshotter.changes``: reads the layer, and compares trees only where it must."""
        row = self._get(key)
        if row.kind == "view":
            return []
        with ExitStack() as stack:
            upper, *lower = (_open(stack, self._tree(layer)) for layer in self._chain(key))
            try:
                return walk_layer(upper, lower, stubs)
            except Redirected:
                return super().changes(key, stubs)


def _open(stack: ExitStack, path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd
