"""Single values that the engine keeps, such as its own ID."""

from __future__ import annotations

from barque.store.database import Database


class SettingStore:
    """The table of settings. Every call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection

    def find(self, key: str) -> str | None:
        """Return the value, or None if it was never set."""
        row = self._connection.execute(
            "SELECT value FROM settings WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        """Set the value."""
        self._connection.execute(
            "INSERT INTO settings (key, value) VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )
