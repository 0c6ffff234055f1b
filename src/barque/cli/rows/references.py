"""Image references as people write them."""

from __future__ import annotations


def familiar(name: str) -> str:
    """A repository without the default registry and its ``library/``."""
    for host in ("docker.io/", "index.docker.io/"):
        if name.startswith(host):
            name = name[len(host) :]
            break
    rest = name.removeprefix("library/")
    return name if "/" in rest else rest


def split_tag(reference: str) -> tuple[str, str]:
    """Repository and tag (``""`` if none); the colon of a registry's port is no tag."""
    name, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, ""
    return name, tag


def strip_digest(reference: str) -> str:
    """The reference without ``@sha256:...``."""
    return reference.partition("@")[0]
