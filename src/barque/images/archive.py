"""Archives of images: docker's (``docker save``, before and since version 25) and OCI's.

An archive is read as a stream, once: what describes images may stand after what it
describes. So its files are staged in the content store first, and understood afterwards.
No name in an archive ever becomes a path of ours.

Source: moby's image tarball format, OCI image-spec image-layout.md.
"""

from __future__ import annotations

import io
import posixpath
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec

from barque.content.digests import digest_bytes, get_hex, parse_digest
from barque.content.documents import decode_document
from barque.content.store import ContentStore, Ingest
from barque.errors import BarqueError, InvalidArgument, NotFound
from barque.images.compression import open_decompressed
from barque.images.layers import Metered
from barque.images.platform import format_platform, rank
from barque.images.reference import Reference, parse_reference, parse_tag_target
from barque.images.tar import Kind, Limits, Source, TarReader
from barque.images.unpack import clean
from barque.models.ids import Digest
from barque.models.image import DOCKER_INDEX, OCI_INDEX, Descriptor, Index, Manifest, Platform
from barque.registry.documents import probe
from barque.registry.errors import Damaged

_T = TypeVar("_T")
_LIMITS = Limits(entries=100_000)
_SMALL = 64 << 10
_MEMORY = 64 << 20
_DOCUMENT = 8 << 20
_LINKS = 10
_NESTING = 8
_INDEXES = (OCI_INDEX, DOCKER_INDEX)
_CONTAINERD_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_ATTESTATION = "vnd.docker.reference.type"


class Member:
    """One file of an archive: in memory if it is small, else in an ingest."""

    def __init__(self, content: bytes | None, ingest: Ingest | None) -> None:
        self._content = content
        self._ingest = ingest
        self._committed = False
        self.digest = digest_bytes(content) if content is not None else _digest_of(ingest)
        self.size = len(content) if content is not None else _size_of(ingest)

    @property
    def staged(self) -> bool:
        """Whether what ``open`` gives has been hashed as it came: no blob that was there before."""
        return not self._committed

    def open(self, store: ContentStore) -> BinaryIO:
        """Open it for reading; the caller closes it."""
        if self._committed:
            return store.open(self.digest)
        if self._ingest is not None:
            return self._ingest.open()
        return io.BytesIO(self._content or b"")

    def read(self, store: ContentStore) -> bytes:
        """Return a document. Raises InvalidArgument if it is too large for one."""
        if self.size > _DOCUMENT:
            raise InvalidArgument(f"invalid archive: a document of {self.size} bytes")
        with self.open(store) as file:
            return file.read()

    def commit(self, store: ContentStore) -> None:
        """Make it a blob of the store. Waits for the disk: for a thread."""
        if self._committed:
            return
        if self._ingest is not None:
            self._ingest.commit(self.digest)
        else:
            store.add(self._content or b"")
        self._committed = True

    def abort(self) -> None:
        """Drop it, unless it was committed."""
        if self._ingest is not None:
            self._ingest.abort()


def _digest_of(ingest: Ingest | None) -> Digest:
    assert ingest is not None
    return ingest.digest


def _size_of(ingest: Ingest | None) -> int:
    assert ingest is not None
    return ingest.size


class PlannedImage(msgspec.Struct, kw_only=True):
    """An image that an archive holds. ``manifest`` is None where the archive has none."""

    config: Member
    layers: list[Member]
    tags: list[Reference]
    manifest: Member | None = None
    parent: str = ""
    """The id of the image that it was made from, as the archive says."""


class Archive:
    """The staged files of an archive. Close it: what was not committed is dropped."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._members: dict[str, Member] = {}
        self._links: dict[str, str] = {}

    def close(self) -> None:
        """Drop all that was not committed."""
        for member in self._members.values():
            member.abort()

    def read_from(self, source: Metered) -> None:
        """Stage the archive in ``source``. Blocks: for a thread. Raises InvalidArgument."""
        _, pieces = open_decompressed(source)
        stream = Source(pieces)
        memory = 0
        for entry in TarReader(stream, _LIMITS):
            name = clean(entry.name).decode("utf-8", "surrogateescape")
            link = entry.link.decode("utf-8", "surrogateescape")
            match entry.kind:
                case Kind.FILE if entry.size <= _SMALL and memory + entry.size <= _MEMORY:
                    content = b"".join(bytes(piece) for piece in stream.pieces(entry.size))
                    memory += entry.size
                    self._add(name, Member(content, None))
                case Kind.FILE:
                    self._add(name, self._stage(stream, entry.size))
                case Kind.LINK:
                    self._links[name] = _clean(link)
                case Kind.SYMLINK:
                    self._links[name] = _clean(posixpath.join(posixpath.dirname(name), link))
                case _:
                    continue
        stream.drain()

    def _stage(self, stream: Source, size: int) -> Member:
        ingest = self._store.ingest()
        try:
            for piece in stream.pieces(size):
                ingest.write(piece)
            return Member(None, ingest)
        except BaseException:
            ingest.abort()
            raise

    def _add(self, name: str, member: Member) -> None:
        if former := self._members.get(name):
            former.abort()
        self._members[name] = member

    def find(self, name: str) -> Member | None:
        """Return the file ``name``, through the archive's links."""
        name = _clean(name)
        for _ in range(_LINKS):
            if name not in self._links:
                return self._members.get(name)
            name = self._links[name]
        return None

    def get(self, name: str) -> Member:
        """``find``, or raise InvalidArgument."""
        member = self.find(name)
        if member is None:
            raise InvalidArgument(f"invalid archive: {name!r} is mentioned, but not in it")
        return member

    def plan(self, wanted: Platform) -> list[PlannedImage]:
        """Say which images are in the archive: for ``wanted`` where there are several.

        Raises InvalidArgument if the archive holds none or contradicts itself.
        """
        if self.find("manifest.json") is not None:
            return self._plan_docker()
        if self.find("index.json") is not None:
            return self._plan_layout(wanted)
        if self.find("repositories") is not None:
            raise InvalidArgument(
                "invalid archive: it is of docker before 1.10, which is not supported: load it "
                "with an old docker and save it again"
            )
        raise InvalidArgument("invalid archive: does not contain a manifest.json")

    # docker's format

    def _plan_docker(self) -> list[PlannedImage]:
        images = []
        manifests = self._find_manifests()
        for item in self._decode("manifest.json", list[_DockerItem]):
            config = self.get(item.config)
            layers = [self.get(name) for name in item.layers or []]
            images.append(
                PlannedImage(
                    config=config,
                    layers=layers,
                    tags=[parse_tag_target(tag, "") for tag in item.repo_tags or []],
                    manifest=manifests.get((config.digest, *(layer.digest for layer in layers))),
                    parent=item.parent,
                )
            )
        return images

    def _find_manifests(self) -> dict[tuple[str, ...], Member]:
        """Return the OCI manifests beside docker's, by the digests of config and layers."""
        found: dict[tuple[str, ...], Member] = {}
        with suppress(BarqueError):  # an aid only: docker's manifest says all that is needed
            for descriptor in self._decode("index.json", Index).manifests:
                member = self._get_blob(descriptor)
                manifest = _decode(member.digest, member.read(self._store), Manifest)
                layers = (layer.digest for layer in manifest.layers)
                found[(manifest.config.digest, *layers)] = member
        return found

    # OCI image layout

    def _plan_layout(self, wanted: Platform) -> list[PlannedImage]:
        best: dict[str, tuple[int, PlannedImage]] = {}
        index = self._decode("index.json", Index)
        for number, descriptor in enumerate(index.manifests):
            if _is_attestation(descriptor):
                continue
            member = self._select(descriptor, wanted, 0)
            image = self._plan_manifest(member)
            name = _get_name(descriptor)
            if name is not None:
                image.tags = [name]
            preference = rank(descriptor.platform or wanted, wanted)
            order = len(index.manifests) if preference is None else preference
            key = str(name) if name else f"#{number}"
            if key not in best or order < best[key][0]:
                best[key] = order, image
        if not best:
            raise InvalidArgument("invalid archive: its index.json names no image")
        return [image for _, image in best.values()]

    def _select(self, descriptor: Descriptor, wanted: Platform, depth: int) -> Member:
        """Follow indexes to the manifest for ``wanted``."""
        member = self._get_blob(descriptor)
        if descriptor.media_type not in _INDEXES:
            return member
        if depth >= _NESTING:
            raise InvalidArgument("invalid archive: indexes within indexes without end")
        index = self._read_document(member, Index)
        ranked = []
        for number, child in enumerate(index.manifests):
            order = rank(child.platform or wanted, wanted)
            if order is not None and not _is_attestation(child):
                ranked.append((order, number, child))
        for _, _, child in sorted(ranked, key=lambda item: item[:2]):
            if self.find(_blob_name(child.digest)) is not None:
                return self._select(child, wanted, depth + 1)
        raise NotFound(
            f"no matching manifest for {format_platform(wanted)} in the manifest list entries: "
            "no match for platform in manifest: not found"
        )

    def _plan_manifest(self, member: Member) -> PlannedImage:
        manifest = self._read_document(member, Manifest)
        return PlannedImage(
            config=self._get_blob(manifest.config),
            layers=[self._get_blob(layer) for layer in manifest.layers],
            tags=[],
            manifest=member,
        )

    def _read_document(self, member: Member, kind: type[_T]) -> _T:
        """Read a manifest or an index, but nothing that is both."""
        content = member.read(self._store)
        try:
            probe(content, "")
        except Damaged as error:
            raise InvalidArgument(f"invalid archive: {member.digest}: {error}") from error
        return _decode(member.digest, content, kind)

    def _get_blob(self, descriptor: Descriptor) -> Member:
        digest = parse_digest(descriptor.digest)
        member = self.get(_blob_name(digest))
        if member.digest != digest or member.size != descriptor.size:
            raise InvalidArgument(
                f"invalid archive: the blob {digest} of {descriptor.size} bytes is {member.digest} "
                f"of {member.size} bytes"
            )
        return member

    def _decode(self, name: str, kind: type[_T]) -> _T:
        return _decode(name, self.get(name).read(self._store), kind)


class _DockerItem(msgspec.Struct, rename="pascal"):
    """One image in docker's manifest.json."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None
    parent: str = ""


def _decode(name: str, content: bytes, kind: type[_T]) -> _T:
    try:
        return decode_document(content, kind)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid archive: {name}: {error}") from error


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{get_hex(digest)}"


def _clean(name: str) -> str:
    return clean(name.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _is_attestation(descriptor: Descriptor) -> bool:
    if descriptor.platform is not None and descriptor.platform.os == "unknown":
        return True
    return _ATTESTATION in (descriptor.annotations or {})


def _get_name(descriptor: Descriptor) -> Reference | None:
    """Return what an index calls an image; a tag alone does not name one.

    Raises InvalidArgument for the name of another digest than the image's own.
    """
    annotations: dict[str, Any] = descriptor.annotations or {}
    name = annotations.get(_CONTAINERD_NAME)
    if not name:
        name = annotations.get(_REF_NAME, "")
        if ":" not in name and "/" not in name:
            return None
    reference = parse_reference(name)
    if reference.digest and reference.digest == descriptor.digest:
        return reference.stored
    return parse_tag_target(name, "")
