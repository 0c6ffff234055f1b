"""Filters of GET /images/json and POST /images/prune."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from barque.api.filters import Filters, get_flag, get_until
from barque.api.parameters import parse_rfc3339
from barque.engine.filters import match_labels
from barque.images.record import Image

LIST_KEYS = frozenset("dangling label label! before since reference until".split())
PRUNE_KEYS = frozenset("dangling label label! until".split())


def get_created_ns(image: Image) -> int:
    """Return when the image was made, unix ns; 0 if it does not say."""
    return parse_rfc3339(image.created) if image.created else 0


def match_reference(tag: str, pattern: str) -> bool:
    """Tell whether the familiar reference ``tag`` matches a glob, with or without its tag.

    A ``*`` stays within one component of the path, as in Go's path.Match.
    """
    name, _, _ = tag.rpartition(":") if ":" in tag.rsplit("/", 1)[-1] else (tag, "", "")
    return any(_match_path(text, pattern) for text in (tag, name))


def match_tags(tags: Sequence[str], globs: Sequence[str]) -> list[str]:
    """Return the tags that match one of the globs."""
    return [tag for tag in tags if any(match_reference(tag, glob) for glob in globs)]


def _match_path(text: str, pattern: str) -> bool:
    parts, patterns = text.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def select(images: Sequence[Image], filters: Filters, bounds: dict[str, Image]) -> list[Image]:
    """Return the images that pass; ``bounds`` holds those that before and since name.

    Raises InvalidArgument for a value that is none.
    """
    dangling = get_flag(filters, "dangling") if filters.get("dangling") else None
    until_ns = get_until(filters)
    before = bounds.get("before")
    since = bounds.get("since")
    references = filters.get("reference")
    return [
        image
        for image in images
        if match_labels(image.config.config.labels, filters)
        and (dangling is None or dangling is not bool(image.tags))
        and (until_ns is None or get_created_ns(image) < until_ns)
        and (before is None or get_created_ns(image) < get_created_ns(before))
        and (since is None or get_created_ns(image) > get_created_ns(since))
        and (not references or match_tags(image.tags, references))
    ]
