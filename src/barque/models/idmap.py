"""Which ids of the host a user namespace has for its own.

Source: user_namespaces(7).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from barque.models.oci import IdMapping

NOBODY = 65534
"""What the kernel shows where an id has no counterpart (overflowuid)."""


class IdMap(msgspec.Struct, frozen=True, kw_only=True):
    """The mappings of a user namespace."""

    uids: list[IdMapping]
    gids: list[IdMapping]

    @property
    def root(self) -> tuple[int, int]:
        """The host's ids of the namespace's root, NOBODY where it has none."""
        return to_host(self.uids, 0), to_host(self.gids, 0)


def to_host(mappings: Sequence[IdMapping], inside: int) -> int:
    """The host's id of the id ``inside``, NOBODY where there is none."""
    for mapping in mappings:
        if 0 <= inside - mapping.container_id < mapping.size:
            return mapping.host_id + inside - mapping.container_id
    return NOBODY


def to_inside(mappings: Sequence[IdMapping], outside: int) -> int:
    """The id inside of the host's id ``outside``, NOBODY where there is none."""
    for mapping in mappings:
        if 0 <= outside - mapping.host_id < mapping.size:
            return mapping.container_id + outside - mapping.host_id
    return NOBODY
