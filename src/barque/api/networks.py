"""Networks: list and inspect."""

from __future__ import annotations

from typing import Any

from barque.api.contracts import Engine
from barque.api.filters import Filters, get_flag, match_pattern, parse_filters
from barque.api.http import Call, Reply, reply_json
from barque.engine.filters import match_labels
from barque.errors import InvalidArgument
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord

_KEYS = frozenset("dangling driver id label label! name scope type".split())
_BUILTIN = frozenset({"bridge", "host", "none"})
_TYPES = frozenset({"custom", "builtin"})
_ENABLE_IPV4_SINCE = 48


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
        document["EnableIPv4"] = True
    pools: list[dict[str, str]] = []
    for pool in network.ipam:
        entry = {"Subnet": pool.subnet, "Gateway": pool.gateway}
        pools.append(entry | ({"IPRange": pool.ip_range} if pool.ip_range else {}))
    return document | {
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": pools},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    }
