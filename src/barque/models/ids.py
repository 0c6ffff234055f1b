"""Identifiers and paths as distinct types, so that one cannot be taken for another."""

from __future__ import annotations

from typing import NewType

ContainerId = NewType("ContainerId", str)
"""64 lower-case hexadecimal digits."""

ExecId = NewType("ExecId", str)
"""64 lower-case hexadecimal digits."""

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hexadecimal digits."""

ImageId = NewType("ImageId", str)
"""The digest of the image's config JSON, ``sha256:`` included."""
