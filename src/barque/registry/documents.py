"""Manifests and indexes as they come from a registry: bytes whose digest is known.

Nothing is believed of a document before its digest was compared, and nothing of one that is
a manifest and an index at once: two readers could take it for two things (CVE-2021-41190).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from barque.content.digests import parse_digest
from barque.content.documents import decode_document
from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.ids import Digest
from barque.models.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
)
from barque.registry.errors import Damaged

MAX_BYTES = 4 << 20
"""Of a manifest or index, as the distribution-spec recommends."""
INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
ACCEPT = ", ".join((*MANIFESTS, *INDEXES, *SCHEMA_1))
_ATTESTATION = "vnd.docker.reference.type"


class Document(NamedTuple):
    """The exact bytes of a manifest or index, and what they are."""

    content: bytes
    digest: Digest
    media_type: str


class Probe(msgspec.Struct, rename="camel"):
    """The keys by which a document shows what it is."""

    schema_version: int = 0
    media_type: str = ""
    config: Any = None
    layers: Any = None
    manifests: Any = None
    fs_layers: Any = None
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: dict[str, str] | None = None

    @property
    def is_manifest(self) -> bool:
        """Whether it has what only manifests have."""
        return self.config is not None or self.layers is not None

    @property
    def is_index(self) -> bool:
        """Whether it has what only indexes have."""
        return self.manifests is not None


def probe(content: bytes, content_type: str) -> Probe:
    """Check what a document is. Pure.

    ``content_type`` is what HTTP or a descriptor says, "" if nothing. Raises Damaged for one
    that contradicts itself or is not JSON, NotImplementedHere for docker's schema 1.
    """
    try:
        found = decode_document(content, Probe)
    except InvalidArgument as error:
        raise Damaged(f"the manifest is {error}") from error
    said = content_type.partition(";")[0].strip().lower()
    if found.schema_version == 1 or found.fs_layers is not None or said in SCHEMA_1:
        raise NotImplementedHere(
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not "
            "supported: ask the author to upgrade the image to OCI or schema 2"
        )
    if found.is_index and (found.is_manifest or found.fs_layers is not None):
        raise Damaged("the document is a manifest and an index at once: it was refused")
    kind = found.media_type or said
    known = kind in INDEXES or kind in MANIFESTS
    if known and said in (*INDEXES, *MANIFESTS) and said != kind:
        raise Damaged(f"the document says that it is {kind}, but came as {said}: it was refused")
    if known and (kind in INDEXES) is not found.is_index:
        raise Damaged(f"the document says that it is {kind}, but has other content")
    if not found.is_index and not found.is_manifest:
        raise Damaged("the document is neither a manifest nor an index")
    return found


def parse(document: Document) -> Manifest | Index:
    """Read an image manifest or an index. Pure. Raises Damaged, and as ``probe``."""
    kind: type[Manifest | Index] = Manifest
    if probe(document.content, document.media_type).is_index:
        kind = Index
    try:
        found = decode_document(document.content, kind)
        if isinstance(found, Manifest):
            descriptors = [found.config, *found.layers]
        else:
            descriptors = found.manifests
        for descriptor in descriptors:
            if descriptor.size < 0:
                raise Damaged(f"{descriptor.digest} has a size of {descriptor.size} bytes")
            parse_digest(descriptor.digest)
    except InvalidArgument as error:
        raise Damaged(f"the manifest is not valid: {error}") from error
    return found


def is_attestation(descriptor: Descriptor) -> bool:
    """Tell whether an index's entry describes another one instead of being an image."""
    if descriptor.platform is not None and descriptor.platform.os == "unknown":
        return True
    return _ATTESTATION in (descriptor.annotations or {})
