from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from barque.models.ids import ContainerId
from barque.models.network import IpamConfig, NetworkRecord
from barque.store.database import Database
from barque.store.networks import NetworkStore


def test_networks_and_addresses_come_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "barque.db")
    store = NetworkStore(database)
    record = NetworkRecord(
        id="1" * 64,
        name="bridge",
        driver="bridge",
        created="2026-01-01T00:00:00.000000000Z",
        ipam=[IpamConfig(subnet="10.77.8.0/24", gateway="10.77.8.1")],
    )
    store.save(record)
    store.save(record)
    assert store.list() == [record]
    holder = ContainerId("a" * 64)
    store.add_address(record.id, "10.77.8.2", holder)
    with pytest.raises(sqlite3.IntegrityError):
        store.add_address(record.id, "10.77.8.2", ContainerId("b" * 64))
    assert store.list_addresses(record.id) == {"10.77.8.2": holder}
    store.delete_address(record.id, "10.77.8.2")
    store.delete_address(record.id, "10.77.8.2")
    store.add_address(record.id, "10.77.8.3", holder)
    store.clear_addresses(record.id)
    assert store.list_addresses(record.id) == {}
    store.delete(record.id)
    assert store.list() == []
    database.close()
