"""Snapshots as btrfs subvolumes: ``<number>/fs`` holds all of the file system.

A snapshot shares every block with its parent until one of them is written, so it costs nothing
to make and a deletion is a deletion: no whiteouts, no layers to be looked through.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOENT, ENOTDIR
from pathlib import Path

from barque.errors import FailedPrecondition, KernelError
from barque.kernel.btrfs import MAGIC, create_snapshot, create_subvolume, destroy_subvolume
from barque.kernel.files import get_file_system_type
from barque.models.launch import RootfsMount
from barque.snapshots.directories import DirectorySnapshotter
from barque.store.database import Database
from barque.store.snapshots import SnapshotRow

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = "fs"
_NO_SUBVOLUME = (EINVAL, ENOENT, ENOTDIR)


class BtrfsSnapshotter(DirectorySnapshotter):
    """See ``contract.Snapshotter``. Raises FailedPrecondition where there is no btrfs."""

    driver = "btrfs"

    def __init__(self, root: Path, database: Database, trash: Path) -> None:
        super().__init__(root, database, trash)
        with _opened(str(root)) as fd:
            if get_file_system_type(fd) != MAGIC:
                raise FailedPrecondition(
                    f"the storage driver btrfs needs a btrfs file system, but {root} is on "
                    "another one: choose overlay or vfs, or another data-root"
                )

    def _tree(self, row: SnapshotRow) -> str:
        return f"{self._directory(row)}/{_NAME}"

    def _make(self, row: SnapshotRow) -> None:
        with _opened(self._directory(row)) as directory:
            try:
                if row.parent:
                    with _opened(self._tree(self._get(row.parent))) as parent:
                        create_snapshot(directory, _NAME, parent)
                else:
                    create_subvolume(directory, _NAME)
                    os.chmod(self._tree(row), 0o755)
            except KernelError as error:
                raise OSError(error.errno, str(error)) from error

    def _fill(self, row: SnapshotRow) -> None:
        """Copy nothing: the blocks are shared."""

    def _mount(self, row: SnapshotRow) -> RootfsMount:
        if row.kind == "view":
            return self._peek(self._get(row.parent))
        return RootfsMount(type="bind", source=self._tree(row))

    def _peek(self, row: SnapshotRow) -> RootfsMount:
        return RootfsMount(type="bind", source=self._tree(row), readonly=True)

    def reap(self) -> None:
        """See ``Snapshotter.reap``. A subvolume goes as a whole, whatever it holds."""
        for name in os.listdir(self._trash):
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                _opened(f"{self._trash}/{name}") as directory,
            ):
                try:
                    destroy_subvolume(directory, _NAME)
                except KernelError as error:
                    if error.errno not in _NO_SUBVOLUME:
                        raise
        super().reap()


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
