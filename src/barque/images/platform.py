"""Platforms: ``os[/architecture[/variant]]`` in Go's names, and which one suits another.

Source: containerd's platforms package, whose rules docker follows.
"""

from __future__ import annotations

import os
import re

from barque.errors import InvalidArgument
from barque.models.image import Platform

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}
_OPERATING_SYSTEMS = {"macos": "darwin"}
_PART = re.compile(r"[A-Za-z0-9_.-]+")
_ARM_VARIANTS = ("v8", "v7", "v6", "v5")
_AMD64_VARIANTS = ("v4", "v3", "v2", "v1")


def normalise(platform: Platform) -> Platform:
    """Return ``platform`` in the one spelling that is compared."""
    system = platform.os.lower()
    architecture = platform.architecture.lower()
    variant = platform.variant.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    if architecture == "amd64" and variant == "v1":
        variant = ""
    if architecture == "arm":
        variant = f"v{variant.removeprefix('v')}" if variant else "v7"
    return Platform(
        architecture=architecture, os=_OPERATING_SYSTEMS.get(system, system), variant=variant
    )


def get_host() -> Platform:
    """Return the platform of this machine."""
    return normalise(Platform(architecture=os.uname().machine, os="linux"))


def parse_platform(text: str) -> Platform:
    """Parse ``os``, ``architecture``, ``os/architecture`` or ``os/architecture/variant``.

    What is not said is the host's. Raises InvalidArgument.
    """
    host = get_host()
    parts = text.split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidArgument(
            f'"{text}": invalid platform: it must read os[/architecture[/variant]]'
        )
    if len(parts) == 1:
        one = parts[0].lower()
        if one in ("linux", "windows", "darwin", "macos", "freebsd"):
            return normalise(Platform(os=one, architecture=host.architecture, variant=host.variant))
        return normalise(Platform(os=host.os, architecture=one))
    return normalise(Platform(os=parts[0], architecture=parts[1], variant="/".join(parts[2:])))


def format_platform(platform: Platform) -> str:
    """Return ``os/architecture[/variant]``."""
    variant = f"/{platform.variant}" if platform.variant else ""
    return f"{platform.os}/{platform.architecture}{variant}"


def rank(candidate: Platform, wanted: Platform) -> int | None:
    """Tell how well ``candidate`` runs where ``wanted`` is asked for: 0 is best, None not."""
    candidate, wanted = normalise(candidate), normalise(wanted)
    if (candidate.os, candidate.architecture) != (wanted.os, wanted.architecture):
        if (wanted.os, wanted.architecture) == ("linux", "arm64") and candidate.os == "linux":
            order = _order(wanted)
            if candidate.architecture == "arm" and candidate.variant in order:
                return order.index(candidate.variant) + 1
        return None
    order = _order(wanted)
    default = "v8" if wanted.architecture == "arm64" else "v1"
    variant = candidate.variant or default
    if not order:
        return 0 if candidate.variant == wanted.variant else None
    return order.index(variant) if variant in order else None


def _order(wanted: Platform) -> tuple[str, ...]:
    """Return the variants that ``wanted`` can run, best first."""
    match wanted.architecture:
        case "arm64":
            variants, own = _ARM_VARIANTS, wanted.variant or "v8"
        case "arm":
            variants, own = _ARM_VARIANTS, wanted.variant
        case "amd64":
            variants, own = _AMD64_VARIANTS, wanted.variant or "v1"
        case _:
            return ()
    return variants[variants.index(own) :] if own in variants else (own,)
