"""What an image is, and the reading of its documents."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec

from barque.content.documents import decode_document
from barque.errors import InvalidArgument
from barque.models.ids import Digest, ImageId
from barque.models.image import ImageConfig
from barque.store.images import LayerRow

_MAX_LAYERS = 127  # as docker; overlayfs takes more, but every layer costs each look-up


_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image. A value: it is replaced as a whole when a tag moves."""

    id: ImageId
    config: ImageConfig
    config_digest: Digest
    manifest_digest: Digest
    layers: list[LayerRow]
    tags: list[str]
    """Familiar, ``alpine:latest``, sorted."""
    digests: list[str]
    """Familiar, ``alpine@sha256:…``, sorted."""
    size: int
    """Bytes of the unpacked layers."""
    created: str
    chain_id: str
    """The snapshot that containers are made on; "" for an image without layers."""
    parent: str = ""

    @property
    def short_id(self) -> str:
        """The twelve digits that users see."""
        return shorten(self.id)


class HistoryLine(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One line of ``docker history``; ``created`` is in Unix seconds."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


def shorten(identifier: str) -> str:
    """Return the first twelve digits of an id or digest."""
    return identifier.removeprefix("sha256:")[:12]


def get_chain_ids(diff_ids: list[str]) -> list[str]:
    """Return each layer's chain ID. Source: image-spec, config.md, "Layer ChainID"."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(extend_chain(chain[-1] if chain else "", diff_id))
    return chain


def extend_chain(parent: str, diff_id: str) -> str:
    """Return the chain ID of a layer on the chain ``parent``, "" for none."""
    if not parent:
        return diff_id
    return f"sha256:{hashlib.sha256(f'{parent} {diff_id}'.encode()).hexdigest()}"


def decode_config(content: bytes) -> ImageConfig:
    """Read an image's config; ``null`` means not given, as in Go.

    Raises InvalidArgument.
    """
    try:
        document = _without_nulls(decode_document(content, dict[str, Any]))
        config = msgspec.convert(document, ImageConfig, strict=False)
    except (msgspec.ValidationError, InvalidArgument) as error:
        raise InvalidArgument(f"invalid image config: {error}") from error
    if config.created:
        _check_time(config.created)
    if len(config.rootfs.diff_ids) > _MAX_LAYERS:
        raise InvalidArgument(
            f"the image has {len(config.rootfs.diff_ids)} layers: max depth exceeded "
            f"({_MAX_LAYERS} are allowed)"
        )
    return config


def _check_time(text: str) -> None:
    """Raise InvalidArgument for what is no RFC 3339 time: lists of images are sorted by it."""
    try:
        if _RFC3339.fullmatch(text) is None:
            raise ValueError("it must read 2006-01-02T15:04:05Z")  # noqa: TRY301 two reasons
        datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(
            f"invalid image config: created is {text[:100]!r}: {error}"
        ) from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value
