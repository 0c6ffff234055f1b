"""One SQLite database in WAL mode, with one writing connection.

Commits do not wait for the disk (``synchronous=NORMAL``): a crash of the engine loses
nothing, a crash of the machine may lose the last moments but never consistency. The WAL is
folded back by ``checkpoint``, which the engine calls from a thread, so that no commit on the
event loop pays for it, unless the disk is full.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from barque.errors import MAKE_ROOM, DatabaseError, FailedPrecondition
from barque.store.schema import MIGRATIONS

_RESERVE_BYTES = 2 << 20
"""Room in the files that is taken when the engine starts, so that on a full disk there is
some left to record removals. While it is stopped a file of its own keeps that room."""


class _Connection(sqlite3.Connection):
    """A connection whose failures are in barque's words: the one place where they are made.

    On a full disk the write-ahead log cannot grow, but can be written anew once it is folded. So
    the statements of a transaction are remembered, and executed once more then.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._executed: list[tuple[Any, ...]] = []

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Execute a statement. Raises DatabaseError if the disk is full or fails."""
        if not self.in_transaction:
            self._executed = []
        self._executed.append(arguments)
        try:
            try:
                return super().execute(*arguments)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                return self._execute_again()
        except sqlite3.OperationalError as error:
            advice = f": {MAKE_ROOM}" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else ""
            raise DatabaseError(f"the engine's database cannot be used: {error}{advice}") from error

    def _execute_again(self) -> sqlite3.Cursor:
        if self.in_transaction:
            super().execute("ROLLBACK")
        super().execute("PRAGMA wal_checkpoint(PASSIVE)")
        cursors = [super(_Connection, self).execute(*one) for one in self._executed]
        return cursors[-1]


class Database:
    """The engine's metadata. Use from one thread; see ``checkpoint`` for the exception."""

    def __init__(self, path: Path) -> None:
        """Open, create or migrate the database at ``path``.

        Raises FailedPrecondition if a newer barque wrote it.
        """
        self.path = path
        self._room = path.with_name(f"{path.name}-room")
        self._room.unlink(missing_ok=True)
        self.connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.execute("PRAGMA foreign_keys=ON")
        self.connection.execute("PRAGMA busy_timeout=5000")
        self.connection.execute("PRAGMA wal_autocheckpoint=0")
        self._migrate()
        with suppress(DatabaseError):  # where there is no room, it must start nevertheless
            self._take_reserve()

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

    def _take_reserve(self) -> None:
        """Let the write-ahead log, and later the database, have free pages."""
        with self.transaction() as connection:
            connection.execute("CREATE TABLE reserve (room BLOB)")
            connection.execute("INSERT INTO reserve VALUES (zeroblob(?))", (_RESERVE_BYTES,))
        with self.transaction() as connection:
            connection.execute("DROP TABLE reserve")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it, or, on any exception, nothing.

        Raises DatabaseError.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have ended it already
                self.connection.execute("ROLLBACK")
            raise

    def checkpoint(self) -> None:
        """Fold the WAL into the database file. Callable from any thread."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def close(self) -> None:
        """Fold the WAL and close; keep the room that is needed to open it again."""
        with suppress(DatabaseError):  # what could not be folded is folded at the next start
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()
        with suppress(OSError), self._room.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * _RESERVE_BYTES)
