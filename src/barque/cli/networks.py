"""``network create|connect|disconnect|ls|rm`` (Engine API: the network resource)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation, each
from barque.cli.listing import natural_key, render, render_column
from barque.cli.volumes import parse_labels
from barque.client.errors import ApiError
from barque.client.http import encode_filters, quote_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _ls(call: Invocation) -> int:
    from barque.cli.rows.networks import (  # noqa: PLC0415 - not for the others
        DEFAULT,
        NETWORKS,
        RAW,
        NetworkRow,
    )

    flags = call.flags
    layout = flags["format"]
    if not layout and not flags["quiet"]:
        layout = call.settings.config.get("networksFormat", "")
    found = call.client.get("/networks", query={"filters": encode_filters(flags["filter"])})
    rows = [
        NetworkRow(network, truncate=not flags["no-trunc"])
        for network in sorted(found, key=lambda network: natural_key(network["Name"]))
    ]
    if flags["quiet"] and layout in ("", "table"):
        sys.stdout.write(render_column(NETWORKS, rows, "ID"))
        return 0
    if layout == "raw":
        layout = "network_id: {{.ID}}" if flags["quiet"] else RAW
    sys.stdout.write(render(NETWORKS, rows, layout, DEFAULT))
    return 0


def _address_pools(call: Invocation) -> list[dict[str, Any]]:
    """Each subnet with the range, gateway and auxiliary addresses that lie in it."""
    from ipaddress import ip_address, ip_network  # noqa: PLC0415 - only for subnets

    flags = call.flags
    subnets: list[str] = flags["subnet"]
    if len(subnets) < max(len(flags["ip-range"]), len(flags["gateway"])):
        raise CommandError("every ip-range or gateway must have a corresponding subnet")
    try:
        nets = [ip_network(subnet, strict=False) for subnet in subnets]
        pools: list[dict[str, Any]] = [{"Subnet": subnet} for subnet in subnets]
        for place, net in enumerate(nets):
            if any(net.version == other.version and net.overlaps(other) for other in nets[:place]):
                raise CommandError("multiple overlapping subnet configuration is not supported")
        wanted = [("IPRange", "range", text) for text in flags["ip-range"]]
        wanted += [("Gateway", "gateway", text) for text in flags["gateway"]]
        for member, what, text in wanted:
            address = ip_network(text, strict=False).network_address
            pool = next((p for p, net in zip(pools, nets, strict=True) if address in net), None)
            if pool is None:
                raise CommandError(f"no matching subnet for {what} {text}")
            if member in pool:
                raise CommandError(
                    f"cannot configure multiple {what}s ({text}, {pool[member]}) "
                    f"on the same subnet ({pool['Subnet']})"
                )
            pool[member] = text
        for key, text in flags["aux-address"].items():
            address = ip_address(text)
            pool = next((p for p, net in zip(pools, nets, strict=True) if address in net), None)
            if pool is None:
                raise CommandError(f"no matching subnet for aux-address {text}")
            pool.setdefault("AuxiliaryAddresses", {})[key] = text
    except ValueError as error:
        raise CommandError(f"invalid address: {error}") from None
    return pools


def _create(call: Invocation) -> int:
    flags = call.flags
    pools: list[dict[str, Any]] = []
    if flags["subnet"] or flags["ip-range"] or flags["gateway"] or flags["aux-address"]:
        pools = _address_pools(call)
    body: dict[str, Any] = {
        "Name": call.args[0],
        "Driver": flags["driver"],
        "Options": flags["opt"],
        "IPAM": {"Driver": flags["ipam-driver"], "Options": flags["ipam-opt"], "Config": pools},
        "Internal": flags["internal"],
        "Attachable": flags["attachable"],
        "Ingress": flags["ingress"],
        "Scope": flags["scope"],
        "ConfigOnly": flags["config-only"],
        "Labels": parse_labels(flags["label"]),
    }
    if flags["config-from"]:
        body["ConfigFrom"] = {"Network": flags["config-from"]}
    if flags.changed("ipv4"):
        body["EnableIPv4"] = flags["ipv4"]
    if flags.changed("ipv6"):
        body["EnableIPv6"] = flags["ipv6"]
    created = call.client.post("/networks/create", body=body)
    if created.get("Warning"):
        sys.stderr.write(f"WARNING: {created['Warning']}\n")
    sys.stdout.write(created["Id"] + "\n")
    return 0


def _connect(call: Invocation) -> int:
    flags = call.flags
    network, container = call.args
    addresses = {
        "IPv4Address": flags["ip"],
        "IPv6Address": flags["ip6"],
        "LinkLocalIPs": flags["link-local-ip"],
    }
    endpoint = {
        "IPAMConfig": {key: value for key, value in addresses.items() if value},
        "Links": flags["link"] or None,
        "Aliases": flags["alias"] or None,
        "DriverOpts": parse_labels(flags["driver-opt"]) or None,
        "GwPriority": flags["gw-priority"],
    }
    call.client.post(
        f"/networks/{quote_segment(network)}/connect",
        body={"Container": container, "EndpointConfig": endpoint},
    )
    return 0


def _disconnect(call: Invocation) -> int:
    network, container = call.args
    call.client.post(
        f"/networks/{quote_segment(network)}/disconnect",
        body={"Container": container, "Force": call.flags["force"]},
    )
    return 0


def _rm(call: Invocation) -> int:
    force = call.flags["force"]

    def remove(name: str) -> None:
        try:
            call.client.delete(f"/networks/{quote_segment(name)}")
        except ApiError as error:
            if force and error.status == 404:
                return
            raise
        sys.stdout.write(name + "\n")

    return each(call.args, remove)


LS = Command(
    "[OPTIONS]",
    _ls,
    maximum=0,
    flags=(
        Flag("filter", "filter", 'Provide filter values (e.g. "driver=bridge")', short="f"),
        Flag("format", "string", "Format output: 'table', 'json', a Go template"),
        Flag("no-trunc", "bool", "Do not truncate the output"),
        Flag("quiet", "bool", "Only display network IDs", short="q"),
    ),
)

CREATE = Command(
    "[OPTIONS] NETWORK",
    _create,
    minimum=1,
    maximum=1,
    flags=(
        Flag("attachable", "bool", "Enable manual container attachment"),
        Flag("aux-address", "map", "Auxiliary IPv4 or IPv6 addresses used by Network driver"),
        Flag("config-from", "string", "The network from which to copy the configuration"),
        Flag("config-only", "bool", "Create a configuration only network"),
        Flag("driver", "string", "Driver to manage the Network", short="d", default="bridge"),
        Flag("gateway", "strings", "IPv4 or IPv6 Gateway for the master subnet"),
        Flag("ingress", "bool", "Create swarm routing-mesh network"),
        Flag("internal", "bool", "Restrict external access to the network"),
        Flag("ip-range", "strings", "Allocate container ip from a sub-range"),
        Flag("ipam-driver", "string", "IP Address Management Driver", default="default"),
        Flag("ipam-opt", "map", "Set IPAM driver specific options"),
        Flag("ipv4", "bool", "Enable or disable IPv4 address assignment", default=True),
        Flag("ipv6", "bool", "Enable or disable IPv6 address assignment"),
        Flag("label", "list", "Set metadata on a network"),
        Flag("opt", "map", "Set driver specific options", short="o"),
        Flag("scope", "string", "Control the network's scope"),
        Flag("subnet", "strings", "Subnet in CIDR format that represents a network segment"),
    ),
)

CONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _connect,
    minimum=2,
    maximum=2,
    flags=(
        Flag("alias", "strings", "Add network-scoped alias for the container"),
        Flag("driver-opt", "strings", "driver options for the network"),
        Flag(
            "gw-priority",
            "int",
            "Highest gw-priority provides the default gateway. "
            "Accepts positive and negative values.",
        ),
        Flag("ip", "string", 'IPv4 address (e.g., "172.30.100.104")'),
        Flag("ip6", "string", 'IPv6 address (e.g., "2001:db8::33")'),
        Flag("link", "list", "Add link to another container"),
        Flag("link-local-ip", "strings", "Add a link-local address for the container"),
    ),
)

DISCONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _disconnect,
    minimum=2,
    maximum=2,
    flags=(Flag("force", "bool", "Force the container to disconnect from a network", short="f"),),
)

RM = Command(
    "NETWORK [NETWORK...]",
    _rm,
    minimum=1,
    flags=(Flag("force", "bool", "Do not error if the network does not exist", short="f"),),
)
