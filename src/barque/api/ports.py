"""Container ports as texts (``80``, ``80/udp``, ``8000-8010/tcp``) and as objects."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from barque.errors import InvalidArgument
from barque.models.container import ContainerRecord

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)


def parse_ports(text: str) -> set[tuple[int, str]]:
    """Read a port or range with its protocol (default tcp). Raises InvalidArgument."""
    match = _PORTS.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid port {text!r}: give port[-port][/tcp|udp|sctp]")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 <= first <= last <= 65535:
        raise InvalidArgument(f"invalid port {text!r}: ports go from 0 to 65535")
    protocol = (match[3] or "tcp").lower()
    return {(port, protocol) for port in range(first, last + 1)}


def list_exposed(record: ContainerRecord) -> list[tuple[int, str]]:
    """Return the ports that the container exposes, sorted."""
    ports: set[tuple[int, str]] = set()
    for text in (*(record.config.exposed_ports or ()), *(record.host_config.port_bindings or ())):
        ports |= parse_ports(text)
    return sorted(ports)


def has_ports(record: ContainerRecord) -> bool:
    """Tell whether ports are shown: the container runs and has a network of its own."""
    mode = record.host_config.network_mode
    return (
        record.state.running
        and not record.state.restarting
        and mode not in {"none", "host"}
        and not mode.startswith("container:")
    )


def summarise_ports(record: ContainerRecord) -> list[dict[str, Any]]:
    """Return ``Ports`` of a list entry."""
    if not has_ports(record):
        return []
    entries: list[dict[str, Any]] = []
    for port, protocol in list_exposed(record):
        private = {"PrivatePort": port, "Type": protocol}
        published = record.ports.get(f"{port}/{protocol}")
        if not published:
            entries.append(private)
            continue
        entries += [
            {"IP": binding.host_ip, "PublicPort": int(binding.host_port or 0), **private}
            for binding in published
        ]
    return entries


def map_ports(record: ContainerRecord) -> dict[str, Any]:
    """Return ``NetworkSettings.Ports`` of inspect."""
    if not has_ports(record):
        return {}
    names = [f"{port}/{protocol}" for port, protocol in list_exposed(record)]
    return {name: msgspec.to_builtins(record.ports.get(name)) for name in names}
