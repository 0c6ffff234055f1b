"""Putting images together: blobs, layers, records; all of them, or nothing is left.

Nothing of an assembly can be seen before ``register``. Leaving its context, whether after
success, failure or cancellation, drops everything that no image took over.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import msgspec

from barque.content.digests import digest_bytes
from barque.content.store import Ingest
from barque.errors import AlreadyExists, InvalidArgument
from barque.images.archive import Archive, Member
from barque.images.catalog import get_blobs
from barque.images.feed import run_fed, run_in_thread
from barque.images.garbage import UNPACK_KEY, Lease
from barque.images.layers import Metered, Unpacked, unpack
from barque.images.pack import pack_changes
from barque.images.record import Image, decode_config, extend_chain
from barque.images.reference import Reference
from barque.images.storage import Storage
from barque.models.ids import Digest, ImageId
from barque.models.image import OCI_CONFIG, OCI_MANIFEST, Descriptor, ImageConfig, Manifest
from barque.snapshots.changes import Changes
from barque.snapshots.views import open_view
from barque.store.images import ImageRow, LayerRow

EMPTY_DIFF_ID = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The diff ID of a layer without entries: 1024 zero bytes."""


class Assembly:
    """One operation that makes images. An async context manager; use it on the loop."""

    def __init__(self, storage: Storage) -> None:
        self._catalog = storage.catalog
        self._content = storage.content
        self._snapshotter = storage.snapshotter
        self._limits = storage.limits
        self._lease = Lease(storage.garbage)
        self._cleanup = ExitStack()
        self._layers: dict[str, LayerRow] = {}
        self._images: list[tuple[ImageRow, ImageConfig]] = []
        self._tags: list[tuple[Reference, ImageId]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()
        self._lease.release()
        await asyncio.to_thread(self._content.reap)

    # Streams

    async def stage(self, stream: AsyncGenerator[bytes]) -> Archive:
        """Stage an archive of images. It is closed with the assembly."""
        archive = Archive(self._content)
        self._cleanup.callback(archive.close)
        await run_fed(
            stream, lambda feed, stop: archive.read_from(Metered(feed, stop)), "stage-archive"
        )
        return archive

    async def unpack_stream(self, stream: AsyncGenerator[bytes]) -> LayerRow:
        """Unpack a layer without parent from a stream, and keep its blob as it came."""
        ingest = self._content.ingest()
        self._cleanup.callback(ingest.abort)
        key = UNPACK_KEY + secrets.token_hex(8)
        mount = await self._snapshotter.prepare_async(key, "")
        with ExitStack() as undo:
            undo.callback(self._snapshotter.remove, key)
            with _dropped_first(ingest.abort):
                unpacked = await run_fed(
                    stream,
                    lambda feed, stop: unpack(
                        Metered(feed, stop, ingest, lambda: ingest.digest), mount, "", self._limits
                    ),
                    "unpack-layer",
                )
            chain_id = unpacked.diff_id
            self._commit_layer(key, chain_id, unpacked, undo)
        digest = await self._commit_ingest(ingest)
        return _describe(digest, ingest.size, chain_id, unpacked)

    async def _commit_ingest(self, ingest: Ingest) -> Digest:
        digest = ingest.digest
        self._lease.hold_blob(digest)
        await _finish(lambda: ingest.commit(digest))
        return digest

    # Layers

    def hold_layer(self, row: LayerRow) -> LayerRow:
        """Hold a layer of an image that is there, and its blob."""
        self._lease.hold_layer(row.chain_id)
        self._lease.hold_blob(row.digest)
        return row

    def find_layer(self, chain_id: str) -> LayerRow | None:
        """Return a layer that is unpacked and stored already, and hold it."""
        row = self._layers.get(chain_id) or self._find_stored(chain_id)
        return self.hold_layer(row) if row is not None else None

    def _find_stored(self, chain_id: str) -> LayerRow | None:
        if self._catalog.chain_users[chain_id]:
            for image in self._catalog.images.values():
                for row in image.layers:
                    if row.chain_id == chain_id and self._is_stored(row):
                        return row
        return None

    def _is_stored(self, row: LayerRow) -> bool:
        return self._content.has(row.digest) and self._snapshotter.find(row.chain_id) is not None

    async def unpack_member(
        self,
        member: Member,
        diff_id: str,
        parent: str,
        chain_id: str,
        progress: Callable[[Metered], object],
    ) -> LayerRow:
        """Unpack a staged layer on ``parent`` and keep its blob as it came.

        ``progress`` is given the source once, whose ``bytes_read`` tells how far it is.
        Raises InvalidArgument if the layer is not the one that ``diff_id`` names.
        """
        key = UNPACK_KEY + secrets.token_hex(8)
        mount = await self._snapshotter.prepare_async(key, parent)
        with ExitStack() as undo, member.open(self._content) as file:
            undo.callback(self._snapshotter.remove, key)

            def work(stop: threading.Event) -> Unpacked:
                known = (lambda: member.digest) if member.staged else None
                source = Metered(file, stop, digest=known)
                progress(source)
                return unpack(source, mount, parent, self._limits)

            with _dropped_first(member.abort):
                unpacked = await run_in_thread(work, "unpack-layer")
                if unpacked.diff_id != diff_id:
                    raise InvalidArgument(
                        f"invalid archive: a layer has diff ID {unpacked.diff_id}, but the image's "
                        f"config says {diff_id}"
                    )
            self._commit_layer(key, chain_id, unpacked, undo)
        self._lease.hold_blob(member.digest)
        await _finish(lambda: member.commit(self._content))
        row = _describe(member.digest, member.size, chain_id, unpacked)
        self._layers[chain_id] = row
        return row

    def _commit_layer(self, key: str, chain_id: str, unpacked: Unpacked, undo: ExitStack) -> None:
        self._lease.hold_layer(chain_id)
        try:
            self._snapshotter.commit(chain_id, key, unpacked.size_bytes)
        except AlreadyExists:
            return  # somebody else was faster; ours is removed
        undo.pop_all()

    async def pack(self, key: str, changes: Changes) -> Member:
        """Write an archive of ``changes``, as the snapshot ``key`` holds them.

        The snapshot is only read, and not any more when this returns. Give what comes to
        ``keep_layer``. Raises KernelError.
        """
        ingest = self._content.ingest()
        self._cleanup.callback(ingest.abort)
        source = self._snapshotter.peek(key)

        def write(stop: threading.Event) -> None:
            with open_view(source) as root:
                pack_changes(root, changes, ingest.write, stop)

        with _dropped_first(ingest.abort):
            await run_in_thread(write, "pack-layer")
        return Member(None, ingest)

    async def keep_layer(self, packed: Member, parent: str) -> LayerRow | None:
        """Make a layer on ``parent`` of what was packed; None if nothing is in it.

        Unpacked after it was packed, not meanwhile: two threads that make many short system
        calls wait for the interpreter more than they gain. Raises KernelError.
        """
        if packed.digest == EMPTY_DIFF_ID:
            return None
        chain_id = extend_chain(parent, packed.digest)
        row = self.find_layer(chain_id)
        if row is not None:
            return row
        return await self.unpack_member(packed, packed.digest, parent, chain_id, lambda _: None)

    # Images

    async def add_image(
        self,
        config_bytes: bytes,
        layers: list[LayerRow],
        tags: list[Reference],
        manifest_bytes: bytes | None = None,
        parent: str = "",
    ) -> ImageId:
        """Store an image's documents and note it for ``register``.

        A manifest is made where none is given. ``parent`` is the image that it was made from.
        """
        config = decode_config(config_bytes)
        digest = await self.add_blob(config_bytes)
        if manifest_bytes is None:
            manifest_bytes = make_manifest(digest, len(config_bytes), layers)
        manifest_digest = await self.add_blob(manifest_bytes)
        row = ImageRow(
            id=ImageId(digest),
            created=config.created or "",
            manifest_digest=manifest_digest,
            layers=layers,
            parent=parent,
        )
        self._images.append((row, config))
        self.add_tags(row.id, tags)
        return row.id

    def is_ancestor(self, image_id: str, diff_ids: list[str]) -> bool:
        """Tell whether an image, there or noted already, begins with the same layers."""
        known = {row.id: config for row, config in self._images}
        image = self._catalog.images.get(ImageId(image_id))
        config = image.config if image else known.get(ImageId(image_id))
        if config is None:
            return False
        own = config.rootfs.diff_ids
        return own == diff_ids[: len(own)]

    def add_tags(self, image_id: ImageId, tags: list[Reference]) -> None:
        """Note names for ``register``."""
        self._tags += [(tag, image_id) for tag in tags]

    async def add_blob(self, content: bytes) -> Digest:
        """Store a document, and hold it."""
        digest = digest_bytes(content)
        self._lease.hold_blob(digest)
        await _finish(lambda: self._content.add(content))
        return digest

    def is_whole(self, image: Image) -> bool:
        """Tell whether all that an image consists of is there."""
        blobs = [image.config_digest, image.manifest_digest]
        return all(map(self._content.has, blobs)) and all(
            self._is_stored(row) for row in image.layers
        )

    def register(self) -> None:
        """Make all images and names visible, at once."""
        for row, _config in self._images:
            former = self._catalog.images.get(row.id)
            if former is not None:  # it is made again, maybe of other blobs: these go then
                for digest in get_blobs(former):
                    self._lease.hold_blob(digest)
        self._catalog.register(self._images, self._tags)


@contextmanager
def _dropped_first(drop: Callable[[], object]) -> Iterator[None]:
    """Drop an ingest if the block fails, before all else: on a full disk even the record of
    a snapshot needs room to go.
    """
    try:
        yield
    except BaseException:
        drop()
        raise


async def _finish(work: Callable[[], object]) -> None:
    """Run ``work`` in a thread, and do not leave before it has ended, even if cancelled."""
    await run_in_thread(lambda _stop: work(), "commit-blob")


def _describe(digest: Digest, size: int, chain_id: str, unpacked: Unpacked) -> LayerRow:
    return LayerRow(
        digest=digest,
        media_type=unpacked.media_type,
        size=size,
        diff_id=unpacked.diff_id,
        chain_id=chain_id,
        unpacked_size=unpacked.size_bytes,
    )


def make_manifest(config: Digest, config_size: int, layers: list[LayerRow]) -> bytes:
    """Return the manifest of an image that has none. The same image gets the same bytes."""
    manifest = Manifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=config, size=config_size),
        layers=[
            Descriptor(
                media_type=layer.media_type,
                digest=layer.digest,
                size=layer.size,
                urls=layer.urls or None,
            )
            for layer in layers
        ],
    )
    return msgspec.json.encode({"mediaType": OCI_MANIFEST, **msgspec.to_builtins(manifest)})
