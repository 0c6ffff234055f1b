"""Images as the engine uses them: look up, name, import, load, remove, prune."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from barque.content.store import ContentStore
from barque.errors import BarqueError, InvalidArgument
from barque.images.catalog import Catalog, get_blobs
from barque.images.changes import apply_changes
from barque.images.feed import stream_from_thread
from barque.images.garbage import Garbage, Lease
from barque.images.platform import get_host, parse_platform
from barque.images.record import HistoryLine, Image, decode_config, get_chain_ids, shorten
from barque.images.reference import Reference, parse_reference, parse_tag_target
from barque.images.removal import Removal, Users
from barque.images.storage import Storage
from barque.images.tar import Limits
from barque.models.ids import ImageId
from barque.models.image import HistoryEntry, ImageConfig, RootFS, RunConfig
from barque.registry.config import RegistryConfig
from barque.snapshots.changes import Changes
from barque.snapshots.contract import Snapshotter
from barque.store.database import Database

if TYPE_CHECKING:
    from barque.images.archive import PlannedImage
    from barque.images.assembly import Assembly
    from barque.images.exchange import Exchange
    from barque.images.findings import Holders, Tell
    from barque.images.layers import Metered
    from barque.images.progress import Report

_PROGRESS_S = 0.1
_MISSING = "<missing>"

Images = list[Image]
History = list[HistoryLine]
Sources = list["Metered"]
Records = list[dict[str, str]]
"""``[{"Untagged": name}, {"Deleted": digest}]``."""
Listener = Callable[[str, ImageId, str], None]
"""Told of (action, image, name): import, load, save, pull, push, tag, untag, delete."""


def _ignore(_action: str, _image: ImageId, _name: str) -> None:
    """Tell nobody."""


class ImageService:
    """All images of one engine. Use it on the loop; long work goes to threads.

    ``listener`` may be set to be told of what happens to images, on the loop's thread.
    """

    def __init__(
        self,
        database: Database,
        content: ContentStore,
        snapshotter: Snapshotter,
        limits: Limits | None = None,
        registries: RegistryConfig | None = None,
    ) -> None:
        self._content = content
        self._catalog = Catalog(database, content)
        self._garbage = Garbage(self._catalog, content, snapshotter)
        self._storage = Storage(
            self._catalog, content, snapshotter, self._garbage, limits or Limits()
        )
        self._registries = registries or RegistryConfig()
        self._exchange: Exchange | None = None
        self.listener: Listener = _ignore

    def on_trash(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when the snapshotter's trash may have something in it."""
        self._garbage.on_trash = wake

    def recover(self) -> None:
        """Clear what a killed engine left half done. Call once, before anything else.

        The snapshotter's own ``recover`` comes first.
        """
        self._content.recover()
        self._garbage.recover()
        self._content.reap()

    def sweep(self) -> None:
        """Remove layers that nothing uses any more: call it when a container was removed
        whose image is gone.
        """
        self._garbage.sweep()

    # Looking up

    def list(self) -> Images:
        """Return all images, newest first."""
        return sorted(self._catalog.images.values(), key=lambda image: image.created, reverse=True)

    def get(self, ref: str) -> Image:
        """Return the image by name, digest, id or unique id prefix.

        Raises NotFound ("No such image: x:latest"), InvalidArgument for a malformed name.
        """
        return self._catalog.get(ref)

    def find(self, ref: str) -> Image | None:
        """``get``, or None. Raises InvalidArgument for a malformed name."""
        return self._catalog.find(ref)

    def history(self, ref: str) -> History:
        """Return how the image came to be, newest step first. Raises NotFound."""
        image = self.get(ref)
        sizes = iter([layer.unpacked_size for layer in image.layers])
        lines = [
            HistoryLine(
                id=_MISSING,
                created=parse_time(entry.created),
                created_by=entry.created_by,
                tags=None,
                size=0 if entry.empty_layer else next(sizes, 0),
                comment=entry.comment,
            )
            for entry in image.config.history or []
        ]
        if lines:
            lines[-1] = msgspec.structs.replace(lines[-1], id=image.id, tags=image.tags or None)
        return lines[::-1]

    def measure_shared(self, image: Image) -> int:
        """Return the bytes of the image's layers that other images use too."""
        users = self._catalog.chain_users
        return sum(row.unpacked_size for row in image.layers if users[row.chain_id] > 1)

    def measure_layers(self) -> int:
        """Return the bytes of all images' layers, each once."""
        sizes = {
            row.chain_id: row.unpacked_size
            for image in self._catalog.images.values()
            for row in image.layers
        }
        return sum(sizes.values())

    # Checking

    async def check(
        self, *, deep: bool, repair: bool, holders: Holders, tell: Tell, report: Report
    ) -> dict[str, int]:
        """Check blobs, images and layers, and ``repair`` them: see ``checking``.

        ``deep`` also reads every byte. ``tell`` is given what is found, ``report`` how far it
        is. Returns how many of each kind there are. Raises KernelError, OSError.
        """
        from barque.images.checking import ImageCheck  # noqa: PLC0415 rarely used

        check = ImageCheck(
            self._storage,
            deep=deep,
            repair=repair,
            holders=holders,
            tell=tell,
            report=report,
        )
        await check.run()
        return check.counts

    # Names

    def tag(self, ref: str, repo: str, tag: str) -> Image:
        """Give an image one more name, taking it from another one if need be.

        ``repo`` may hold the tag. Raises NotFound, InvalidArgument.
        """
        image = self.get(ref)
        target = parse_tag_target(repo, tag)
        self._catalog.register([], [(target, image.id)])
        self.listener("tag", image.id, target.familiar)
        return self._catalog.images[image.id]

    # Registries

    @property
    def exchange(self) -> Exchange:
        """Pull, push, and what else is asked of registries."""
        if self._exchange is None:
            # Not before it is needed, as for _assemble.
            from barque.images.exchange import Exchange  # noqa: PLC0415
            from barque.images.pull import Pulls  # noqa: PLC0415
            from barque.images.push import Pushes  # noqa: PLC0415

            pulls = Pulls(self._storage, self._registries)
            pushes = Pushes(self._catalog, self._content, self._garbage, self._registries)
            self._exchange = Exchange(pulls, pushes, self._registries, self._tell)
        return self._exchange

    def _tell(self, action: str, image_id: str, name: str) -> None:
        self.listener(action, ImageId(image_id), name)

    # Making

    def _assemble(self) -> Assembly:
        # Not before it is needed: decompressors and parsers cost an idle engine memory.
        from barque.images.assembly import Assembly  # noqa: PLC0415

        return Assembly(self._storage)

    async def import_image(
        self,
        stream: AsyncGenerator[bytes],
        *,
        repo: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> Image:
        """Make an image of one layer from a root file system's tar, compressed or not.

        ``changes`` are Dockerfile instructions for its config; without ``repo`` the image
        gets no name. Raises InvalidArgument, KernelError; nothing is left then.
        """
        target = [parse_tag_target(repo, tag)] if repo else []
        wanted = parse_platform(platform) if platform else get_host()
        run = apply_changes(RunConfig(), changes)
        async with self._assemble() as assembly:
            layer = await assembly.unpack_stream(stream)
            created = _now()
            config = ImageConfig(
                architecture=wanted.architecture,
                variant=wanted.variant,
                os=wanted.os,
                created=created,
                config=run,
                rootfs=RootFS(diff_ids=[layer.diff_id]),
                history=[HistoryEntry(created=created, comment=message or "Imported from -")],
            )
            image_id = await assembly.add_image(msgspec.json.encode(config), [layer], target)
            assembly.register()
        self.listener("import", image_id, target[0].familiar if target else image_id)
        return self._catalog.images[image_id]

    async def commit(
        self,
        key: str,
        changes: Changes,
        *,
        base: Image | None,
        run: RunConfig,
        step: HistoryEntry,
        author: str = "",
        target: Reference | None = None,
        packed: Callable[[], Awaitable[None]] | None = None,
    ) -> Image:
        """Make an image of ``base`` and what the snapshot ``key`` has changed in it.

        ``step`` becomes the newest of its history; without ``target`` it gets no name. The
        snapshot is only read, and must not change before ``packed`` is called, which raises
        if it has. Raises KernelError, InvalidArgument, NotFound if ``base`` is gone; nothing is
        left then.
        """
        base_config = base.config if base else None
        host = get_host()
        async with self._assemble() as assembly:
            if base is not None:
                self._catalog.get(base.id)  # it may have been removed meanwhile
            layers = [assembly.hold_layer(row) for row in base.layers] if base else []
            member = await assembly.pack(key, changes)
            if packed is not None:
                await packed()
            layer = await assembly.keep_layer(member, base.chain_id if base else "")
            diff_ids = [row.diff_id for row in layers]
            if layer is not None:
                layers.append(layer)
                diff_ids.append(layer.diff_id)
            created = _now()
            step = msgspec.structs.replace(step, created=created, empty_layer=layer is None)
            config = ImageConfig(
                architecture=base_config.architecture if base_config else host.architecture,
                variant=base_config.variant if base_config else host.variant,
                os=base_config.os if base_config else host.os,
                os_version=base_config.os_version if base_config else "",
                created=created,
                author=author,
                config=run,
                rootfs=RootFS(diff_ids=diff_ids),
                history=[*((base_config.history or []) if base_config else []), step],
            )
            image_id = await assembly.add_image(
                msgspec.json.encode(config),
                layers,
                [target] if target else [],
                parent=base.id if base else "",
            )
            assembly.register()
        if target:
            self.listener("tag", image_id, target.familiar)
        return self._catalog.images[image_id]

    async def load(
        self, stream: AsyncGenerator[bytes], *, quiet: bool, platform: str = ""
    ) -> AsyncGenerator[dict[str, Any]]:
        """Load all images of an archive (docker's or OCI layout, compressed or not).

        Gives the objects of docker's progress stream; a failure is the last of them, and
        nothing was loaded then. Close the iterator to give up.
        """
        try:
            lines = self._load(stream, quiet=quiet, platform=platform)
            async with aclosing(lines):
                async for line in lines:
                    yield line
        except BarqueError as error:
            yield {"errorDetail": {"message": str(error)}, "error": str(error)}

    async def _load(
        self, stream: AsyncGenerator[bytes], *, quiet: bool, platform: str
    ) -> AsyncGenerator[dict[str, Any]]:
        wanted = parse_platform(platform) if platform else get_host()
        async with self._assemble() as assembly:
            archive = await assembly.stage(stream)
            planned = await asyncio.to_thread(archive.plan, wanted)
            for plan in sorted(planned, key=lambda plan: len(plan.layers)):  # parents first
                image = self._catalog.images.get(ImageId(plan.config.digest))
                if image is not None and assembly.is_whole(image):
                    assembly.add_tags(image.id, plan.tags)
                else:
                    async with aclosing(self._load_image(assembly, plan)) as lines:
                        async for line in lines:
                            if not quiet:
                                yield line
            loaded = [(ImageId(plan.config.digest), plan.tags) for plan in planned]
            former = dict(self._catalog.references)
            assembly.register()
        for image_id, tags in loaded:
            for tag in tags:
                old = former.get(str(tag))
                if old is not None and old != image_id:
                    yield {
                        "stream": f"The image {tag.familiar} already exists, renaming the old one "
                        f"with ID {old} to empty string\n"
                    }
                self.listener("load", image_id, tag.familiar)
                yield {"stream": f"Loaded image: {tag.familiar}\n"}
            if not tags:
                self.listener("load", image_id, image_id)
                yield {"stream": f"Loaded image ID: {image_id}\n"}

    async def _load_image(
        self, assembly: Assembly, plan: PlannedImage
    ) -> AsyncGenerator[dict[str, Any]]:
        content = plan.config.read(self._content)
        config = decode_config(content)
        diff_ids = config.rootfs.diff_ids
        if len(diff_ids) != len(plan.layers):
            raise InvalidArgument(
                f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, "
                f"got {len(plan.layers)}"
            )
        rows = []
        parent = ""
        for member, diff_id, chain_id in zip(
            plan.layers, diff_ids, get_chain_ids(diff_ids), strict=True
        ):
            row = assembly.find_layer(chain_id)
            if row is None:
                sources: Sources = []
                unpacking = asyncio.ensure_future(
                    assembly.unpack_member(member, diff_id, parent, chain_id, sources.append)
                )
                try:
                    while not unpacking.done():
                        await asyncio.wait([unpacking], timeout=_PROGRESS_S)
                        done = sources[0].bytes_read if sources else 0
                        yield _show_progress(diff_id, done, member.size)
                finally:
                    # Left alone only when this iterator is closed: the work must end first.
                    unpacking.cancel()
                    await asyncio.wait([unpacking])
                row = unpacking.result()
            rows.append(row)
            parent = chain_id
        manifest = plan.manifest.read(self._content) if plan.manifest else None
        parent_id = plan.parent if assembly.is_ancestor(plan.parent, diff_ids) else ""
        await assembly.add_image(content, rows, plan.tags, manifest, parent_id)

    # Saving

    async def save(self, names: Sequence[str], *, platform: str = "") -> AsyncGenerator[bytes]:
        """Give an archive of the images ``names``; see ``saving`` for what they mean.

        What is in it stays in the store until the iterator is closed. Raises NotFound,
        InvalidArgument, before it gives anything.
        """
        from barque.images.saving import SavedArchive, plan_save  # noqa: PLC0415 rarely used

        plan = plan_save(self._catalog, names, platform)
        lease = Lease(self._garbage)
        for saved in plan:
            for digest in get_blobs(saved.image):
                lease.hold_blob(digest)
        try:
            archive = await asyncio.to_thread(SavedArchive, self._content, plan)
            async with aclosing(stream_from_thread(archive.write_to, "save-images")) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            lease.release()
        for saved in plan:
            self.listener("save", saved.image.id, saved.image.id)

    # Removing

    async def remove(self, ref: str, *, force: bool, prune: bool, users: Users) -> Records:
        """Remove an image, or a name of it: see ``removal`` for the rules.

        ``users`` tells which containers use an image; ``prune`` also removes parents that
        nothing names. Returns ``[{"Untagged": …}, {"Deleted": …}]``. Raises NotFound, Conflict.
        """
        removal = Removal(self._catalog, users)
        image = self.get(ref)
        try:
            removal.remove(ref, force=force, prune=prune)
        finally:
            records = self._collect(removal, image.id)
        await asyncio.to_thread(self._content.reap)
        return records

    def _collect(self, removal: Removal, image_id: ImageId) -> Records:
        """Drop what removed images leave behind; return what was done, layers included."""
        records: Records = []
        removed = {image.id: image for image in removal.done.images}
        for record in removal.done.records:
            records.append(record)
            if name := record.get("Untagged"):
                self.listener("untag", image_id, name)
                if digest := parse_reference(name).digest:
                    self._garbage.collect_blobs([digest])
            elif image := removed.get(ImageId(record["Deleted"])):
                layers = self._garbage.collect_layers(layer.chain_id for layer in image.layers)
                self._garbage.collect_blobs(get_blobs(image))
                records += [{"Deleted": chain_id} for chain_id in layers]
                self.listener("delete", image.id, image.id)
        return records

    async def prune(
        self, *, match: Callable[[Image], bool], dangling_only: bool, users: Users
    ) -> tuple[Records, int]:
        """Remove all images for which ``match`` says yes and that no container uses.

        ``dangling_only`` spares those with a name. Returns what ``remove`` does, and the bytes
        of unpacked layers that were freed.
        """
        before = self._measure()
        records: Records = []
        for image in self.list():
            current = self._catalog.images.get(image.id)
            if current is None or (dangling_only and current.tags):
                continue
            if users(image.id) or self._catalog.get_children(image.id) or not match(current):
                continue
            removal = Removal(self._catalog, users)
            for name in [*current.tags, *current.digests] or [current.id]:
                if current.id in self._catalog.images:
                    removal.remove(name, force=False, prune=True)
            records += self._collect(removal, image.id)
        await asyncio.to_thread(self._content.reap)
        dropped = await asyncio.to_thread(self._content.drop_partials)
        return records, before - self._measure() + dropped

    def _measure(self) -> int:
        return sum(
            snapshot.size_bytes
            for snapshot in self._storage.snapshotter.walk()
            if snapshot.kind == "committed"
        )


def parse_time(text: str | None) -> int:
    """Return Unix seconds of an RFC 3339 time in a document, 0 if it is none."""
    try:
        return int(datetime.fromisoformat(text or "").timestamp())
    except (ValueError, OverflowError):
        return 0


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{nanoseconds:09d}Z"


def _show_progress(diff_id: str, done: int, total: int) -> dict[str, Any]:
    return {
        "status": "Loading layer",
        "progressDetail": {"current": done, "total": total},
        "id": shorten(diff_id),
    }
