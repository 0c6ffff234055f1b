"""Container records in the database: one JSON document each, unique by id and by name."""

from __future__ import annotations

import msgspec

from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.store.database import Database

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ContainerRecord).decode


class ContainerStore:
    """The table of containers. Every call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection

    def load(self) -> list[ContainerRecord]:
        """Return all records, oldest first."""
        rows = self._connection.execute("SELECT document FROM containers")
        return sorted(
            (_decode(document) for (document,) in rows), key=lambda record: record.created
        )

    def put(self, record: ContainerRecord) -> None:
        """Insert the record, or replace the one with its id.

        Raises sqlite3.IntegrityError if another record has its name.
        """
        self._connection.execute(
            "INSERT INTO containers (id, name, document) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, document = excluded.document",
            (record.id, record.name, _encode(record)),
        )

    def delete(self, container_id: ContainerId) -> None:
        """Forget the record; nothing happens if there is none."""
        self._connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))
