"""Settings of the network part, with dockerd's names in daemon.json."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from barque.errors import InvalidArgument

DEFAULT_BRIDGE = "barque0"

_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,14}")

BIG_TCP_BYTES = 196608
"""How much of a TCP connection crosses a bridge as one packet; see docs/adr/0019."""


class AddressPool(msgspec.Struct, frozen=True, kw_only=True):
    """Where subnets are taken from: ``base`` cut in networks of prefix length ``size``."""

    base: str
    size: int


DEFAULT_ADDRESS_POOLS = (
    AddressPool(base="172.17.0.0/16", size=16),
    AddressPool(base="172.18.0.0/16", size=16),
    AddressPool(base="172.19.0.0/16", size=16),
    AddressPool(base="172.20.0.0/14", size=16),
    AddressPool(base="172.24.0.0/14", size=16),
    AddressPool(base="172.28.0.0/14", size=16),
    AddressPool(base="192.168.0.0/16", size=20),
)
"""dockerd's pools of scope local."""


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The daemon.json keys that concern networks. Empty means not given."""

    bridge: str = ""
    """Device of the default network; ``none``: there is no default network."""
    bip: str = ""
    """Its address and subnet: ``192.168.5.1/24``."""
    fixed_cidr: str = ""
    """The part of the subnet that is handed out."""
    mtu: int = 0
    ip: str = ""
    """Where ports of the default network are published that name no address."""
    icc: bool = True
    """Containers on the default network may talk to each other."""
    ip_masq: bool = True
    ip_forward: bool = True
    default_address_pools: list[AddressPool] = []
    dns: list[str] = []
    dns_opts: list[str] = []
    dns_search: list[str] = []
    host_gateway_ips: list[str] = []

    @property
    def device(self) -> str:
        """The bridge's name, or "" if there is to be no default network."""
        return "" if self.bridge == "none" else self.bridge or DEFAULT_BRIDGE

    @property
    def pools(self) -> tuple[AddressPool, ...]:
        """The pools in force."""
        return tuple(self.default_address_pools) or DEFAULT_ADDRESS_POOLS

    def validate(self) -> None:
        """Raise InvalidArgument naming the first key that makes no sense."""
        if self.device and not _DEVICE.fullmatch(self.device):
            raise InvalidArgument(
                f'bridge "{self.bridge}": a device name has 1 to 15 of the characters '
                "A-Z a-z 0-9 _ . - and does not begin with . or -"
            )
        if self.mtu and not 68 <= self.mtu <= 65535:
            raise InvalidArgument(f"mtu {self.mtu}: it must be 68 to 65535 bytes")
        if self.bip:
            _parse("bip", self.bip, ipaddress.IPv4Interface)
        if self.fixed_cidr:
            _parse("fixed-cidr", self.fixed_cidr, ipaddress.IPv4Network)
        for pool in self.default_address_pools:
            base = _parse("default-address-pools", pool.base, ipaddress.ip_network)
            most = base.max_prefixlen - 2
            if not base.prefixlen <= pool.size <= most:
                raise InvalidArgument(
                    f"default-address-pools: size {pool.size} of {pool.base} must be "
                    f"{base.prefixlen} to {most}"
                )
        for key, addresses in (
            ("dns", self.dns),
            ("host-gateway-ips", self.host_gateway_ips),
            ("ip", [self.ip] if self.ip else []),
        ):
            for address in addresses:
                _parse(key, address, ipaddress.ip_address)


_T = TypeVar("_T")


def _parse(key: str, value: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidArgument(f"{key}: {error}") from error
