"""Pulling: from a name at a registry to an image that containers can be made on.

::

    resolve the tag ─► choose the platform ─► config ─┬► layer 1  download ► unpack
                                                      ├► layer 2  download ──► unpack on 1
                                                      └► layer 3  download ────► unpack on 2
    and then register

Downloads overlap, as many at once as is configured; layers unpack in order, each from the
first bytes of its blob on. Whoever pulls a layer that another pull has in flight waits for
that one. Nothing is visible before it is registered, and leaving the pull at any point, for
whatever reason, drops what no image took over. Only the layers' blobs, as far as they came before
the pull was cut, are kept for a while, and the next pull goes on with them.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Iterator,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from typing import BinaryIO, NamedTuple

import msgspec

from barque.content.digests import digest_bytes, parse_digest
from barque.content.store import Ingest
from barque.errors import (
    AlreadyExists,
    BarqueError,
    DatabaseError,
    InvalidArgument,
    KernelError,
    NotFound,
    Unavailable,
)
from barque.images.assembly import Assembly
from barque.images.download import Download, Following
from barque.images.feed import run_fed, run_in_thread
from barque.images.flights import Flights, Listener, Status, ignore
from barque.images.garbage import UNPACK_KEY, Lease
from barque.images.layers import Metered, Unpacked, unpack
from barque.images.platform import format_platform, get_host, rank
from barque.images.progress import Report
from barque.images.record import decode_config, get_chain_ids, shorten
from barque.images.reference import Reference
from barque.images.selection import MAX_CONFIG_BYTES, Selected, is_foreign, select
from barque.images.storage import Storage
from barque.images.tasks import end_all, run_together
from barque.models.ids import Digest, ImageId
from barque.models.image import Descriptor, ImageConfig, Platform
from barque.registry.auth import Credentials
from barque.registry.client import Repository, open_repository
from barque.registry.config import RegistryConfig
from barque.registry.documents import Document
from barque.registry.errors import Damaged, RegistryError, Unreachable
from barque.registry.transfer import download
from barque.store.images import LayerRow

_PROGRESS_S = 0.1


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull has brought."""

    image_id: ImageId
    reference: Reference
    digest: Digest
    """Of what the name stands for: an index, or the manifest itself."""
    changed: bool
    """Whether the name stands for another image than before, or for none before."""
    warning: str = ""


class _Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer that an image needs. ``below`` is the one that it stands on."""

    descriptor: Descriptor
    diff_id: str
    chain_id: str
    below: _Layer | None

    @property
    def name(self) -> str:
        """What progress calls it."""
        return shorten(self.descriptor.digest)

    @property
    def parent(self) -> str:
        return self.below.chain_id if self.below is not None else ""


def plan_layers(selected: Selected, config: ImageConfig) -> list[_Layer]:
    """Say which layers an image consists of, base layer first. Pure. Raises Damaged."""
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(selected.manifest.layers):
        raise Damaged(
            f"invalid manifest: {len(selected.manifest.layers)} layers, but the config names "
            f"{len(diff_ids)}"
        )
    layers: list[_Layer] = []
    for descriptor, diff_id, chain_id in zip(
        selected.manifest.layers, diff_ids, get_chain_ids(diff_ids), strict=True
    ):
        below = layers[-1] if layers else None
        layers.append(
            _Layer(descriptor=descriptor, diff_id=diff_id, chain_id=chain_id, below=below)
        )
    return layers


class Pulls:
    """Pulls images for one engine. Use on the loop's thread."""

    def __init__(self, storage: Storage, config: RegistryConfig) -> None:
        self._storage = storage
        self._catalog = storage.catalog
        self._content = storage.content
        self._snapshotter = storage.snapshotter
        self._garbage = storage.garbage
        self._limits = storage.limits
        self._config = config
        self._slots = asyncio.Semaphore(config.max_concurrent_downloads)
        self._layers: Flights[LayerRow] = Flights()
        self._downloading: dict[Digest, asyncio.Future[None]] = {}

    async def list_tags(self, reference: Reference, credentials: Credentials) -> list[str]:
        """Return all tags of a repository. Raises NotFound, RegistryError, Unreachable."""
        with explained(reference):
            async with open_repository(
                reference.domain,
                reference.path,
                credentials,
                self._config,
                lambda repository: repository.list_tags(),
            ) as (_, tags):
                return tags

    async def pull(
        self,
        reference: Reference,
        credentials: Credentials,
        platform: Platform | None,
        report: Report,
    ) -> Pulled:
        """Pull one image, by tag or digest, for ``platform`` or this machine.

        Raises NotFound, InvalidArgument, RegistryError, Unreachable, Damaged, KernelError,
        OSError; nothing is left then but what came of blobs, for the next pull to go on with.
        """
        wanted = platform or get_host()
        try:
            async with self.open(reference, credentials) as (repository, top):
                report("", Status(f"Pulling from {reference.path}"))
                selected = await select(repository, top, wanted)
                return await self._pull(repository, reference, selected, wanted, report)
        except (DatabaseError, KernelError, OSError):  # the disk may be full: keep nothing on it
            await asyncio.to_thread(self._content.drop_partials)
            raise

    @asynccontextmanager
    async def open(
        self, reference: Reference, credentials: Credentials
    ) -> AsyncIterator[tuple[Repository, Document]]:
        """Open the repository of a reference, and get what the reference stands for there.

        Raises NotFound, RegistryError, Unreachable, Damaged.
        """
        with explained(reference):
            async with open_repository(
                reference.domain,
                reference.path,
                credentials,
                self._config,
                lambda repository: self._resolve(repository, reference),
            ) as opened:
                yield opened

    async def _resolve(self, repository: Repository, reference: Reference) -> Document:
        """Get what a reference stands for, unless it is what it was when last pulled.

        Registries count manifests that are fetched against rate limits, but not questions.
        """
        wanted = reference.digest or reference.tag
        if str(reference.stored) in self._catalog.references:
            digest = await _ask_digest(repository, wanted)
            if digest is not None and self._content.has(digest):
                return Document(self._content.read(digest), digest, "")
        return await repository.get_manifest(wanted)

    async def _pull(
        self,
        repository: Repository,
        reference: Reference,
        selected: Selected,
        wanted: Platform,
        report: Report,
    ) -> Pulled:
        async with (
            # The assembly is left last: it gives back the space of what the lease lets go.
            Assembly(self._storage) as assembly,
            self._hold() as lease,
            AsyncExitStack() as held,
        ):
            config_bytes = await self._fetch_config(repository, selected.manifest.config, lease)
            config = decode_config(config_bytes)
            layers = plan_layers(selected, config)
            for layer in layers:
                lease.hold_layer(layer.chain_id)
                lease.hold_blob(layer.descriptor.digest)
            rows = await self._fetch_layers(_Source(repository, assembly, held), layers, report)
            image_id = ImageId(selected.manifest.config.digest)
            names = _list_names(reference, selected.top.digest)
            former = self._catalog.references.get(str(names[0]))
            for document in (selected.top, selected.document):
                await assembly.add_blob(document.content)
            image = self._catalog.images.get(image_id)
            if image is not None and assembly.is_whole(image):
                assembly.add_tags(image_id, names)
            else:
                for row in rows:
                    lease.hold_blob(row.digest)
                    if not self._content.has(row.digest):
                        raise Unavailable(f"layer {row.digest} was removed meanwhile: pull again")
                await assembly.add_image(config_bytes, rows, names, selected.document.content)
            assembly.register()
        return Pulled(
            image_id=image_id,
            reference=reference,
            digest=selected.top.digest,
            changed=former != image_id,
            warning=_compare(config, wanted, reference),
        )

    @asynccontextmanager
    async def _hold(self) -> AsyncIterator[Lease]:
        lease = Lease(self._garbage)
        try:
            yield lease
        except (asyncio.CancelledError, RegistryError, Unreachable):
            lease.release(shelve=True)
            raise
        finally:
            lease.release()

    async def _fetch_config(
        self, repository: Repository, descriptor: Descriptor, lease: Lease
    ) -> bytes:
        lease.hold_blob(descriptor.digest)
        if self._content.has(descriptor.digest):
            return self._content.read(descriptor.digest)
        content = bytearray()
        pieces = download(
            repository,
            descriptor.digest,
            min(descriptor.size, MAX_CONFIG_BYTES),
            self._config.max_download_attempts,
            lambda _pause_s: None,
        )
        async with aclosing(pieces):
            async for piece in pieces:
                content += piece
        if digest_bytes(bytes(content)) != descriptor.digest:
            raise Damaged(f"image config verification failed for digest {descriptor.digest}")
        return bytes(content)

    # Layers

    async def _fetch_layers(
        self, source: _Source, layers: list[_Layer], report: Report
    ) -> list[LayerRow]:
        """Return the rows of all layers. Their flights are kept by ``source.held``."""
        rows: dict[str, LayerRow] = {}
        missing = []
        for layer in layers:
            row = source.assembly.find_layer(layer.chain_id)
            if row is not None:
                rows[layer.chain_id] = row
                report(layer.name, Status("Already exists"))
            else:
                missing.append(layer)
                report(layer.name, Status("Pulling fs layer"))

        async def fetch(layer: _Layer) -> None:
            def listen(status: Status) -> None:
                report(layer.name, status)

            joined = self._join(source.repository, layer, listen)
            rows[layer.chain_id] = await source.held.enter_async_context(joined)

        await run_together(fetch(layer) for layer in missing)
        return [rows[layer.chain_id] for layer in layers]

    def _join(
        self, repository: Repository, layer: _Layer, listener: Listener
    ) -> AbstractAsyncContextManager[LayerRow]:
        def start(tell: Listener) -> Awaitable[LayerRow]:
            return self._make_layer(repository, layer, tell)

        return self._layers.join(layer.chain_id, start, listener)

    async def _make_layer(self, repository: Repository, layer: _Layer, tell: Listener) -> LayerRow:
        """Fetch a layer's blob unless it is there, unpack it, and commit both.

        Runs as a flight: it may outlive the pull that began it, and so takes no lease; those
        who wait for it hold what it makes.
        """
        digest = parse_digest(layer.descriptor.digest)
        while (other := self._downloading.get(digest)) is not None:
            await asyncio.wait([other])  # the same blob elsewhere in a stack of layers
        if self._content.has(digest):
            tell(Status("Download complete"))
            with self._content.open(digest) as file:
                unpacked = await self._unpack(repository, layer, file, None, tell)
            return _describe(layer, unpacked)
        try:
            return await self._download_layer(repository, layer, digest, tell)
        except _Misled:
            return await self._make_layer(repository, layer, tell)

    async def _download_layer(
        self, repository: Repository, layer: _Layer, digest: Digest, tell: Listener
    ) -> LayerRow:
        """Download a blob, from where an earlier pull broke off, and unpack it meanwhile.

        Raises _Misled where what the earlier one left was wrong; it is there no more then.
        """
        with ExitStack() as cleanup:
            done = asyncio.get_running_loop().create_future()
            self._downloading[digest] = done
            cleanup.callback(done.set_result, None)
            cleanup.callback(self._downloading.pop, digest)

            def resume(_stop: threading.Event) -> Ingest:
                ingest = self._content.resume(digest)
                cleanup.callback(ingest.suspend)  # where we are cancelled meanwhile
                return ingest

            ingest = await run_in_thread(resume, "resume-download")
            download = Download(ingest, digest, layer.descriptor.size)
            cleanup.callback(download.close)
            receiving = asyncio.ensure_future(self._receive(repository, layer, download, tell))
            unpacking = asyncio.ensure_future(
                self._unpack(repository, layer, Following(download), receiving, tell)
            )
            try:
                try:
                    await asyncio.wait([receiving, unpacking], return_when=asyncio.FIRST_EXCEPTION)
                    if download.failed:  # which unpacking may have heard of first
                        await asyncio.wait([receiving])
                finally:
                    await end_all([receiving, unpacking])
                # Unpacking fails, too, where the download does: the download knows better why.
                if not receiving.cancelled():
                    receiving.result()
                return _describe(layer, unpacking.result())
            except (asyncio.CancelledError, RegistryError, Unreachable):
                download.suspend()
                raise
            except (Damaged, InvalidArgument) as error:
                if download.resumed_bytes:
                    raise _Misled(str(error)) from error
                raise

    async def _receive(
        self, repository: Repository, layer: _Layer, blob: Download, tell: Listener
    ) -> None:
        """Download a blob in turn, verify and commit it."""
        size = layer.descriptor.size
        failure: BaseException | None = None

        async def pieces() -> AsyncGenerator[bytes]:
            nonlocal failure
            told = time.monotonic()
            received = blob.resumed_bytes
            tell(Status("Downloading", received, size))
            try:
                async with aclosing(self._fetch(repository, layer, received, tell)) as fetched:
                    async for piece in fetched:
                        received += len(piece)
                        if time.monotonic() - told >= _PROGRESS_S:
                            told = time.monotonic()
                            tell(Status("Downloading", received, size))
                        yield piece
            except Exception as error:
                failure = error
                raise

        if self._slots.locked():
            tell(Status("Waiting"))
        try:
            async with self._slots:
                await run_fed(pieces(), blob.receive, "download")
        except BaseException as error:
            blob.end(error)
            if failure is not None:
                raise failure from None
            raise
        tell(Status("Verifying Checksum"))
        tell(Status("Download complete"))

    async def _fetch(
        self, repository: Repository, layer: _Layer, offset: int, tell: Listener
    ) -> AsyncGenerator[bytes, None]:
        """Give a blob's bytes, of a foreign layer from its URLs if the registry lacks it."""
        descriptor = layer.descriptor
        sources = [""]
        if is_foreign(descriptor.media_type):
            sources += descriptor.urls or []
        for source in sources:
            fetched = download(
                repository,
                descriptor.digest,
                descriptor.size,
                self._config.max_download_attempts,
                lambda pause_s: tell(Status(f"Retrying in {pause_s:.1f} seconds")),
                offset=offset,
                url=source,
            )
            try:
                async with aclosing(fetched):
                    async for piece in fetched:
                        offset += len(piece)
                        yield piece
            except (RegistryError, Unreachable) as error:
                lacking = source or (isinstance(error, RegistryError) and error.is_missing)
                if not lacking or not is_foreign(descriptor.media_type):
                    raise
                if source == sources[-1]:
                    raise _explain_foreign(error, descriptor) from error
            else:
                return

    async def _unpack(
        self,
        repository: Repository,
        layer: _Layer,
        blob: Following | BinaryIO,
        receiving: asyncio.Future[None] | None,
        tell: Listener,
    ) -> Unpacked:
        """Unpack a layer as soon as the one below is there; commit it once its blob is right."""
        async with AsyncExitStack() as stack:
            if layer.below is not None and self._snapshotter.find(layer.parent) is None:
                await stack.enter_async_context(self._join(repository, layer.below, ignore))
            key = UNPACK_KEY + secrets.token_hex(8)
            mount = await self._snapshotter.prepare_async(key, layer.parent)
            with ExitStack() as undo:
                undo.callback(self._snapshotter.remove, key)
                sources: list[Metered] = []

                def work(stop: threading.Event) -> Unpacked:
                    sources.append(Metered(blob, stop))
                    return unpack(sources[0], mount, layer.parent, self._limits)

                on_stop = blob.abandon if isinstance(blob, Following) else None
                unpacking = asyncio.ensure_future(run_in_thread(work, "unpack-layer", on_stop))
                try:
                    while not unpacking.done():
                        await asyncio.wait([unpacking], timeout=_PROGRESS_S)
                        if sources and (receiving is None or receiving.done()):
                            done = sources[0].bytes_read
                            tell(Status("Extracting", done, layer.descriptor.size))
                finally:
                    await end_all([unpacking])
                unpacked = unpacking.result()
                if receiving is not None:
                    await asyncio.wait([receiving])
                    receiving.result()
                if unpacked.diff_id != layer.diff_id:
                    raise Damaged(
                        f"layer {layer.descriptor.digest} unpacks to {unpacked.diff_id}, but the "
                        f"image's config says {layer.diff_id}: the image is damaged or forged"
                    )
                self._commit(layer, key, unpacked, undo)
        tell(Status("Pull complete"))
        return unpacked

    def _commit(self, layer: _Layer, key: str, unpacked: Unpacked, undo: ExitStack) -> None:
        try:
            self._snapshotter.commit(layer.chain_id, key, unpacked.size_bytes)
        except AlreadyExists:
            return  # it was there, and only its blob was missing: ours is removed
        undo.pop_all()


class _Misled(Damaged):
    """What an earlier attempt had left of a blob was not its beginning."""


class _Source(NamedTuple):
    """Where a pull takes layers from, and what it holds until it is registered."""

    repository: Repository
    assembly: Assembly
    held: AsyncExitStack


async def _ask_digest(repository: Repository, reference: str) -> Digest | None:
    """Return the digest a registry has for a reference, or None where it does not say."""
    try:
        return parse_digest(await repository.find_digest(reference))
    except (RegistryError, InvalidArgument):
        return None  # GET will tell what is the matter, if anything is


def _describe(layer: _Layer, unpacked: Unpacked) -> LayerRow:
    return LayerRow(
        digest=Digest(layer.descriptor.digest),
        media_type=layer.descriptor.media_type,
        size=layer.descriptor.size,
        diff_id=layer.diff_id,
        chain_id=layer.chain_id,
        unpacked_size=unpacked.size_bytes,
        urls=layer.descriptor.urls or [],
    )


def _list_names(reference: Reference, digest: Digest) -> list[Reference]:
    """Return what a pulled image is called: by its tag, if one was asked for, and by digest."""
    by_digest = Reference(reference.domain, reference.path, "", digest)
    return [by_digest] if reference.digest else [reference.stored, by_digest]


def _compare(config: ImageConfig, wanted: Platform, reference: Reference) -> str:
    """Return a warning if the image is for another machine, as a lone manifest may be."""
    found = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    if rank(found, wanted) is not None:
        return ""
    return (
        f"image with reference {reference.familiar} was found but does not match the specified "
        f"platform: wanted {format_platform(wanted)}, actual: {format_platform(found)}"
    )


def _explain_foreign(error: BarqueError, descriptor: Descriptor) -> NotFound:
    places = ", ".join(descriptor.urls or []) or "its manifest names no other place"
    return NotFound(
        f"layer {descriptor.digest} is foreign: its registry does not hand it out, and it could "
        f"not be fetched from elsewhere ({places}): {error}"
    )


@contextmanager
def explained(reference: Reference) -> Iterator[None]:
    """Put a registry's refusal in docker's words."""
    try:
        yield
    except RegistryError as error:
        if error.is_denied:
            raise NotFound(
                f"pull access denied for {reference.familiar_name}, repository does not exist or "
                f"may require 'docker login': {error}"
            ) from error
        if error.code == "NAME_UNKNOWN":
            raise NotFound(f"repository {reference.familiar_name} not found: {error}") from error
        if error.is_missing and error.code != "BLOB_UNKNOWN":
            raise NotFound(f"manifest for {reference.familiar} not found: {error}") from error
        raise
    except Damaged as error:
        raise Damaged(
            f"{error}: {reference.familiar} cannot be used. Try again; if it stays, the registry's "
            "copy is damaged, or something on the way to it changes what is sent"
        ) from error
