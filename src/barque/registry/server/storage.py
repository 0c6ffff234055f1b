"""What the registry keeps, in one directory.

::

    blobs/sha256/<hex>                         the content of everything, by digest
    ingest/                                    uploads under way; cleared at the start
    repositories/<name>/_blobs/<hex>           this repository has the blob
    repositories/<name>/_manifests/<hex>       likewise the manifest; holds its media type
    repositories/<name>/_tags/<tag>            holds a digest
    repositories/<name>/_referrers/<hex>/<hex> holds the descriptor of what refers to the first

Components of names cannot begin with ``_``, so the kinds never meet a repository's name.
Content is written first and linked afterwards, each by a rename: after a crash a link never
leads nowhere, and a blob that nothing links is removed at the next start.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from barque.content.digests import digest_bytes, get_hex, parse_digest
from barque.content.documents import decode_document
from barque.content.store import ContentStore, Ingest
from barque.errors import BarqueError, InvalidArgument
from barque.models.ids import Digest
from barque.models.image import Descriptor
from barque.registry.documents import Document, probe
from barque.registry.server.errors import Refused

_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAX_NAME = 255
_KINDS = ("_blobs", "_manifests")
"""What keeps content."""


def check_name(name: str) -> str:
    """Return a repository's name. Raises Refused for one that is none. Pure."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise Refused("NAME_INVALID", f"invalid repository name {name[:100]!r}")
    return name


def check_digest(text: str) -> Digest:
    """Return a digest. Raises Refused for one that is none, or not sha256. Pure."""
    try:
        return parse_digest(text)
    except BarqueError as error:
        raise Refused("DIGEST_INVALID", str(error)) from error


def get_order(tag: str) -> tuple[str, str]:
    """Return what tags are sorted by: letters before case, as the spec wants. Pure."""
    return tag.lower(), tag


class Contents(Protocol):
    """What a registry reads from. The methods wait for the disk: call them from a thread."""

    def list_repositories(self) -> list[str]:
        """Return the names of all repositories, sorted."""
        ...

    def get_blob(self, name: str, digest: Digest) -> Path:
        """Return the file of a blob that the repository has. Raises Refused."""
        ...

    def get_manifest(self, name: str, reference: str) -> Document:
        """Return the manifest of a tag or digest. Raises Refused."""
        ...

    def list_tags(self, name: str) -> list[str]:
        """Return all tags, by ``get_order``. Raises Refused if there is no such repository."""
        ...

    def list_referrers(self, name: str, subject: Digest) -> list[Descriptor]:
        """Return the descriptors of what refers to ``subject``, sorted by digest."""
        ...


class Storage:
    """Repositories below ``root``. Its methods wait for the disk: call them from a thread."""

    def __init__(self, root: Path) -> None:
        self._store = ContentStore(root)
        self._repositories = root / "repositories"
        self._repositories.mkdir(mode=0o700, parents=True, exist_ok=True)

    def recover(self) -> None:
        """Drop unfinished uploads, and blobs that nothing links."""
        self._store.recover()
        for unfinished in self._repositories.rglob(".*"):
            unfinished.unlink(missing_ok=True)
        linked = {link.name for kind in _KINDS for link in self._links(kind)}
        for digest in list(self._store.walk()):
            if get_hex(digest) not in linked:
                self._store.delete(digest)
        self._store.reap()

    def _directory(self, name: str, kind: str) -> Path:
        return self._repositories / name / kind

    def _links(self, kind: str) -> Iterator[Path]:
        for name in self.list_repositories():
            with suppress(FileNotFoundError):
                yield from self._directory(name, kind).iterdir()

    def list_repositories(self) -> list[str]:
        """Return the names of all repositories, sorted."""
        found = []
        for directory, children, _files in os.walk(self._repositories):
            if any(child.startswith("_") for child in children):
                found.append(os.path.relpath(directory, self._repositories))
            children[:] = [child for child in children if not child.startswith("_")]
        return sorted(found)

    def check_repository(self, name: str) -> None:
        """Raise Refused if there is no such repository."""
        if not any(self._directory(name, kind).is_dir() for kind in _KINDS):
            raise Refused("NAME_UNKNOWN", f"repository name not known to registry: {name}")

    # Blobs

    def get_blob(self, name: str, digest: Digest) -> Path:
        """Return the file of a blob that the repository has. Raises Refused."""
        if not (self._directory(name, "_blobs") / get_hex(digest)).exists():
            raise Refused("BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
        return self._store.path(digest)

    def begin(self) -> Ingest:
        """Begin an upload."""
        return self._store.ingest()

    def finish(self, name: str, ingest: Ingest, digest: Digest) -> None:
        """Make an upload a blob of the repository. Raises Refused if it is another one."""
        try:
            ingest.commit(digest)
        except BarqueError as error:
            raise Refused("DIGEST_INVALID", str(error)) from error
        self._link(self._directory(name, "_blobs") / get_hex(digest), b"")

    def mount(self, name: str, digest: Digest, source: str) -> bool:
        """Take a blob over from another repository; False if that has it not."""
        try:
            self.get_blob(source, digest)
        except Refused:
            return False
        self._link(self._directory(name, "_blobs") / get_hex(digest), b"")
        return True

    def delete_blob(self, name: str, digest: Digest) -> None:
        """Take a blob out of the repository. Raises Refused."""
        self.get_blob(name, digest)
        (self._directory(name, "_blobs") / get_hex(digest)).unlink()
        self._collect(digest)

    def _collect(self, digest: Digest) -> None:
        """Remove content that no repository links any more."""
        hex_ = get_hex(digest)
        for name in self.list_repositories():
            if any((self._directory(name, kind) / hex_).exists() for kind in _KINDS):
                return
        self._store.delete(digest)
        self._store.reap()

    # Manifests

    def get_manifest(self, name: str, reference: str) -> Document:
        """Return the manifest of a tag or digest. Raises Refused."""
        self.check_repository(name)
        digest = self._resolve(name, reference)
        link = self._directory(name, "_manifests") / get_hex(digest)
        try:
            media_type = link.read_text()
            return Document(self._store.read(digest), digest, media_type)
        except (FileNotFoundError, BarqueError):
            raise Refused("MANIFEST_UNKNOWN", f"manifest unknown: {reference}") from None

    def _resolve(self, name: str, reference: str) -> Digest:
        if ":" in reference:
            return check_digest(reference)
        try:
            return Digest((self._tag(name, reference)).read_text())
        except FileNotFoundError:
            raise Refused("MANIFEST_UNKNOWN", f"manifest unknown: {reference}") from None

    def _tag(self, name: str, tag: str) -> Path:
        if not _TAG.fullmatch(tag):
            raise Refused("MANIFEST_INVALID", f"invalid tag {tag[:150]!r}")
        return self._directory(name, "_tags") / tag

    def put_manifest(self, name: str, reference: str, content: bytes, media_type: str) -> PutResult:
        """Store a manifest or index under a tag or its digest. Raises Refused.

        A manifest's blobs must be there; the children of an index need not be, nor a subject.
        """
        digest = digest_bytes(content)
        tag = None if ":" in reference else self._tag(name, reference)
        if tag is None and check_digest(reference) != digest:
            raise Refused("DIGEST_INVALID", f"the content has {digest}, not {reference}")
        try:
            found = probe(content, media_type)
        except BarqueError as error:
            raise Refused("MANIFEST_INVALID", str(error)) from error
        if found.is_manifest:
            self._check_blobs(name, content)
        self._store.add(content)
        link = self._directory(name, "_manifests") / get_hex(digest)
        self._link(link, media_type.encode())
        if tag is not None:
            self._link(tag, digest.encode())
        if found.subject is None:
            return PutResult(digest, "")
        subject = check_digest(found.subject.digest)
        config = _read_configured(content).config
        descriptor = Descriptor(
            media_type=media_type,
            digest=digest,
            size=len(content),
            annotations=found.annotations,
            artifact_type=found.artifact_type or (config.media_type if config else None),
        )
        link = self._directory(name, "_referrers") / get_hex(subject) / get_hex(digest)
        self._link(link, msgspec.json.encode(descriptor))
        return PutResult(digest, subject)

    def _check_blobs(self, name: str, content: bytes) -> None:
        document = _read_configured(content)
        if document.config is None:
            raise Refused("MANIFEST_INVALID", "the manifest has no config")
        for descriptor in (document.config, *document.layers):
            if descriptor.urls:
                continue
            digest = check_digest(descriptor.digest)
            link = self._directory(name, "_blobs") / get_hex(digest)
            if not link.exists():
                raise Refused("MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
            if self._store.get_size(digest) != descriptor.size:
                raise Refused("MANIFEST_INVALID", f"blob {digest} has not {descriptor.size} bytes")

    def delete_manifest(self, name: str, reference: str) -> None:
        """Remove a tag, or a manifest with all its tags. Raises Refused."""
        document = self.get_manifest(name, reference)
        if ":" not in reference:
            self._tag(name, reference).unlink(missing_ok=True)
            return
        tags = self._directory(name, "_tags")
        for tag in self._list_tags(name):
            if (tags / tag).read_text() == document.digest:
                (tags / tag).unlink()
        (self._directory(name, "_manifests") / get_hex(document.digest)).unlink()
        subject = probe(document.content, "").subject
        if subject is not None:
            referrers = self._directory(name, "_referrers") / get_hex(subject.digest)
            (referrers / get_hex(document.digest)).unlink(missing_ok=True)
        self._collect(document.digest)

    # Lists

    def list_tags(self, name: str) -> list[str]:
        """Return all tags, by ``get_order``. Raises Refused if there is no such repository."""
        self.check_repository(name)
        return self._list_tags(name)

    def _list_tags(self, name: str) -> list[str]:
        try:
            names = os.listdir(self._directory(name, "_tags"))
        except FileNotFoundError:
            return []
        return sorted((tag for tag in names if tag[0] != "."), key=get_order)

    def list_referrers(self, name: str, subject: Digest) -> list[Descriptor]:
        """Return the descriptors of what refers to ``subject``, sorted by digest."""
        directory = self._directory(name, "_referrers") / get_hex(subject)
        try:
            links = sorted(link for link in directory.iterdir() if link.name[0] != ".")
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(link.read_bytes(), type=Descriptor) for link in links]

    def _link(self, path: Path, content: bytes) -> None:
        """Write a small file, whole or not at all, and onto the disk."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{secrets.token_hex(8)}")
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)


class PutResult(msgspec.Struct, frozen=True):
    """What a put has stored, and which subject it refers to, "" if none."""

    digest: Digest
    subject: str


def _read_configured(content: bytes) -> _Configured:
    try:
        return decode_document(content, _Configured)
    except InvalidArgument as error:
        raise Refused("MANIFEST_INVALID", f"the manifest is {error}") from error


class _Configured(msgspec.Struct):
    config: Descriptor | None = None
    layers: list[Descriptor] = []
