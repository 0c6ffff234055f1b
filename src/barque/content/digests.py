"""Digests: ``sha256:`` and 64 lower-case hexadecimal digits."""

from __future__ import annotations

import hashlib
import re

from barque.errors import InvalidArgument
from barque.models.ids import Digest

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}\Z")


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest. Raises InvalidArgument for anything but sha256."""
    if not _SHA256.match(text):
        raise InvalidArgument(
            f"invalid digest {text[:100]!r}: it must be sha256: and 64 hexadecimal digits"
        )
    return Digest(text)


def digest_bytes(content: bytes) -> Digest:
    """Return the digest of ``content``."""
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def get_hex(digest: str) -> str:
    """Return the hexadecimal digits alone."""
    return digest.removeprefix("sha256:")
