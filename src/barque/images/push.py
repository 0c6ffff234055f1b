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
from barque.models.image import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest
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
    mounted: list[str]
    """Names of layers that the registry has by now."""


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
        kin = {path for _, image in named for _, path in self._list_manifests(reference, image)}
        with _explained():
            async with open_repository(
                reference.domain,
                reference.path,
                credentials,
                self._config,
                lambda repository: repository.ping(),
                push=True,
                sources=sorted(kin.union(*sources.values()) - {"", reference.path}),
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
            for digest in (image.config_digest, *(digest for digest, _ in manifests)):
                lease.hold_blob(digest)
            for layer in image.layers:
                lease.hold_blob(layer.digest)
                report(shorten(layer.diff_id), Status("Preparing"))
            ready = await self._prepare(repository, image, manifests, stack)
            for name in ready.mounted:
                report(name, Status("Layer already exists"))
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

    def _list_manifests(self, reference: Reference, image: Image) -> list[tuple[Digest, str]]:
        """Return where to look for the image's manifest: (digest, repository it is from).

        What this repository has comes first, then what others of the registry have.
        """
        known = [
            (own.path != reference.path, Digest(own.digest), own.path)
            for own in self._catalog.get_references(image.id)
            if own.digest and own.domain == reference.domain and self._content.has(own.digest)
        ]
        own = [(digest, path) for _, digest, path in sorted(known)]
        return [*own, (image.manifest_digest, "")]

    async def _prepare(
        self,
        repository: Repository,
        image: Image,
        manifests: list[tuple[Digest, str]],
        stack: ExitStack,
    ) -> _Ready:
        """Open the blobs of an image, compressing those that registries do not take."""
        config = self._content.read(image.config_digest)
        config_blob = self._open(image.config_digest, len(config), "", stack)
        own = make_manifest(image.config_digest, len(config), image.layers)
        for digest, source in manifests:
            content = self._content.read(digest)
            manifest = parse(Document(content, digest, ""))
            if content == own or not isinstance(manifest, Manifest) or not _is_of(manifest, image):
                continue
            layers = [
                (layer, shorten(row.diff_id))
                for layer, row in zip(manifest.layers, image.layers, strict=True)
                if not is_foreign(layer.media_type)
            ]
            absent = [layer for layer, _ in layers if not self._content.has(layer.digest)]
            if not await self._take_over(repository, absent, source):
                continue
            blobs = [
                self._open(layer.digest, layer.size, name, stack)
                for layer, name in layers
                if layer not in absent
            ]
            document = Document(content, digest, manifest.media_type)
            mounted = [name for layer, name in layers if layer in absent]
            return _Ready(document=document, blobs=[*blobs, config_blob], mounted=mounted)
        rows, blobs = [], []
        for row in image.layers:
            if is_foreign(row.media_type):  # whoever pulls it fetches it from its URLs
                rows.append(row)
                continue
            blob, media_type = await self._compress(row, stack)
            blobs.append(blob)
            rows.append(
                msgspec.structs.replace(
                    row, digest=Digest(blob.digest), size=blob.size, media_type=media_type
                )
            )
        content = make_manifest(image.config_digest, len(config), rows)
        document = Document(content, digest_bytes(content), OCI_MANIFEST)
        return _Ready(document=document, blobs=[*blobs, config_blob], mounted=[])

    async def _take_over(
        self, repository: Repository, layers: list[Descriptor], source: str
    ) -> bool:
        """Let the registry take blobs that are not here from where the manifest came from.

        They are not here where a layer was present by other means when the image was pulled.
        """
        for layer in layers:
            if await repository.has_blob(layer.digest, layer.size):
                continue
            location = await repository.mount(layer.digest, source) if source else "nowhere"
            if location:
                if source:
                    await repository.cancel_upload(location)
                return False
        return True

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


def _is_of(manifest: Manifest, image: Image) -> bool:
    return manifest.config.digest == image.config_digest and len(manifest.layers) == len(
        image.layers
    )


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
    for piece in _cut(pieces):
        ingest.write(compressor.compress(piece))
    ingest.write(compressor.flush())


def _cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same bytes in pieces of one size: on these depends what isal makes of them."""
    rest = bytearray()
    for piece in pieces:
        rest += piece
        while len(rest) >= _PIECE:
            yield bytes(rest[:_PIECE])
            del rest[:_PIECE]
    yield bytes(rest)


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
