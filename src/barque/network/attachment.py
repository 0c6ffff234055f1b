"""What a container gets of the network for one run."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from barque.models.api import EndpointSettings, PortBinding
from barque.models.ids import ContainerId
from barque.models.launch import Interface


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """The network side of one run.

    Neither ``host`` nor ``join``: a namespace of its own with ``lo`` and ``interfaces``.
    """

    interfaces: list[Interface] = []
    networks: dict[str, EndpointSettings] = {}
    """What the record's ``networks`` is while running."""
    ports: dict[str, list[PortBinding]] = {}
    """What the record's ``ports`` is while running: by ``80/tcp``."""
    sandbox_id: str = ""
    join: ContainerId | None = None
    """Share the network namespace (and the files) of this container."""
    host: bool = False
    """Stay in the host's network namespace."""
    named: bool = False
    """On a network of the user's own: names are resolved there, by 127.0.0.11."""


def clear_endpoints(networks: Mapping[str, EndpointSettings]) -> dict[str, EndpointSettings]:
    """Return the endpoints of a container that stopped: what was asked, without what was.

    The MAC address stays, so that a container keeps it over restarts, and so does the
    network's id.
    """
    return {
        name: EndpointSettings(
            ipam_config=endpoint.ipam_config,
            links=endpoint.links,
            aliases=endpoint.aliases,
            mac_address=endpoint.mac_address,
            driver_opts=endpoint.driver_opts,
            gw_priority=endpoint.gw_priority,
            network_id=endpoint.network_id,
            dns_names=endpoint.dns_names,
        )
        for name, endpoint in networks.items()
    }
