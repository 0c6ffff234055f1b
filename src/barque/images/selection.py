"""From what a registry has under a name to one image: which platform, which documents.

Plans only: what is missing here is decided and fetched by ``pull``.
"""

from __future__ import annotations

import msgspec

from barque.errors import InvalidArgument, NotFound
from barque.images.platform import format_platform, rank
from barque.models.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from barque.registry.client import Repository
from barque.registry.documents import Document, is_attestation, parse
from barque.registry.errors import Damaged

MAX_CONFIG_BYTES = 8 << 20
MAX_LAYER_BYTES = 64 << 30
_NESTING = 3
_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "text/html", "")
"""The last three stood in manifests that old registries converted."""
_FOREIGN = ("nondistributable", "foreign")


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a registry."""

    top: Document
    """What the name stands for: a manifest, or the index it was chosen from."""
    document: Document
    manifest: Manifest


async def select(repository: Repository, top: Document, wanted: Platform) -> Selected:
    """Follow indexes to the image manifest for ``wanted``.

    Raises NotFound if there is none, InvalidArgument for what is no image, Damaged, and what
    the registry raises.
    """
    document = top
    for _ in range(_NESTING):
        found = parse(document)
        if isinstance(found, Manifest):
            check_image(found)
            return Selected(top=top, document=document, manifest=found)
        child = choose(found, wanted)
        document = await repository.get_manifest(child.digest, child.size)
        if child.media_type and not document.media_type:
            document = document._replace(media_type=child.media_type)
    raise Damaged(f"{top.digest}: indexes within indexes without end: it was refused")


def choose(index: Index, wanted: Platform) -> Descriptor:
    """Return the entry that suits ``wanted`` best, the first of equals. Pure.

    Raises NotFound with docker's text.
    """
    ranked = []
    for number, descriptor in enumerate(index.manifests):
        if is_attestation(descriptor):
            continue
        order = rank(descriptor.platform or wanted, wanted)
        if order is not None:
            ranked.append((order, number))
    if not ranked:
        raise NotFound(
            f"no matching manifest for {format_platform(wanted)} in the manifest list entries: "
            "no match for platform in manifest: not found"
        )
    return index.manifests[min(ranked)[1]]


def check_image(manifest: Manifest) -> None:
    """Raise InvalidArgument for a manifest of something else than an image. Pure."""
    if manifest.config.media_type not in _CONFIGS:
        raise InvalidArgument(
            f"unsupported media type {manifest.config.media_type}: this is not a container image "
            "but another kind of artifact, which barque does not run"
        )
    if manifest.config.size > MAX_CONFIG_BYTES:
        raise Damaged(f"the image's config has {manifest.config.size} bytes: it was refused")
    for layer in manifest.layers:
        if not is_layer(layer.media_type):
            raise InvalidArgument(f"unsupported media type {layer.media_type} of a layer")
        if layer.size > MAX_LAYER_BYTES:
            raise Damaged(f"layer {layer.digest} has {layer.size} bytes: it was refused")


def is_layer(media_type: str) -> bool:
    """Tell whether a blob of this type is a layer's archive, compressed or not."""
    return media_type.startswith((DOCKER_LAYER, OCI_LAYER)) or is_foreign(media_type)


def is_foreign(media_type: str) -> bool:
    """Tell whether a layer may not be pushed to registries."""
    return any(f".{word}." in media_type for word in _FOREIGN)
