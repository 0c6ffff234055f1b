"""The network record: what the engine keeps of one network."""

from __future__ import annotations

import msgspec

OPTION_BRIDGE = "com.docker.network.bridge.name"
OPTION_DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
OPTION_ICC = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
OPTION_MTU = "com.docker.network.driver.mtu"


class IpamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet of a network, in CIDR form. ``ip_range`` narrows what is handed out."""

    subnet: str
    gateway: str
    ip_range: str = ""


class NetworkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One network. ``driver`` is ``bridge``, ``host`` or ``null``."""

    id: str
    name: str
    driver: str
    created: str
    scope: str = "local"
    internal: bool = False
    ipam: list[IpamConfig] = []
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    adopted: bool = False
    """The bridge was there before us, and stays when the network goes."""

    @property
    def subnet(self) -> str:
        """The IPv4 subnet, or "" for a network without addresses."""
        return self.ipam[0].subnet if self.ipam else ""

    @property
    def gateway(self) -> str:
        """The bridge's IPv4 address, or ""."""
        return self.ipam[0].gateway if self.ipam else ""

    @property
    def bridge(self) -> str:
        """The bridge device's name, or ""."""
        return self.options.get(OPTION_BRIDGE, "")

    @property
    def mtu(self) -> int:
        """MTU of the network's interfaces in bytes."""
        return int(self.options.get(OPTION_MTU, "1500"))
