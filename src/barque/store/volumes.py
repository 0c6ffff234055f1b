"""Volume records in the database: one JSON document each, by name."""

from __future__ import annotations

import msgspec

from barque.models.volume import VolumeRecord
from barque.store.database import Database

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(VolumeRecord).decode


class VolumeStore:
    """The table of volumes. Every call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection

    def load(self) -> list[VolumeRecord]:
        """Return all records, by name."""
        rows = self._connection.execute("SELECT document FROM volumes ORDER BY name")
        return [_decode(document) for (document,) in rows]

    def put(self, record: VolumeRecord) -> None:
        """Insert the record, or replace the one with its name."""
        self._connection.execute(
            "INSERT INTO volumes (name, document) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET document = excluded.document",
            (record.name, _encode(record)),
        )

    def delete(self, name: str) -> None:
        """Forget the record; nothing happens if there is none."""
        self._connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
