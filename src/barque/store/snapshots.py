"""The snapshots table: which snapshots exist, and under which number on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from barque.store.database import Database


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot. ``kind`` is ``committed``, ``active`` or ``view``; ``parent`` a key or ""."""

    number: int
    key: str
    parent: str
    kind: str
    size_bytes: int = 0


class SnapshotTable:
    """The rows of one snapshotter ``driver``. Use on the loop's thread."""

    def __init__(self, database: Database, driver: str) -> None:
        self._database = database
        self._driver = driver

    def list(self) -> list[SnapshotRow]:
        """Return every row, by number: parents come before their children."""
        rows = self._database.connection.execute(
            "SELECT number, key, parent, kind, size_bytes FROM snapshots"
            " WHERE driver = ? ORDER BY number",
            (self._driver,),
        )
        return [
            SnapshotRow(number=number, key=key, parent=parent, kind=kind, size_bytes=size)
            for number, key, parent, kind, size in rows
        ]

    @contextmanager
    def insert(self, key: str, parent: str, kind: str) -> Iterator[SnapshotRow]:
        """Add a row and give it to the block; committed only if the block succeeds."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO snapshots (driver, key, parent, kind) VALUES (?, ?, ?, ?)",
                (self._driver, key, parent, kind),
            )
            yield SnapshotRow(number=cursor.lastrowid or 0, key=key, parent=parent, kind=kind)

    def commit(self, number: int, name: str, size_bytes: int) -> None:
        """Turn an active snapshot into the committed one called ``name``."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE snapshots SET key = ?, kind = 'committed', size_bytes = ? WHERE number = ?",
                (name, size_bytes, number),
            )

    def delete(self, number: int) -> None:
        """Remove the row."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM snapshots WHERE number = ?", (number,))
