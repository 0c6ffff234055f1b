"""The columns of ``images`` (wire: ImageSummary of the Engine API)."""

from __future__ import annotations

from barque.cli.listing import Listing, truncate_id
from barque.cli.rows.references import familiar, split_tag
from barque.cli.units import age, format_local_time, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = "<none>"


class ImageRow:
    """One reference of one image."""

    __slots__ = ("digest", "repository", "summary", "tag", "truncate")

    def __init__(
        self, summary: dict[str, Any], repository: str, tag: str, digest: str, *, truncate: bool
    ) -> None:
        self.summary = summary
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.truncate = truncate

    def id(self) -> str:
        """The id, twelve characters of it when truncated."""
        full = str(self.summary.get("Id", ""))
        return truncate_id(full) if self.truncate else full

    def created_since(self) -> str:
        """3 weeks ago"""
        return age(int(self.summary.get("Created") or 0))

    def created_at(self) -> str:
        """2026-11-23 23:15:57 +0000 UTC"""
        return format_local_time(int(self.summary.get("Created") or 0))

    def size(self) -> str:
        """7.8MB"""
        return human_size(self.summary.get("Size") or 0, 3)

    def virtual_size(self) -> str:
        """The same with four digits; kept for old scripts."""
        return human_size(self.summary.get("Size") or 0)

    def containers(self) -> str:
        """How many containers use it, where the engine counted."""
        count = int(self.summary.get("Containers", -1))
        return "N/A" if count == -1 else str(count)

    def shared_size(self) -> str:
        """Bytes shared with other images, where the engine counted."""
        shared = int(self.summary.get("SharedSize", -1))
        return "N/A" if shared == -1 else human_size(shared)

    def unique_size(self) -> str:
        """Bytes of this image alone, where the engine counted."""
        size, shared = int(self.summary.get("Size", -1)), int(self.summary.get("SharedSize", -1))
        return "N/A" if -1 in (size, shared) else human_size(size - shared)


IMAGES = Listing(
    "*formatter.imageContext",
    {
        "Containers": ("CONTAINERS", ImageRow.containers),
        "CreatedAt": ("CREATED AT", ImageRow.created_at),
        "CreatedSince": ("CREATED", ImageRow.created_since),
        "Digest": ("DIGEST", lambda row: row.digest),
        "ID": ("IMAGE ID", ImageRow.id),
        "Repository": ("REPOSITORY", lambda row: row.repository),
        "SharedSize": ("SHARED SIZE", ImageRow.shared_size),
        "Size": ("SIZE", ImageRow.size),
        "Tag": ("TAG", lambda row: row.tag),
        "UniqueSize": ("UNIQUE SIZE", ImageRow.unique_size),
        "VirtualSize": ("SIZE", ImageRow.virtual_size),
    },
)

DEFAULT = ("Repository", "Tag", "ID", "CreatedSince", "Size")
DEFAULT_WITH_DIGEST = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")

RAW = """repository: {{ .Repository }}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
"""
RAW_WITH_DIGEST = RAW.replace("image_id", "digest: {{.Digest}}\nimage_id")


def image_rows(
    images: list[dict[str, Any]], *, truncate: bool, digests: bool, need_digest: bool
) -> list[ImageRow]:
    """A row for each reference: each tag, each digest that has no tag; one if there is none.

    ``digests``: each digest has a row of its own. ``need_digest``: rows carry digests.
    """
    rows: list[ImageRow] = []
    for image in images:
        for repository, tag, digest in _references(image, digests=digests, need=need_digest):
            rows.append(ImageRow(image, repository, tag, digest, truncate=truncate))
    return rows


def _references(image: dict[str, Any], *, digests: bool, need: bool) -> list[tuple[str, str, str]]:
    tags = [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]
    names = [name for name in image.get("RepoDigests") or () if name != "<none>@<none>"]
    if not tags and not names:
        return [(NONE, NONE, NONE)]
    by_repository: dict[str, list[str]] = {}
    for name in names:
        repository, _, digest = name.partition("@")
        by_repository.setdefault(familiar(repository), []).append(digest)
    shown: list[tuple[str, str, str]] = []
    tagged: set[str] = set()
    for reference in tags:
        repository, tag = split_tag(reference)
        repository = familiar(repository)
        tagged.add(repository)
        known = by_repository.get(repository) if need else None
        shown += [(repository, tag, digest) for digest in known or (NONE,)]
    for repository, known in by_repository.items():
        if repository not in tagged:
            shown += [(repository, NONE, digest) for digest in (known if digests else ("",))]
    return shown
