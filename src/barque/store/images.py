"""The images and tags tables."""

from __future__ import annotations

import msgspec

from barque.models.ids import Digest, ImageId
from barque.store.database import Database


class LayerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of an image: the blob as it came, and what it unpacks to."""

    digest: Digest
    """Of the blob in the content store."""
    media_type: str
    size: int
    """Of the blob, in bytes."""
    diff_id: str
    chain_id: str
    unpacked_size: int
    urls: list[str] = []
    """Where a foreign layer may be fetched from."""


class ImageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One image as it is kept. The config itself is a blob: its digest is ``id``."""

    id: ImageId
    created: str
    manifest_digest: Digest
    layers: list[LayerRow]
    parent: str = ""


class ImageTable:
    """Images and the references to them. Use on the loop's thread.

    Changes are made inside one ``Database.transaction`` of the caller.
    """

    def __init__(self, database: Database) -> None:
        self._connection = database.connection

    def list(self) -> list[ImageRow]:
        """Return every image."""
        rows = self._connection.execute("SELECT document FROM images")
        return [msgspec.json.decode(document, type=ImageRow) for (document,) in rows]

    def list_tags(self) -> dict[str, ImageId]:
        """Return every reference, in its whole form, and the image that it names."""
        return dict(self._connection.execute("SELECT reference, image_id FROM tags").fetchall())

    def insert(self, row: ImageRow) -> None:
        """Add an image, or replace what is kept of it."""
        self._connection.execute(
            "INSERT INTO images (id, created, document) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            (row.id, row.created, msgspec.json.encode(row)),
        )

    def delete(self, image_id: ImageId) -> None:
        """Remove an image that nothing refers to any more."""
        self._connection.execute("DELETE FROM images WHERE id = ?", (image_id,))

    def set_tag(self, reference: str, image_id: ImageId) -> None:
        """Let ``reference`` name ``image_id``, whatever it named before."""
        self._connection.execute(
            "INSERT INTO tags (reference, image_id) VALUES (?, ?)"
            " ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id",
            (reference, image_id),
        )

    def delete_tag(self, reference: str) -> None:
        """Remove a reference."""
        self._connection.execute("DELETE FROM tags WHERE reference = ?", (reference,))
