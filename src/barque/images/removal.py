"""Removing an image: docker's rules of what may go, and its words for why something may not.

==========================  ============================================================
asked by name               the name goes; the image too if it was the last name and
                            nothing uses the image. If a container uses it, the last name
                            goes only by force
asked by id (or prefix)     all names go, if they are of one repository; else by force only
running container, children  the image never goes
stopped container           the image goes by force only
==========================  ============================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from barque.errors import Conflict
from barque.images.catalog import Catalog
from barque.images.record import Image, shorten
from barque.images.reference import Reference, parse_reference
from barque.models.ids import ImageId

Users = Callable[[ImageId], list[tuple[str, bool]]]
"""Who uses an image: (container's short id, running)."""

_HEX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")


class Removed(msgspec.Struct, kw_only=True):
    """What a removal has done so far."""

    records: list[dict[str, str]] = msgspec.field(default_factory=list)
    images: list[Image] = msgspec.field(default_factory=list)


class _Obstacle(msgspec.Struct):
    image: Image
    hard: bool
    used: bool
    reason: str

    def explain(self) -> Conflict:
        how = "cannot be forced" if self.hard else "must be forced"
        return Conflict(f"conflict: unable to delete {self.image.short_id} ({how}) - {self.reason}")


class Removal:
    """One removal. Changes the catalog only: blobs and layers are collected afterwards."""

    def __init__(self, catalog: Catalog, users: Users) -> None:
        self._catalog = catalog
        self._users = users
        self.done = Removed()

    def remove(self, text: str, *, force: bool, prune: bool) -> None:
        """Remove what ``text`` names. Raises NotFound, Conflict; ``done`` says what was done."""
        image = self._catalog.get(text)
        references = self._catalog.get_references(image.id)
        if _is_id_prefix(image.id, text):
            if _is_single(references):
                obstacle = self._find_obstacle(image, soft=not force, named=False)
                if obstacle is not None:
                    raise obstacle.explain()
            going = references if _is_single(references) else []
            self._remove_image(image, going, force=force, prune=prune, quiet=False)
            return
        if not force and _is_single(references) and (users := self._users(image.id)):
            raise Conflict(
                f'conflict: unable to remove repository reference "{text}" (must force) - '
                f"container {users[0][0]} is using its referenced image {image.short_id}"
            )
        going = _list_going(self._get_reference(text, references), references)
        if len(going) < len(references):
            self._untag(going)
        else:
            self._remove_image(image, going, force=force, prune=prune, quiet=True)

    def _get_reference(self, text: str, references: list[Reference]) -> Reference:
        reference = parse_reference(text).stored
        if reference in references:
            return reference
        # Named as repository@id: the first name in that repository.
        return next(own for own in references if own.name == reference.name)

    def _untag(self, references: list[Reference]) -> None:
        self._catalog.untag(references)
        self.done.records += [{"Untagged": reference.familiar} for reference in references]

    def _remove_image(
        self, image: Image, going: list[Reference], *, force: bool, prune: bool, quiet: bool
    ) -> None:
        """Remove the image, and with it, at once, its names; those of ``going`` in any case."""
        references = self._catalog.get_references(image.id)
        left = [reference for reference in references if reference not in going]
        obstacle = self._find_obstacle(image, soft=not force, named=bool(left))
        if obstacle is not None:
            self._untag(going)
            if quiet and (left or obstacle.used):
                return
            raise obstacle.explain()
        self.done.records += [{"Untagged": reference.familiar} for reference in going + left]
        self._catalog.delete(image)
        self.done.records.append({"Deleted": image.id})
        self.done.images.append(image)
        parent = self._catalog.images.get(ImageId(image.parent))
        if prune and parent is not None:
            self._remove_image(parent, [], force=False, prune=True, quiet=True)

    def _find_obstacle(self, image: Image, *, soft: bool, named: bool) -> _Obstacle | None:
        """Return why the image may not go; that it is ``named`` is a reason, too."""
        if self._catalog.get_children(image.id):
            return _Obstacle(image, True, True, "image has dependent child images")
        users = self._users(image.id)
        for container, running in users:
            if running:
                reason = f"image is being used by running container {shorten(container)}"
                return _Obstacle(image, True, True, reason)
        if soft and named:
            return _Obstacle(image, False, False, "image is referenced in multiple repositories")
        if soft and users:
            reason = f"image is being used by stopped container {shorten(users[0][0])}"
            return _Obstacle(image, False, True, reason)
        return None


def _list_going(reference: Reference, references: list[Reference]) -> list[Reference]:
    """Return what goes with a name: digests of a repository that loses its last tag."""
    others = [own for own in references if own != reference and own.name == reference.name]
    if reference.digest or any(not own.digest for own in others):
        return [reference]
    return [reference, *others]


def _is_id_prefix(image_id: ImageId, text: str) -> bool:
    return bool(_HEX.fullmatch(text)) and image_id.startswith(
        text if text.startswith("sha256:") else f"sha256:{text}"
    )


def _is_single(references: list[Reference]) -> bool:
    """Tell whether there is at most one name, digests of the same repository aside."""
    if len(references) <= 1:
        return True
    tags = [reference for reference in references if not reference.digest]
    repositories = {reference.name for reference in references if reference.digest}
    if len(tags) > 1:
        return False
    return len(repositories) == 1 and (not tags or tags[0].name in repositories)
