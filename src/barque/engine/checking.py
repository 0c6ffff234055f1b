"""Is what the engine keeps whole, and is nothing else there? ``barque system check``.

Images, blobs and layers are the image service's part (``barque.images.checking``). Here, what
stands on them: containers' writable layers and directories, volumes, and the trash.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import msgspec

from barque.engine.layout import Layout
from barque.engine.registry import Registry
from barque.engine.trash import TrashReaper
from barque.engine.volumes import Volumes
from barque.errors import Conflict, KernelError
from barque.images.findings import Finding, Tell
from barque.images.flights import Status
from barque.images.garbage import UNPACK_KEY
from barque.images.progress import Message, Report, follow
from barque.images.service import ImageService
from barque.models.container import ContainerRecord
from barque.network.service import Networks
from barque.snapshots.contract import Snapshotter
from barque.snapshots.trash import discard

_TRASH_S = 600.0
"""How long deleting may take before what is in the trash counts as stuck there."""
_SECOND_LOOK_S = 1.0


class Checking:
    """Checks and repairs what one engine keeps. Use on the loop's thread."""

    def __init__(
        self,
        *,
        registry: Registry,
        images: ImageService,
        networks: Networks,
        snapshots: Snapshotter,
        volumes: Volumes,
        layout: Layout,
        reaper: TrashReaper,
    ) -> None:
        self._registry = registry
        self._images = images
        self._networks = networks
        self._snapshots = snapshots
        self._volumes = volumes
        self._layout = layout
        self._reaper = reaper
        self._under_way = False

    def check(self, *, deep: bool, repair: bool) -> AsyncGenerator[Message, None]:
        """Check everything, and ``repair`` it; ``deep`` also reads every byte of images.

        Gives docker's progress messages, and for each finding one with ``aux``: ``Finding``;
        at the end, one with ``aux``: ``{"Checked": {kind: number}}``. Close it to give up.
        Raises Conflict if a check is under way, KernelError.
        """

        async def work(say: Callable[[Message], None], report: Report) -> None:
            if self._under_way:
                raise Conflict("a check is under way already: wait for its end")
            self._under_way = True
            try:
                counts = await self._check(say, report, deep=deep, repair=repair)
            except OSError as error:
                raise KernelError("read", error.errno or 0, str(error.filename or "")) from error
            finally:
                self._under_way = False
            say({"aux": {"Checked": counts}})

        return follow(work)

    async def _check(
        self, say: Callable[[Message], None], report: Report, *, deep: bool, repair: bool
    ) -> dict[str, int]:
        def tell(finding: Finding) -> None:
            say({"aux": msgspec.to_builtins(finding)})

        leftovers = self._list_leftovers()
        began = time.monotonic()
        counts: dict[str, Any] = await self._images.check(
            deep=deep, repair=repair, holders=self._list_holders, tell=tell, report=report
        )
        records = self._registry.records()
        for number, record in enumerate(records, 1):
            for problem in self._find_problems(record):
                tell(Finding(kind="container", name=record.name, problem=problem))
            report("containers", Status("Checking", number, len(records), "containers"))
        self._check_volumes(tell, repair=repair)
        if leftovers:
            await asyncio.sleep(max(0.0, _SECOND_LOOK_S - (time.monotonic() - began)))
            again = self._list_leftovers()
            for name in leftovers.keys() & again.keys():
                if repair:
                    again[name]()
                finding = Finding(
                    kind="leftover",
                    name=name,
                    problem="it belongs to nothing",
                    result="removed" if repair else "",
                    repaired=repair,
                )
                tell(finding)
        self._check_trash(tell)
        if repair:
            self._reaper.wake()
        return {**counts, "containers": len(records), "volumes": len(self._volumes.list())}

    def _check_volumes(self, tell: Tell, *, repair: bool) -> None:
        for volume in self._volumes.list():
            if os.path.isdir(volume.mountpoint):
                continue
            if repair:
                os.makedirs(volume.mountpoint, mode=0o755)
            finding = Finding(
                kind="volume",
                name=volume.name,
                problem=f"its directory {volume.mountpoint} is missing",
                result="made again, empty" if repair else "",
                repaired=repair,
            )
            tell(finding)

    def _find_problems(self, record: ContainerRecord) -> list[str]:
        """Say what is wrong with a container. Only its owner can tell what to do about it."""
        if record.id not in self._registry:
            return []
        problems = []
        if self._snapshots.find(record.snapshot) is None:
            problems.append("its writable layer is missing: remove it")
        elif damage := self._snapshots.find_damage(record.snapshot):
            problems.append(f"its writable layer cannot be used: {damage}")
        if not self._layout.container(record.id).is_dir():
            problems.append(f"its directory {self._layout.container(record.id)} is missing")
        return problems

    def _list_holders(self, chain_id: str) -> list[str]:
        """Return the names of containers that run on a layer, or are about to."""
        return [
            handle.record.name
            for handle in self._registry
            if (handle.run is not None or handle.lock.locked())
            and chain_id in self._list_chain(handle.record.snapshot)
        ]

    def _list_chain(self, key: str) -> set[str]:
        chain: set[str] = set()
        while key and key not in chain and (snapshot := self._snapshots.find(key)) is not None:
            chain.add(key)
            key = snapshot.parent
        return chain

    def _list_leftovers(self) -> dict[str, Callable[[], None]]:
        """Return what belongs to nothing, by name, and how to get rid of it."""
        found: dict[str, Callable[[], None]] = {}
        for snapshot in self._snapshots.walk():
            key = snapshot.key
            of_container = snapshot.kind != "committed" and not key.startswith(UNPACK_KEY)
            if of_container and key not in self._registry:
                found[f"snapshot {key}"] = partial(self._snapshots.remove, key)
        strays = [
            *(
                path
                for path in self._layout.containers.iterdir()
                if path.name not in self._registry
            ),
            *(path for path in self._layout.volumes.iterdir() if not self._volumes.find(path.name)),
        ]
        for path in strays:
            name = f"{path.parent.name}/{path.name}"
            found[name] = partial(discard, path, self._layout.trash)
        for holder in self._networks.holders():
            if holder not in self._registry:
                found[f"addresses of {holder}"] = partial(self._networks.release, holder)
        return found

    def _check_trash(self, tell: Tell) -> None:
        for name in os.listdir(self._layout.trash):
            path = self._layout.trash / name
            try:
                age_s = time.time() - path.lstat().st_ctime
            except FileNotFoundError:
                continue
            if age_s > _TRASH_S:
                problem = "it could not be deleted: the engine's log says why"
                tell(Finding(kind="leftover", name=f"trash/{name}", problem=problem))
