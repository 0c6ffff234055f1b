"""Networks and the addresses given out on them."""

from __future__ import annotations

import msgspec

from barque.models.ids import ContainerId
from barque.models.network import NetworkRecord
from barque.store.database import Database

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(NetworkRecord).decode


class NetworkStore:
    """The tables ``networks`` and ``addresses``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[NetworkRecord]:
        """Return all networks, by name."""
        rows = self._database.connection.execute("SELECT document FROM networks ORDER BY name")
        return [_decode(document) for (document,) in rows]

    def save(self, record: NetworkRecord) -> None:
        """Add a network, or replace the one with the same id."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO networks (id, name, document) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
                " document = excluded.document",
                (record.id, record.name, _encode(record)),
            )

    def delete(self, network_id: str) -> None:
        """Remove a network and its addresses; nothing happens if there is none."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM addresses WHERE network_id = ?", (network_id,))
            connection.execute("DELETE FROM networks WHERE id = ?", (network_id,))

    def clear_addresses(self, network_id: str) -> None:
        """Record all addresses of a network as free: its subnet has changed."""
        self._database.connection.execute(
            "DELETE FROM addresses WHERE network_id = ?", (network_id,)
        )

    def list_addresses(self, network_id: str) -> dict[str, ContainerId]:
        """Return who holds which address of a network."""
        rows = self._database.connection.execute(
            "SELECT address, container_id FROM addresses WHERE network_id = ?", (network_id,)
        )
        return {address: ContainerId(container_id) for address, container_id in rows}

    def add_address(self, network_id: str, address: str, container_id: ContainerId) -> None:
        """Record an address as held. sqlite3.IntegrityError if it is held already."""
        self._database.connection.execute(
            "INSERT INTO addresses (network_id, address, container_id) VALUES (?, ?, ?)",
            (network_id, address, container_id),
        )

    def delete_address(self, network_id: str, address: str) -> None:
        """Record an address as free; nothing happens if it is."""
        self._database.connection.execute(
            "DELETE FROM addresses WHERE network_id = ? AND address = ?", (network_id, address)
        )
