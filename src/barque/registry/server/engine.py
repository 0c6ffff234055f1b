"""The images of an engine as a registry: only to be read, straight from its data-root.

The engine may run meanwhile or not: its database is opened for reading, anew for each
request, and blobs never change. A repository is an image's name without its host; where two
hosts have the same, the one that sorts first wins, docker.io before all.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from barque.content.digests import get_hex
from barque.content.store import ContentStore
from barque.errors import BarqueError, InvalidArgument
from barque.models.ids import Digest
from barque.models.image import OCI_MANIFEST, Descriptor
from barque.registry.documents import Document, probe
from barque.registry.server.errors import Refused
from barque.registry.server.storage import check_digest, get_order
from barque.store.images import ImageRow

_HUB = "docker.io/"
_OFFICIAL = "library/"
_BUSY_S = 5.0


class EngineContents:
    """Contents (see ``storage``) of the engine whose data-root is ``root``.

    Raises InvalidArgument if there is none.
    """

    def __init__(self, root: Path) -> None:
        self._database = root / "barque.db"
        if not self._database.exists():
            raise InvalidArgument(f"{root} is not the data-root of an engine: it has no barque.db")
        self._store = ContentStore(root / "content")

    def _read(self) -> dict[str, dict[str, ImageRow]]:
        """Return all images: by repository, and by tag or digest."""
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=_BUSY_S)
        with closing(connection):
            rows = connection.execute(
                "SELECT reference, document FROM tags JOIN images ON images.id = image_id"
            ).fetchall()
        found: dict[str, dict[str, ImageRow]] = {}
        for reference, document in sorted(rows, key=lambda row: (row[0][:10] != _HUB, row[0])):
            _, _, rest = reference.partition("/")
            name, at, digest = rest.partition("@")
            tag = digest
            if not at:
                name, _, tag = rest.rpartition(":")
            row = msgspec.json.decode(document, type=ImageRow)
            for alias in {name, name.removeprefix(_OFFICIAL)}:
                found.setdefault(alias, {}).setdefault(tag, row)
        return found

    def _get(self, name: str) -> dict[str, ImageRow]:
        found = self._read().get(name)
        if found is None:
            raise Refused("NAME_UNKNOWN", f"repository name not known to registry: {name}")
        return found

    def list_repositories(self) -> list[str]:
        """See ``Contents``."""
        return sorted(self._read())

    def list_tags(self, name: str) -> list[str]:
        """See ``Contents``."""
        return sorted((tag for tag in self._get(name) if ":" not in tag), key=get_order)

    def get_manifest(self, name: str, reference: str) -> Document:
        """See ``Contents``."""
        images = self._get(name)
        digest = check_digest(reference) if ":" in reference else None
        if digest is None and reference in images:
            digest = images[reference].manifest_digest
        known = {row.manifest_digest for row in images.values()} | set(images)
        if digest is None or digest not in known:
            raise Refused("MANIFEST_UNKNOWN", f"manifest unknown: {reference}")
        try:
            content = self._store.read(digest)
        except BarqueError as error:
            raise Refused("MANIFEST_UNKNOWN", f"manifest unknown: {reference}") from error
        return Document(content, digest, probe(content, "").media_type or OCI_MANIFEST)

    def get_blob(self, name: str, digest: Digest) -> Path:
        """See ``Contents``."""
        for row in self._get(name).values():
            if digest in {row.id, *(layer.digest for layer in row.layers)}:
                path = self._store.path(digest)
                if path.exists():
                    return path
        raise Refused("BLOB_UNKNOWN", f"blob unknown to registry: {get_hex(digest)}")

    def list_referrers(self, name: str, subject: Digest) -> list[Descriptor]:
        """See ``Contents``: an engine keeps none."""
        del name, subject
        return []
