"""The network record: what the engine keeps of one network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec

OPTION_BRIDGE = "com.docker.network.bridge.name"
OPTION_DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
OPTION_ICC = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
OPTION_GATEWAY_MODE_4 = "com.docker.network.bridge.gateway_mode_ipv4"
OPTION_GATEWAY_MODE_6 = "com.docker.network.bridge.gateway_mode_ipv6"
OPTION_INHIBIT_4 = "com.docker.network.bridge.inhibit_ipv4"
OPTION_TRUSTED = "com.docker.network.bridge.trusted_host_interfaces"
OPTION_MTU = "com.docker.network.driver.mtu"
OPTION_PREFIX = "com.docker.network.container_iface_prefix"
OPTION_HOST_4 = "com.docker.network.host_ipv4"
OPTION_HOST_6 = "com.docker.network.host_ipv6"

OPTION_ADVERTISE_COUNT = "com.docker.network.advertise_addr_nmsgs"
OPTION_ADVERTISE_MS = "com.docker.network.advertise_addr_ms"
OPTION_PARENT = "parent"
OPTION_MACVLAN_MODE = "macvlan_mode"
OPTION_IPVLAN_MODE = "ipvlan_mode"
OPTION_IPVLAN_FLAG = "ipvlan_flag"

DEFAULT_MTU = 1500
WITH_PARENT = frozenset({"macvlan", "ipvlan"})
"""Drivers whose interfaces are made upon one of the host's."""

GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")
"""How a network meets the outside; see docs/networks.md."""


class IpamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet of a network, in CIDR form. ``ip_range`` narrows what is handed out.

    ``auxiliary`` are addresses, by a name of the user's choice, that others than containers
    have. ``given`` says that the user chose the subnet.
    """

    subnet: str
    gateway: str
    ip_range: str = ""
    auxiliary: dict[str, str] = {}
    given: bool = False

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.subnet else 4

    @property
    def prefix_length(self) -> int:
        """Of the subnet."""
        return int(self.subnet.rpartition("/")[2])

    @property
    def gateway_cidr(self) -> str:
        """The gateway as an interface's address."""
        return f"{self.gateway}/{self.prefix_length}"


class NetworkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One network. ``driver``: ``bridge``, ``macvlan``, ``ipvlan``, ``host`` or ``null``."""

    id: str
    name: str
    driver: str
    created: str
    scope: str = "local"
    internal: bool = False
    attachable: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam: list[IpamConfig] = []
    ipam_options: dict[str, str] | None = None
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    adopted: bool = False
    """The bridge, or parent, was there before us, and stays when the network goes."""

    config_only: bool = False
    """It holds settings for others, and nobody is on it."""
    config_from: str = ""
    """The name of the network whose settings it took."""

    def find_pool(self, version: int, address: str = "") -> IpamConfig | None:
        """Return the subnet of IP ``version`` if the network has one: the first, or ``address``'s.

        Raises ValueError where ``address`` is none.
        """
        return next(
            (
                pool
                for pool in self.ipam
                if pool.version == version
                and (not address or ip_address(address) in ip_network(pool.subnet))
            ),
            None,
        )

    @property
    def subnet(self) -> str:
        """The IPv4 subnet, or "" for a network without one."""
        pool = self.find_pool(4)
        return pool.subnet if pool else ""

    @property
    def gateway(self) -> str:
        """The bridge's IPv4 address, or ""."""
        pool = self.find_pool(4)
        return pool.gateway if pool else ""

    @property
    def bridge(self) -> str:
        """The bridge device's name, or ""."""
        if self.driver != "bridge":
            return ""
        return self.options.get(OPTION_BRIDGE) or f"br-{self.id[:12]}"

    @property
    def wired(self) -> bool:
        """Whether its containers have interfaces and addresses there."""
        return self.driver == "bridge" or self.driver in WITH_PARENT

    @property
    def parent(self) -> str:
        """The host's interface upon which those of containers are made, or ""."""
        if self.driver not in WITH_PARENT:
            return ""
        return self.options.get(OPTION_PARENT) or f"dm-{self.id[:12]}"

    @property
    def device(self) -> str:
        """The host's interface that carries the network: its bridge or its parent."""
        return self.bridge or self.parent

    @property
    def link_mode(self) -> str:
        """``macvlan_mode`` or ``ipvlan_mode``."""
        if self.driver == "macvlan":
            return self.options.get(OPTION_MACVLAN_MODE) or "bridge"
        return self.options.get(OPTION_IPVLAN_MODE) or "l2"

    @property
    def leads_out(self) -> bool:
        """Whether packets can leave by it: it is not internal, and not upon a dummy."""
        without_parent = self.driver in WITH_PARENT and not self.options.get(OPTION_PARENT)
        return not self.internal and not without_parent

    @property
    def mtu(self) -> int:
        """MTU of the network's interfaces in bytes; 0 is their parent's."""
        given = int(self.options.get(OPTION_MTU) or 0)
        return given or (0 if self.parent else DEFAULT_MTU)

    @property
    def advertisements(self) -> int:
        """How often neighbours are told of a new endpoint's addresses.

        dockerd's default is 3; on a bridge of the host none gets lost, and 1 will do.
        """
        return int(self.options.get(OPTION_ADVERTISE_COUNT) or 1)

    @property
    def advertise_interval_s(self) -> float:
        """How long the next time is waited for."""
        return int(self.options.get(OPTION_ADVERTISE_MS) or 1000) / 1000

    @property
    def icc(self) -> bool:
        """Whether its containers may talk to each other."""
        return is_on(self.options, OPTION_ICC)

    @property
    def masquerade(self) -> bool:
        """Whether what leaves for elsewhere takes the host's address."""
        return is_on(self.options, OPTION_MASQUERADE) and not self.internal

    @property
    def interface_prefix(self) -> str:
        """What the names of interfaces in containers begin with."""
        return self.options.get(OPTION_PREFIX) or "eth"

    @property
    def trusted(self) -> list[str]:
        """The host's interfaces by which published ports are reached at containers' addresses."""
        return [name for name in self.options.get(OPTION_TRUSTED, "").split(":") if name]

    def gateway_mode(self, version: int) -> str:
        """Return the mode of IP ``version``: one of GATEWAY_MODES."""
        option = OPTION_GATEWAY_MODE_4 if version == 4 else OPTION_GATEWAY_MODE_6
        return self.options.get(option) or "nat"

    def has_host_address(self, version: int) -> bool:
        """Whether the host has an address on the bridge."""
        inhibited = version == 4 and is_on(self.options, OPTION_INHIBIT_4, default=False)
        return self.gateway_mode(version) != "isolated" and not inhibited

    def route_gateway(self, version: int, address: str = "") -> str:
        """Return the default gateway of the container that has ``address``.

        Without: of those in the first subnet. "" if the network has no way out.
        """
        pool = self.find_pool(version, address)
        if pool is None or not self.leads_out:
            return ""
        if self.driver == "ipvlan" and self.link_mode != "l2":
            return "0.0.0.0" if version == 4 else "::"  # noqa: S104 - by the interface itself
        return pool.gateway


TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def is_on(options: dict[str, str], name: str, *, default: bool = True) -> bool:
    """Read a boolean option, checked when the network was made."""
    value = options.get(name, "")
    return value in TRUE if value else default
