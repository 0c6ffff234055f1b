"""GET /system/df in the shape of versions before 1.52."""

from __future__ import annotations

import time
from typing import Any

from barque.api.container_list import ContainerList
from barque.api.contracts import Engine
from barque.api.http import Call, Reply, reply_json
from barque.api.images import Images
from barque.api.volumes import render_volume
from barque.errors import InvalidArgument

_TYPES = frozenset({"container", "image", "volume", "build-cache"})


class DiskUsage:
    """Disk usage."""

    def __init__(self, engine: Engine, containers: ContainerList, images: Images) -> None:
        self._engine = engine
        self._containers = containers
        self._images = images

    async def report(self, call: Call) -> Reply:
        """Show what takes disk space; ``type`` asks for some kinds only."""
        types = set(call.texts("type")) or _TYPES
        if unknown := types - _TYPES:
            raise InvalidArgument(f"unknown object type: {', '.join(sorted(unknown))}")
        document: dict[str, Any] = {
            "LayersSize": 0,
            "Images": None,
            "Containers": None,
            "Volumes": None,
            "BuildCache": None,
        }
        if "image" in types:
            images = self._engine.images.list()
            document["LayersSize"] = self._engine.images.measure_layers()
            document["Images"] = [self._images.summarise_usage(image, call) for image in images]
        if "container" in types:
            document["Containers"] = await self._containers.list_sizes(
                self._engine.containers.list(), call.minor, time.time_ns()
            )
        if "volume" in types:
            document["Volumes"] = await self._list_volumes()
        if "build-cache" in types:
            document["BuildCache"] = []
        return reply_json(document)

    async def _list_volumes(self) -> list[dict[str, Any]]:
        used = [mount.name for record in self._engine.containers.list() for mount in record.mounts]
        return [
            render_volume(volume)
            | {
                "UsageData": {
                    "RefCount": used.count(volume.name),
                    "Size": await self._engine.volumes.usage(volume.name),
                }
            }
            for volume in self._engine.volumes.list()
        ]
