"""The volume record: a directory that outlives containers."""

from __future__ import annotations

import msgspec


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One volume. ``mountpoint`` is the host path of its ``_data`` directory."""

    name: str
    mountpoint: str
    created: str
    driver: str = "local"
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    anonymous: bool = False
