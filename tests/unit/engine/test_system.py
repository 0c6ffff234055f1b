from __future__ import annotations

from pathlib import Path

from barque.engine.system import SystemInfo
from barque.store.database import Database
from barque.store.settings import SettingStore
from support.spec import make_facts


def test_facts(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    system = SystemInfo(SettingStore(database), make_facts(), "overlay", tmp_path)
    facts = system.facts()
    assert facts.cpus == 4
    assert facts.cgroups.version == 1
    assert facts.operating_system
    assert facts.storage_status[0][0] == "Backing Filesystem"
    assert facts.storage_status[0][1] != "unknown"
    again = SystemInfo(SettingStore(database), make_facts(), "overlay", tmp_path)
    assert again.id == system.id
    assert len(system.id) == 36
    database.close()
