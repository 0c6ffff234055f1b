"""Container and volume records come back as they went in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from barque.models.api import ContainerConfig, EndpointSettings, HostConfig, PortBinding
from barque.models.container import ContainerState, MountPoint
from barque.models.ids import ContainerId
from barque.models.image import Healthcheck
from barque.models.volume import VolumeRecord
from barque.store.containers import ContainerStore
from barque.store.database import Database
from barque.store.volumes import VolumeStore
from support.spec import make_record


def test_containers(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    store = ContainerStore(database)
    full = replace(
        make_record(
            ContainerConfig(
                env=["A=ä"], cmd=["a"], entrypoint="x", healthcheck=Healthcheck(test=["NONE"])
            ),
            HostConfig(
                port_bindings={"80/tcp": [PortBinding(host_port="1")], "1/udp": None},
                memory_swappiness=0,
            ),
            mounts=[MountPoint(type="bind", source="/a", destination="/b", rw=False)],
        ),
        created="2024-01-02T00:00:00Z",
        networks={"bridge": EndpointSettings(ip_address="192.0.2.7")},
        state=ContainerState(running=True, pid=7),
    )
    older = replace(full, id=ContainerId("d" * 64), name="older", created="2024-01-01T00:00:00Z")
    store.put(full)
    store.put(older)
    assert store.load() == [older, full]
    renamed = replace(full, name="renamed")
    store.put(renamed)
    assert ContainerStore(Database(tmp_path / "db")).load() == [older, renamed]
    with pytest.raises(sqlite3.IntegrityError):
        store.put(replace(older, name="renamed"))
    store.delete(older.id)
    store.delete(older.id)
    assert store.load() == [renamed]


def test_volumes(tmp_path: Path) -> None:
    store = VolumeStore(Database(tmp_path / "db"))
    record = VolumeRecord(name="b1", mountpoint="/v/b1/_data", created="now", labels={"a": ""})
    store.put(record)
    store.put(replace(record, name="a1", anonymous=True))
    assert [found.name for found in store.load()] == ["a1", "b1"]
    assert store.load()[1] == record
    store.delete("a1")
    assert store.load() == [record]
