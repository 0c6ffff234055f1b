"""The images that there are and the references to them, in memory and in the database.

The database is read once; after that this process is its only writer, and every look-up is
one in a dictionary. Also counts who uses which blob and layer, so that what is no longer
used can go.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from barque.content.store import ContentStore
from barque.errors import BarqueError, NotFound
from barque.images.record import Image, decode_config
from barque.images.reference import Reference, parse_reference
from barque.models.ids import Digest, ImageId
from barque.models.image import ImageConfig
from barque.store.database import Database
from barque.store.images import ImageRow, ImageTable

_log = logging.getLogger(__name__)
_ID_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


class Catalog:
    """Images and references. Use on the loop's thread."""

    def __init__(self, database: Database, content: ContentStore) -> None:
        self._database = database
        self._table = ImageTable(database)
        self.images: dict[ImageId, Image] = {}
        self.references: dict[str, ImageId] = {}
        """By the whole form of the reference."""
        self.unreadable: dict[ImageId, str] = {}
        """Images that cannot be shown, and why: their config is gone or damaged."""
        self.blob_users: Counter[str] = Counter()
        self.chain_users: Counter[str] = Counter()
        references = self._table.list_tags()
        for row in self._table.list():
            try:
                config = decode_config(content.read(row.id))
            except BarqueError as error:
                _log.warning("image %s is not shown: %s", row.id, error)
                self.unreadable[row.id] = str(error)
                continue
            own = [text for text, image_id in references.items() if image_id == row.id]
            self.references.update(dict.fromkeys(own, row.id))
            self._count_names(map(parse_reference, own), 1)
            self._show(row, config)

    # Looking up

    def find(self, text: str) -> Image | None:
        """Return the image by id, name, digest or unique id prefix of 4 digits or more.

        A name wins over an id prefix. Raises InvalidArgument for what can be neither.
        """
        image = self.images.get(ImageId(text)) or self.images.get(ImageId(f"sha256:{text}"))
        if image is not None or len(text) == 64:
            return image
        prefix = _ID_PREFIX.fullmatch(text)
        try:
            image = self._find_reference(parse_reference(text).stored)
        except BarqueError:
            if prefix is None:
                raise
        if image is None and prefix is not None:
            found = [id_ for id_ in self.images if id_.startswith(f"sha256:{prefix[1]}")]
            image = self.images[found[0]] if len(found) == 1 else None
        return image

    def get(self, text: str) -> Image:
        """``find``, or raise NotFound with docker's text."""
        image = self.find(text)
        if image is None:
            shown = text
            if not text.startswith("sha256:") and len(text) != 64:
                shown = _complete(parse_reference(text)).familiar
            raise NotFound(f"No such image: {shown}")
        return image

    def _find_reference(self, reference: Reference) -> Image | None:
        image_id = self.references.get(str(reference))
        if image_id is None and reference.digest:
            candidate = ImageId(reference.digest)
            if any(own.name == reference.name for own in self.get_references(candidate)):
                image_id = candidate
        return self.images.get(image_id) if image_id else None

    def get_references(self, image_id: ImageId) -> list[Reference]:
        """Return the references to an image, sorted; tags before digests."""
        own = [
            parse_reference(text) for text, named in self.references.items() if named == image_id
        ]
        return sorted(own, key=lambda reference: (bool(reference.digest), str(reference)))

    def get_children(self, image_id: ImageId) -> list[Image]:
        """Return the images that were made from this one."""
        return [image for image in self.images.values() if image.parent == image_id]

    # Changing

    def register(
        self,
        images: Iterable[tuple[ImageRow, ImageConfig]],
        tags: Iterable[tuple[Reference, ImageId]],
    ) -> None:
        """Add images and references to them: all, in one transaction, or nothing.

        An image that is there is replaced: it may have been damaged, and consist of other blobs.
        """
        images, tags = list(images), list(tags)
        with self._database.transaction():
            for row, _config in images:
                self._table.insert(row)
            for reference, image_id in tags:
                self._table.set_tag(str(reference), image_id)
        for row, config in images:
            if row.id in self.images:
                self._count(self.images[row.id], -1)
            self.unreadable.pop(row.id, None)
            self._show(row, config)
        for reference, image_id in tags:
            former = self.references.get(str(reference))
            if former is None:
                self._count_names([reference], 1)
            self.references[str(reference)] = image_id
            self._refresh(image_id)
            if former is not None and former != image_id:
                self._refresh(former)

    def untag(self, references: Iterable[Reference]) -> None:
        """Remove references."""
        references = list(references)
        with self._database.transaction():
            for reference in references:
                self._table.delete_tag(str(reference))
        self._count_names(references, -1)
        for reference in references:
            self._refresh(self.references.pop(str(reference)))

    def delete(self, image: Image) -> None:
        """Remove an image and all references to it."""
        references = self.get_references(image.id)
        with self._database.transaction():
            for reference in references:
                self._table.delete_tag(str(reference))
            self._table.delete(image.id)
        self._count_names(references, -1)
        for reference in references:
            del self.references[str(reference)]
        del self.images[image.id]
        self._count(image, -1)

    def forget(self, image_id: ImageId) -> None:
        """Remove what is kept of an image that is ``unreadable``, and its names."""
        with self._database.transaction():
            for reference, named in self._table.list_tags().items():
                if named == image_id:
                    self._table.delete_tag(reference)
            self._table.delete(image_id)
        del self.unreadable[image_id]

    def _show(self, row: ImageRow, config: ImageConfig) -> None:
        image = Image(
            id=row.id,
            config=config,
            config_digest=Digest(row.id),
            manifest_digest=row.manifest_digest,
            layers=row.layers,
            tags=[],
            digests=[],
            size=sum(layer.unpacked_size for layer in row.layers),
            created=row.created,
            chain_id=row.layers[-1].chain_id if row.layers else "",
            parent=row.parent,
        )
        self.images[row.id] = image
        self._count(image, 1)
        self._refresh(row.id)

    def _refresh(self, image_id: ImageId) -> None:
        image = self.images.get(image_id)
        if image is None:
            return
        references = self.get_references(image_id)
        self.images[image_id] = msgspec.structs.replace(
            image,
            tags=[reference.familiar for reference in references if not reference.digest],
            digests=[reference.familiar for reference in references if reference.digest],
        )

    def _count_names(self, references: Iterable[Reference], by: int) -> None:
        """A name by digest keeps the manifest or index of that digest, where it is stored."""
        for reference in references:
            if reference.digest:
                self.blob_users[reference.digest] += by

    def _count(self, image: Image, by: int) -> None:
        for digest in get_blobs(image):
            self.blob_users[digest] += by
        for layer in image.layers:
            self.chain_users[layer.chain_id] += by


def get_blobs(image: Image) -> list[str]:
    """Return the digests of all blobs of an image."""
    return [image.config_digest, image.manifest_digest, *(layer.digest for layer in image.layers)]


def _complete(reference: Reference) -> Reference:
    """Return what was asked for, with the default tag if it has none."""
    return reference if reference.tag or reference.digest else reference.stored
