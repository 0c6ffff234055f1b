"""A container as the Engine API shows it: parts that the list and inspect share."""

from __future__ import annotations

from typing import Any

from barque.models.container import ContainerRecord, MountPoint


def format_command(record: ContainerRecord) -> str:
    """Return ``Command`` of a list entry: path and arguments, those with spaces quoted."""
    return " ".join([record.path, *(f"'{arg}'" if " " in arg else arg for arg in record.args)])


def render_mount(mount: MountPoint) -> dict[str, Any]:
    """Return an entry of ``Mounts``; ``Name`` and ``Driver`` only where there is a volume."""
    entry: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        entry["Name"] = mount.name
    entry["Source"] = mount.source
    entry["Destination"] = mount.destination
    if mount.driver:
        entry["Driver"] = mount.driver
    entry["Mode"] = mount.mode
    entry["RW"] = mount.rw
    entry["Propagation"] = mount.propagation
    return entry
