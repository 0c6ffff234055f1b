"""Writing images to an archive: docker's, with an OCI image layout inside.

The blobs are sent as they are stored, so what is loaded has the digests of what was saved.
Small documents come first: a reader knows what follows. The same images always give the same
bytes.

Source: moby's image tarball format since version 25, OCI image-spec image-layout.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from barque.content.digests import get_hex
from barque.content.documents import decode_document
from barque.content.store import ContentStore
from barque.errors import InvalidArgument, NotFound
from barque.images.catalog import Catalog, get_blobs
from barque.images.feed import Stopped
from barque.images.platform import format_platform, normalise, parse_platform
from barque.images.record import Image
from barque.images.reference import Reference, parse_reference
from barque.images.tar import BLOCK, Kind
from barque.images.tarwrite import END, encode_header, make_entry, pad
from barque.models.ids import ImageId
from barque.models.image import OCI_MANIFEST, Descriptor, Index, Platform

_PIECE = 1 << 20
_CONTAINERD_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


class Saved(msgspec.Struct):
    """One image of an archive, and the names that it has there."""

    image: Image
    tags: list[Reference]


Plan = list[Saved]


def plan_save(catalog: Catalog, names: Sequence[str], platform: str = "") -> Plan:
    """Say which images ``names`` mean, each once, with the tags that were asked for.

    A repository means all its tags; an id means the image without a name. Raises NotFound,
    also for an image of another ``platform``, and InvalidArgument.
    """
    plan: dict[str, Saved] = {}
    for name in names:
        tags = _find_tags(catalog, name)
        for tag in tags:
            image = catalog.images[catalog.references[str(tag)]]
            saved = plan.setdefault(image.id, Saved(image, []))
            if tag not in saved.tags:
                saved.tags.append(tag)
        if not tags:
            image = catalog.get(name)
            plan.setdefault(image.id, Saved(image, []))
    if platform:
        for saved in plan.values():
            _check_platform(saved.image, parse_platform(platform))
    return list(plan.values())


def _find_tags(catalog: Catalog, text: str) -> list[Reference]:
    """Return the tags that ``text`` names: one, or all of a repository; none for an id."""
    try:
        wanted = parse_reference(text)
    except InvalidArgument:
        return []  # an id in full
    if wanted.digest:
        return []
    if wanted.tag:
        return [wanted] if str(wanted) in catalog.references else []
    own = (parse_reference(full) for full in catalog.references)
    return sorted(tag for tag in own if tag.name == wanted.name and not tag.digest)


def _check_platform(image: Image, wanted: Platform) -> None:
    config = image.config
    own = normalise(
        Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    )
    if own != wanted:
        raise NotFound(
            f"image {image.short_id} is for {format_platform(own)}: there is none for "
            f"{format_platform(wanted)}"
        )


class SavedArchive:
    """An archive of images, ready to be written. All its blobs are there, and must stay."""

    def __init__(self, store: ContentStore, plan: Plan) -> None:
        """Read the images' documents. Raises NotFound if a blob is missing."""
        self._store = store
        self._blobs: dict[str, int] = {}
        for saved in plan:
            for digest in get_blobs(saved.image):
                self._blobs[digest] = store.get_size(digest)
        self._documents = {
            b"index.json": self._make_index(plan),
            b"manifest.json": msgspec.json.encode(
                [_describe(saved, {other.image.id for other in plan}) for saved in plan]
            ),
            b"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            b"repositories": _make_repositories(plan),
        }

    def write_to(self, write: Callable[[bytes], object], stop: threading.Event) -> None:
        """Write the archive. Blocks: for a thread. Raises Stopped when ``stop`` is set."""
        for name in (b"blobs/", b"blobs/sha256/"):
            write(encode_header(make_entry(name, Kind.DIRECTORY, mode=0o755)))
        for name, content in self._documents.items():
            write(encode_header(make_entry(name, size=len(content))) + pad(content))
        for digest, size in sorted(self._blobs.items()):
            path = f"blobs/sha256/{get_hex(digest)}".encode()
            write(encode_header(make_entry(path, size=size)))
            with self._store.open(digest) as file:
                while piece := file.read(_PIECE):
                    if stop.is_set():
                        raise Stopped("saving was given up")
                    write(piece)
            write(bytes(-size % BLOCK))
        write(END)

    def _make_index(self, plan: Plan) -> bytes:
        manifests = []
        for saved in plan:
            image = saved.image
            document = decode_document(self._store.read(image.manifest_digest), dict[str, Any])
            bare = Descriptor(
                media_type=document.get("mediaType") or OCI_MANIFEST,
                digest=image.manifest_digest,
                size=self._blobs[image.manifest_digest],
                platform=Platform(
                    architecture=image.config.architecture,
                    os=image.config.os,
                    variant=image.config.variant,
                ),
            )
            manifests += [
                msgspec.structs.replace(
                    bare, annotations={_CONTAINERD_NAME: str(tag), _REF_NAME: tag.tag}
                )
                for tag in saved.tags
            ] or [bare]
        index = Index(schema_version=2, manifests=manifests)
        return msgspec.json.encode({**msgspec.to_builtins(index), "mediaType": index.media_type})


def _describe(saved: Saved, together: set[ImageId]) -> dict[str, Any]:
    """Return the image's entry in docker's manifest.json; its parent if that is saved too."""
    image = saved.image
    parent = {"Parent": image.parent} if ImageId(image.parent) in together else {}
    return parent | {
        "Config": f"blobs/sha256/{get_hex(image.config_digest)}",
        "RepoTags": [tag.familiar for tag in saved.tags] or None,
        "Layers": [f"blobs/sha256/{get_hex(layer.digest)}" for layer in image.layers],
        "LayerSources": {
            layer.diff_id: {
                "mediaType": layer.media_type,
                "size": layer.size,
                "digest": layer.digest,
            }
            for layer in image.layers
        },
    }


def _make_repositories(plan: Plan) -> bytes:
    repositories: dict[str, dict[str, str]] = {}
    for saved in plan:
        if not saved.image.layers:
            continue
        top = get_hex(saved.image.layers[-1].digest)
        for tag in saved.tags:
            repositories.setdefault(tag.familiar_name, {})[tag.tag] = top
    return msgspec.json.encode(repositories)
