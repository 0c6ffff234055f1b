"""Networks: list, inspect, create, remove, connect, disconnect, prune."""

from __future__ import annotations

from typing import Any

import msgspec

from barque.api import decode
from barque.api.contracts import Engine
from barque.api.filters import Filters, get_flag, match_pattern, parse_filters
from barque.api.http import Call, Reply, no_content, reply_json
from barque.engine.filters import match_labels
from barque.errors import InvalidArgument
from barque.models.api import EndpointSettings, NetworkRequest
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord

_KEYS = frozenset("dangling driver id label label! name scope type".split())
_BUILTIN = frozenset({"bridge", "host", "none"})
_TYPES = frozenset({"custom", "builtin"})
_PRUNE_KEYS = frozenset({"label", "label!", "until"})
_ENABLE_IPV4_SINCE = 48
_CREATE_ENABLE_IPV4_SINCE = 47
_GW_PRIORITY_SINCE = 48


class NetworkConnect(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of NetworkConnect."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnect(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of NetworkDisconnect."""

    container: str = ""
    force: bool = False


class Networks:
    """Operations on networks."""

    def __init__(self, engine: Engine) -> None:
        self._networks = engine.networks
        self._containers = engine.containers

    async def list_networks(self, call: Call) -> Reply:
        """List networks. The containers on each are shown by inspect only."""
        filters = parse_filters(call.text("filters"), _KEYS)
        if any(value not in _TYPES for value in filters.get("type", ())):
            raise InvalidArgument(f"invalid filter: 'type'={filters['type'][0]}")
        return reply_json(
            [
                render_network(network, call.minor, {})
                for network in self._networks.list()
                if self._match(network, filters)
            ]
        )

    async def inspect(self, call: Call) -> Reply:
        """Describe a network and the running containers on it."""
        network = self._networks.get(call.name)
        return reply_json(render_network(network, call.minor, self._list_endpoints(network)))

    async def create(self, call: Call) -> Reply:
        """Make a network."""
        request = decode.convert(await call.json(), NetworkRequest)
        if call.minor < _CREATE_ENABLE_IPV4_SINCE:
            request.enable_ipv4 = None
        record = await self._networks.create(request)
        return reply_json({"Id": record.id, "Warning": ""}, status=201)

    async def remove(self, call: Call) -> Reply:
        """Remove a network that no running container is on."""
        await self._networks.remove(call.name)
        return no_content()

    async def connect(self, call: Call) -> Reply:
        """Put a container on the network."""
        body = decode.convert(await call.json(), NetworkConnect)
        endpoint = body.endpoint_config or EndpointSettings()
        if call.minor < _GW_PRIORITY_SINCE:
            endpoint.gw_priority = 0
        await self._networks.connect(call.name, body.container, endpoint)
        return Reply()

    async def disconnect(self, call: Call) -> Reply:
        """Take a container off the network."""
        body = decode.convert(await call.json(), NetworkDisconnect)
        await self._networks.disconnect(call.name, body.container, force=body.force)
        return Reply()

    async def prune(self, call: Call) -> Reply:
        """Remove the networks that no container is on."""
        filters = parse_filters(call.text("filters"), _PRUNE_KEYS)
        removed = await self._networks.prune(filters)
        return reply_json({"NetworksDeleted": list(removed) or None})

    def _list_endpoints(self, network: NetworkRecord) -> dict[str, Any]:
        return {
            record.id: render_endpoint(record, network.name)
            for record in self._containers.list()
            if record.state.running
            and network.name in record.networks
            and record.networks[network.name].endpoint_id
        }

    def _match(self, network: NetworkRecord, filters: Filters) -> bool:
        builtin = "builtin" if network.name in _BUILTIN else "custom"
        dangling = filters.get("dangling")
        return (
            match_labels(network.labels, filters)
            and ("driver" not in filters or network.driver in filters["driver"])
            and ("id" not in filters or any(network.id.startswith(v) for v in filters["id"]))
            and ("name" not in filters or match_pattern(filters["name"], [network.name]))
            and ("scope" not in filters or network.scope in filters["scope"])
            and ("type" not in filters or builtin in filters["type"])
            and (
                not dangling
                or get_flag(filters, "dangling")
                is (builtin == "custom" and not self._list_endpoints(network))
            )
        )


def render_endpoint(record: ContainerRecord, network: str) -> dict[str, Any]:
    """Return one of a network's ``Containers``."""
    endpoint = record.networks[network]
    return {
        "Name": record.name,
        "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": f"{endpoint.ip_address}/{endpoint.ip_prefix_len}"
        if endpoint.ip_address
        else "",
        "IPv6Address": f"{endpoint.global_ipv6_address}/{endpoint.global_ipv6_prefix_len}"
        if endpoint.global_ipv6_address
        else "",
    }


def render_network(
    network: NetworkRecord, minor: int, containers: dict[str, Any]
) -> dict[str, Any]:
    """Return the network as inspect shows it."""
    document: dict[str, Any] = {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": network.scope,
        "Driver": network.driver,
    }
    if minor >= _ENABLE_IPV4_SINCE:
        document["EnableIPv4"] = network.enable_ipv4
    pools: list[dict[str, Any]] = []
    for pool in network.ipam:
        entry: dict[str, Any] = {"Subnet": pool.subnet}
        if pool.ip_range:
            entry["IPRange"] = pool.ip_range
        if pool.gateway:
            entry["Gateway"] = pool.gateway
        if pool.auxiliary:
            entry["AuxiliaryAddresses"] = pool.auxiliary
        pools.append(entry)
    return document | {
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {"Driver": "default", "Options": network.ipam_options, "Config": pools},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": network.config_from},
        "ConfigOnly": network.config_only,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    }
