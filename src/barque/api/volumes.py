"""Volumes: list, create, inspect, remove, prune."""

from __future__ import annotations

from typing import Any

import msgspec

from barque.api import decode
from barque.api.contracts import Engine
from barque.api.filters import Filters, get_flag, match_pattern, parse_filters
from barque.api.http import Call, Reply, no_content, reply_json
from barque.engine.filters import match_labels
from barque.models.volume import VolumeRecord

_LIST_KEYS = frozenset("dangling driver label label! name".split())
_PRUNE_KEYS = frozenset("label label! all".split())
_NAMED_KEPT_SINCE = 42


class VolumeCreate(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of VolumeCreate."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Volumes:
    """Operations on volumes."""

    def __init__(self, engine: Engine) -> None:
        self._volumes = engine.volumes
        self._containers = engine.containers

    async def list_volumes(self, call: Call) -> Reply:
        """List volumes by name."""
        filters = parse_filters(call.text("filters"), _LIST_KEYS)
        used = self._list_used()
        volumes = [
            render_volume(volume)
            for volume in self._volumes.list()
            if _match(volume, filters, used)
        ]
        return reply_json({"Volumes": volumes, "Warnings": None})

    def _list_used(self) -> set[str]:
        return {
            mount.name
            for record in self._containers.list()
            for mount in record.mounts
            if mount.name
        }

    async def create(self, call: Call) -> Reply:
        """Create a volume, or return the one that has the name already."""
        body = decode.convert(await call.json(), VolumeCreate)
        volume = self._volumes.create(body.name, body.driver, body.driver_opts, body.labels)
        return reply_json(render_volume(volume), status=201)

    async def inspect(self, call: Call) -> Reply:
        """Describe a volume."""
        return reply_json(render_volume(self._volumes.get(call.name)))

    async def remove(self, call: Call) -> Reply:
        """Remove a volume; ``force`` forgives that it does not exist."""
        self._volumes.remove(call.name, force=call.flag("force"))
        return no_content()

    async def prune(self, call: Call) -> Reply:
        """Remove unused volumes: anonymous ones, or every one with ``all=true``."""
        filters = parse_filters(call.text("filters"), _PRUNE_KEYS)
        if call.minor < _NAMED_KEPT_SINCE:
            filters["all"] = ["true"]
        pruned = await self._volumes.prune(filters)
        return reply_json(
            {"VolumesDeleted": pruned.removed, "SpaceReclaimed": pruned.reclaimed_bytes}
        )


def _match(volume: VolumeRecord, filters: Filters, used: set[str]) -> bool:
    dangling = filters.get("dangling")
    return (
        match_labels(volume.labels, filters)
        and (not dangling or get_flag(filters, "dangling") is (volume.name not in used))
        and ("driver" not in filters or volume.driver in filters["driver"])
        and ("name" not in filters or match_pattern(filters["name"], [volume.name]))
    )


def render_volume(volume: VolumeRecord) -> dict[str, Any]:
    """Return the volume as inspect shows it."""
    return {
        "CreatedAt": volume.created,
        "Driver": volume.driver,
        "Labels": volume.labels,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }
