"""Pushing: an image's blobs and manifest to a registry, and only what it lacks.

What was pulled or loaded with its manifest goes out as it came, so that its digest stays. An
image that was made here has uncompressed layers: they are compressed on the way, always to
the same bytes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import msgspec
from isal import isal_zlib

from barque.content.digests import digest_bytes
from barque.content.store import ContentStore, Ingest
from barque.errors import BarqueError, NotFound
from barque.images.assembly import make_manifest
from barque.images.catalog import Catalog
from barque.images.compression import detect, open_decompressed
from barque.images.feed import run_in_thread
from barque.images.flights import Status
from barque.images.garbage import Garbage, Lease
from barque.images.layers import Metered
from barque.images.progress import Message, Report
from barque.images.record import Image, shorten
from barque.images.reference import Reference
from barque.images.selection import is_foreign
from barque.images.tasks import run_together
from barque.models.ids import Digest
from barque.models.image import OCI_LAYER_GZIP, OCI_MANIFEST, Manifest
from barque.registry.auth import Credentials
from barque.registry.client import Repository, open_repository
from barque.registry.config import RegistryConfig
from barque.registry.documents import Document, parse
from barque.registry.errors import RegistryError
from barque.registry.transfer import upload
from barque.store.images import LayerRow

_LEVEL = 3
"""isal's best: near zlib's 4, at several times its speed."""
_PIECE = 1 << 20
_PROGRESS_S = 0.1
_ATTEMPTS = 5
_MOUNTS = 3
_UNDERSTOOD = ("gzip", "zstd")


class _Blob(msgspec.Struct, kw_only=True):
    """One blob to be pushed: in ``file`` until the push ends. ``name`` is shown, "" is not."""

    digest: str
    size: int
    file: BinaryIO
    name: str = ""


class _Ready(msgspec.Struct, kw_only=True):
    """An image as it will be pushed."""

    document: Document
    blobs: list[_Blob]


class Pushes:
    """Pushes images of one engine. Use on the loop's thread."""

    def __init__(
        self, catalog: Catalog, content: ContentStore, garbage: Garbage, config: RegistryConfig
    ) -> None:
        self._catalog = catalog
        self._content = content
        self._garbage = garbage
        self._config = config
        self._slots = asyncio.Semaphore(config.max_concurrent_uploads)

    async def push(
        self,
        reference: Reference,
        credentials: Credentials,
        say: Callable[[Message], None],
        report: Report,
    ) -> list[tuple[Reference, Image]]:
        """Push the image of a tag, or of all tags where ``reference`` has none.

        Returns what was pushed. Raises NotFound, RegistryError, Unreachable, Damaged.
        """
        say({"status": f"The push refers to repository [{reference.name}]"})
        named = self._list_images(reference)
        sources = self._find_sources(reference, [image for _, image in named])
        with _explained():
            async with open_repository(
                reference.domain,
                reference.path,
                credentials,
                self._config,
                lambda repository: repository.ping(),
                push=True,
                sources=sorted({name for names in sources.values() for name in names}),
            ) as (repository, _):
                for tagged, image in named:
                    await self._push(
                        repository, tagged, image, sources=sources, say=say, report=report
                    )
        return named

    def _list_images(self, reference: Reference) -> list[tuple[Reference, Image]]:
        named = [
            (own, image)
            for image in self._catalog.images.values()
            for own in self._catalog.get_references(image.id)
            if own.name == reference.name and not own.digest
        ]
        if not named:
            raise NotFound(
                f"An image does not exist locally with the tag: {reference.familiar_name}"
            )
        if reference.tag:
            named = [(own, image) for own, image in named if own.tag == reference.tag]
        if not named:
            raise NotFound(f"tag does not exist: {reference.familiar}")
        return sorted(named, key=lambda pair: pair[0])

    def _find_sources(self, target: Reference, images: list[Image]) -> dict[str, list[str]]:
        """Say in which other repositories of the registry a layer's blob is likely to be."""
        wanted = {layer.digest for image in images for layer in image.layers}
        sources: dict[str, list[str]] = {}
        for image in self._catalog.images.values():
            digests = wanted.intersection(layer.digest for layer in image.layers)
            if not digests:
                continue
            for own in self._catalog.get_references(image.id):
                if own.digest and own.domain == target.domain and own.path != target.path:
                    for digest in digests:
                        if own.path not in sources.setdefault(digest, []):
                            sources[digest].append(own.path)
        return {digest: names[:_MOUNTS] for digest, names in sources.items()}

    async def _push(
        self,
        repository: Repository,
        reference: Reference,
        image: Image,
        *,
        sources: dict[str, list[str]],
        say: Callable[[Message], None],
        report: Report,
    ) -> None:
        with ExitStack() as stack:
            lease = Lease(self._garbage)
            stack.callback(lease.release)
            manifests = self._list_manifests(reference, image)
            for digest in (image.config_digest, *manifests):
                lease.hold_blob(digest)
            for layer in image.layers:
                lease.hold_blob(layer.digest)
                report(shorten(layer.diff_id), Status("Preparing"))
            ready = await self._prepare(image, manifests, stack)
            unique = {blob.digest: blob for blob in reversed(ready.blobs)}
            await run_together(
                self._send(repository, blob, sources.get(blob.digest, []), report)
                for blob in unique.values()
            )
            for blob in ready.blobs:
                if blob.name and unique[blob.digest] is not blob:
                    report(blob.name, Status("Layer already exists"))
            await repository.put_manifest(reference.tag, ready.document)
        digest, size = ready.document.digest, len(ready.document.content)
        by_digest = Reference(reference.domain, reference.path, "", digest)
        if image.id in self._catalog.images:
            self._catalog.register([], [(by_digest, image.id)])
        say({"status": f"{reference.tag}: digest: {digest} size: {size}"})
        aux = {"Tag": reference.tag, "Digest": digest, "Size": size}
        say({"progressDetail": {}, "aux": aux})

    # What is sent

    def _list_manifests(self, reference: Reference, image: Image) -> list[Digest]:
        """Return where to look for the image's manifest: what this repository has, first."""
        own = [
            Digest(known.digest)
            for known in self._catalog.get_references(image.id)
            if known.digest and known.name == reference.name
        ]
        return [*(digest for digest in own if self._content.has(digest)), image.manifest_digest]

    async def _prepare(self, image: Image, manifests: list[Digest], stack: ExitStack) -> _Ready:
        """Open the blobs of an image, compressing those that registries do not take."""
        config = self._content.read(image.config_digest)
        own = make_manifest(image.config_digest, len(config), image.layers)
        for digest in manifests:
            content = self._content.read(digest)
            manifest = parse(Document(content, digest, ""))
            if content != own and isinstance(manifest, Manifest) and self._has_all(manifest, image):
                blobs = [
                    self._open(layer.digest, layer.size, shorten(row.diff_id), stack)
                    for layer, row in zip(manifest.layers, image.layers, strict=True)
                    if not is_foreign(layer.media_type)
                ]
                document = Document(content, digest, manifest.media_type)
                break
        else:
            rows, blobs = [], []
            for row in image.layers:
                blob, media_type = await self._compress(row, stack)
                blobs.append(blob)
                rows.append(
                    msgspec.structs.replace(
                        row, digest=Digest(blob.digest), size=blob.size, media_type=media_type
                    )
                )
            content = make_manifest(image.config_digest, len(config), rows)
            document = Document(content, digest_bytes(content), OCI_MANIFEST)
        blobs.append(self._open(image.config_digest, len(config), "", stack))
        return _Ready(document=document, blobs=blobs)

    def _has_all(self, manifest: Manifest, image: Image) -> bool:
        """Tell whether a manifest is of this image, and can go out as it came."""
        return (
            manifest.config.digest == image.config_digest
            and len(manifest.layers) == len(image.layers)
            and all(
                is_foreign(layer.media_type) or self._content.has(layer.digest)
                for layer in manifest.layers
            )
        )

    def _open(self, digest: str, size: int, name: str, stack: ExitStack) -> _Blob:
        file = stack.enter_context(self._content.open(digest))
        return _Blob(digest=digest, size=size, file=file, name=name)

    async def _compress(self, row: LayerRow, stack: ExitStack) -> tuple[_Blob, str]:
        """Open a layer's blob, made gzip unless it is compressed in a way that all know."""
        blob = self._open(row.digest, row.size, shorten(row.diff_id), stack)
        kind = detect(os.pread(blob.file.fileno(), 6, 0))
        if kind in _UNDERSTOOD:
            return blob, row.media_type
        ingest = stack.enter_context(self._content.ingest())

        def work(stop: threading.Event) -> None:
            compress(Metered(blob.file, stop), ingest)

        await run_in_thread(work, "compress-layer")
        file = stack.enter_context(ingest.open())
        compressed = _Blob(digest=ingest.digest, size=ingest.size, file=file, name=blob.name)
        return compressed, OCI_LAYER_GZIP

    # Sending

    async def _send(
        self, repository: Repository, blob: _Blob, sources: Iterable[str], report: Report
    ) -> None:
        def tell(status: Status) -> None:
            if blob.name:
                report(blob.name, status)

        if self._slots.locked():
            tell(Status("Waiting"))
        async with self._slots:
            if await repository.has_blob(blob.digest, blob.size):
                tell(Status("Layer already exists"))
                return
            location = ""
            for source in sources:
                location = await repository.mount(blob.digest, source)
                if not location:
                    tell(Status(f"Mounted from {source}"))
                    return
                await repository.cancel_upload(location)
            location = await repository.start_upload()
            await upload(
                repository,
                blob.digest,
                blob.size,
                lambda offset, size: _read(blob, offset, size, tell),
                location=location,
                attempts=_ATTEMPTS,
            )
            tell(Status("Pushed"))


async def _read(
    blob: _Blob, offset: int, size: int, tell: Callable[[Status], None]
) -> AsyncIterator[bytes]:
    told = 0.0
    end = offset + size
    while offset < end:
        if time.monotonic() - told >= _PROGRESS_S:
            told = time.monotonic()
            tell(Status("Pushing", offset, blob.size))
        wanted = min(_PIECE, end - offset)
        piece = await asyncio.to_thread(os.pread, blob.file.fileno(), wanted, offset)
        if not piece:
            raise BarqueError(f"blob {blob.digest} is shorter than it was: the store is damaged")
        offset += len(piece)
        yield piece
    tell(Status("Pushing", end, blob.size))


def compress(source: Metered, ingest: Ingest) -> None:
    """Write ``source``, decompressed if need be, to ``ingest`` as gzip.

    The same input gives the same bytes: no name and no time is in it. For a thread.
    """
    compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
    _, pieces = open_decompressed(source)
    for piece in pieces:
        if data := compressor.compress(piece):
            ingest.write(data)
    ingest.write(compressor.flush())


@contextmanager
def _explained() -> Iterator[None]:
    """Put a registry's refusal in docker's words."""
    try:
        yield
    except RegistryError as error:
        if error.status == 401 and not str(error).startswith(("unauthorized", "no basic")):
            raise RegistryError(
                f"unauthorized: {error}", status=error.status, code=error.code
            ) from error
        raise
