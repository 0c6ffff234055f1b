"""What one container has of the network while it runs, beside what its record says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from barque.models.api import EndpointSettings
from barque.models.launch import Interface
from barque.network.attachment import Attachment
from barque.network.endpoints import Asked, is_named
from barque.network.ports import Held
from barque.network.resolver import Resolver


@dataclass(eq=False)
class Place:
    """It is made when a container is given its first address, and ``ended`` with the run.

    Who waits for something meanwhile looks at ``ended`` afterwards: what the container had has
    been given back then, and nothing may be added.
    """

    asked: list[Asked]
    """The networks that it is on, with their endpoints as they are."""
    held: Held = field(default_factory=Held)
    resolver: Resolver | None = None
    namespace_fd: int = -1
    """Of the container's network namespace, where something is done in it now and then."""
    inside: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while interfaces are made inside, or the sockets of a resolver opened: port 53 leads to
    those opened last."""
    ended: bool = False

    def has(self, endpoint: EndpointSettings) -> bool:
        """Whether the container, still the same run of it, has this endpoint."""
        return not self.ended and any(
            there.endpoint_id == endpoint.endpoint_id for _, there in self.asked
        )

    def attachment(self, sandbox_id: str, interfaces: Sequence[Interface] = ()) -> Attachment:
        """Return it as the engine records it; ``interfaces`` are to be made at a start."""
        return Attachment(
            interfaces=[*interfaces],
            networks={network.name: endpoint for network, endpoint in self.asked},
            ports=self.held.published,
            sandbox_id=sandbox_id,
            named=is_named(self.asked),
        )
