"""Volumes: directories that outlive containers. The ``local`` driver, ``volumes/NAME/_data``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from barque.engine.clock import Clock, format_time
from barque.engine.events import EventBus
from barque.engine.filters import Filters, match_labels
from barque.engine.names import generate_id, validate_volume_name
from barque.engine.registry import Registry
from barque.engine.usage import measure_directory
from barque.errors import Conflict, NotFound, NotImplementedHere
from barque.models.ids import ContainerId
from barque.models.volume import VolumeRecord
from barque.snapshots.trash import discard
from barque.store.volumes import VolumeStore

ANONYMOUS_LABEL = "com.docker.volume.anonymous"

ContainerIds = list[ContainerId]
Names = list[str]

_log = logging.getLogger("barque.engine")


@dataclass(frozen=True)
class Pruned:
    """What a prune removed, and the bytes that this gave back."""

    removed: list[str]
    reclaimed_bytes: int


class Volumes:
    """The volumes of this engine. Use on the loop's thread."""

    def __init__(
        self,
        *,
        store: VolumeStore,
        registry: Registry,
        root: Path,
        trash: Path,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._store = store
        self._registry = registry
        self._root = root
        self._trash = trash
        self._events = events
        self._clock = clock
        self._records = {record.name: record for record in store.load()}
        self._held: Counter[str] = Counter()
        root.mkdir(mode=0o701, parents=True, exist_ok=True)

    def path(self, name: str) -> str:
        """Return where the data of a volume of this name is, or will be."""
        return f"{self._root}/{name}/_data"

    def list(self) -> list[VolumeRecord]:
        """Return all volumes, by name."""
        return sorted(self._records.values(), key=lambda record: record.name)

    def find(self, name: str) -> VolumeRecord | None:
        """Return the volume with exactly this name, or None."""
        return self._records.get(name)

    def get(self, name: str) -> VolumeRecord:
        """Return the volume. Raises NotFound ``get x: no such volume``."""
        record = self._records.get(name)
        if record is None:
            raise NotFound(f"get {name}: no such volume")
        return record

    def create(
        self,
        name: str = "",
        driver: str = "",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        *,
        anonymous: bool = False,
    ) -> VolumeRecord:
        """Make a volume, or return the one that has the name already.

        Without a name, or with ``anonymous``, it belongs to a container, is marked so and is
        removed with it. Raises InvalidArgument for a bad name, NotImplementedHere for another
        driver or for mount options.
        """
        if driver not in ("", "local"):
            raise NotImplementedHere(
                f"volume driver {driver!r}: this version of barque has the driver 'local' only"
            )
        if options:
            names = ", ".join(sorted(options))
            raise NotImplementedHere(
                f"volume options {names}: this version of barque makes plain directories only; "
                "bind-mount a directory that you have mounted yourself instead"
            )
        if not name:
            name, anonymous = generate_id(self._records.__contains__), True
        elif record := self._records.get(validate_volume_name(name)):
            return record
        if anonymous:
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        data = Path(self.path(name))
        record = VolumeRecord(
            name=name,
            mountpoint=str(data),
            created=format_time(self._clock.now_ns()),
            labels=labels,
            anonymous=anonymous,
        )
        self._store.put(record)  # first: a record without a directory is noticed by ``recover``
        try:
            data.parent.mkdir(mode=0o701, exist_ok=True)
            data.mkdir(mode=0o755, exist_ok=True)
        except OSError:
            discard(data.parent, self._trash)
            self._store.delete(name)
            raise
        self._records[name] = record
        self._events.publish("volume", "create", name, {"driver": "local"})
        return record

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Keep volumes from being removed within the block, for a container being made."""
        held = Counter(names)
        self._held += held
        try:
            yield
        finally:
            self._held -= held

    def users(self, name: str) -> ContainerIds:
        """Return the containers that have the volume, running or not."""
        return [
            handle.id
            for handle in self._registry
            if any(mount.type == "volume" and mount.name == name for mount in handle.record.mounts)
        ]

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume; ``force`` is content if there is none.

        Raises NotFound, Conflict ``volume is in use - [ids]``.
        """
        if force and name not in self._records:
            return
        self.get(name)
        if users := self.users(name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        if self._held[name]:
            raise Conflict(f"remove {name}: volume is in use by a container that is being created")
        discard(self._root / name, self._trash)
        self._store.delete(name)
        del self._records[name]
        self._events.publish("volume", "destroy", name, {"driver": "local"})

    def remove_unused(self, names: Iterable[str]) -> None:
        """Remove those of the volumes that no container has any more."""
        for name in names:
            if name in self._records and not self.users(name) and not self._held[name]:
                self.remove(name)

    async def prune(self, filters: Filters) -> Pruned:
        """Remove unused volumes: anonymous ones, or with filter ``all=true`` every one."""
        everything = any(value.lower() in ("1", "true") for value in filters.get("all", ()))
        removed: Names = []
        reclaimed = 0
        for record in self.list():
            if not (record.anonymous or everything) or not match_labels(record.labels, filters):
                continue
            if self.users(record.name) or self._held[record.name]:
                continue
            size = await self.usage(record.name)
            try:
                self.remove(record.name)
            except (Conflict, NotFound):
                continue  # taken or removed while it was measured
            removed.append(record.name)
            reclaimed += size
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return Pruned(removed, reclaimed)

    async def usage(self, name: str) -> int:
        """Return the bytes that the volume's files take. Raises NotFound."""
        return await asyncio.to_thread(measure_directory, self.get(name).mountpoint)

    def recover(self) -> None:
        """Forget volumes without a directory: their making or removal was interrupted."""
        for record in self.list():
            if not os.path.isdir(record.mountpoint):
                _log.warning("volume %s has no directory: forgotten", record.name)
                discard(self._root / record.name, self._trash)
                self._store.delete(record.name)
                del self._records[record.name]
