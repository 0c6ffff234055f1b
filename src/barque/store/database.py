"""One SQLite database in WAL mode, with one writing connection.

Commits do not wait for the disk (``synchronous=NORMAL``): a crash of the engine loses
nothing, a crash of the machine may lose the last moments but never consistency. The WAL is
folded back by ``checkpoint``, which the engine calls from a thread, so that no commit on the
event loop ever pays for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.errors import FailedPrecondition
from barque.store.schema import MIGRATIONS


class Database:
    """The engine's metadata. Use from one thread; see ``checkpoint`` for the exception."""

    def __init__(self, path: Path) -> None:
        """Open, create or migrate the database at ``path``.

        Raises FailedPrecondition if a newer barque wrote it.
        """
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.execute("PRAGMA foreign_keys=ON")
        self.connection.execute("PRAGMA busy_timeout=5000")
        self.connection.execute("PRAGMA wal_autocheckpoint=0")
        self._migrate()

    def _migrate(self) -> None:
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise FailedPrecondition(
                f"{self.path} was written by a newer barque (schema {version}, this one knows "
                f"{len(MIGRATIONS)}): upgrade barque or choose another --data-root"
            )
        for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
            self.connection.executescript(
                f"BEGIN IMMEDIATE; {migration} PRAGMA user_version={number}; COMMIT;"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it, or, on any exception, nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def checkpoint(self) -> None:
        """Fold the WAL into the database file. Callable from any thread."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def close(self) -> None:
        """Fold the WAL and close."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()
