"""What a network may be: a create request, checked and turned into a record. Pure functions.

Texts and statuses are dockerd's (libnetwork's controller and bridge driver, the Engine API's
NetworkCreate), on which clients match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from msgspec import structs

from barque.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    NotImplementedHere,
    PermissionDenied,
    Unavailable,
)
from barque.kernel.netlink import IPVLAN_FLAGS, IPVLAN_MODES, MACVLAN_MODES
from barque.models.api import Ipam, IpamPool, NetworkRequest
from barque.models.network import (
    FALSE,
    GATEWAY_MODES,
    OPTION_ADVERTISE_COUNT,
    OPTION_ADVERTISE_MS,
    OPTION_BRIDGE,
    OPTION_GATEWAY_MODE_4,
    OPTION_GATEWAY_MODE_6,
    OPTION_HOST_4,
    OPTION_HOST_6,
    OPTION_HOST_BINDING,
    OPTION_ICC,
    OPTION_INHIBIT_4,
    OPTION_IPVLAN_FLAG,
    OPTION_IPVLAN_MODE,
    OPTION_MACVLAN_MODE,
    OPTION_MASQUERADE,
    OPTION_MTU,
    OPTION_PARENT,
    OPTION_PREFIX,
    OPTION_TRUSTED,
    TRUE,
    WITH_PARENT,
    IpamConfig,
    NetworkRecord,
)
from barque.network.ipam import AnyNetwork, find_overlap, first_host
from barque.network.modes import PREDEFINED

_OPTION_PREFIX = "com.docker.network."
_ENABLE_4 = "com.docker.network.enable_ipv4"
_ENABLE_6 = "com.docker.network.enable_ipv6"
_BOOLEANS = (OPTION_ICC, OPTION_MASQUERADE, OPTION_INHIBIT_4, _ENABLE_4, _ENABLE_6)
_KNOWN = frozenset({
    *_BOOLEANS, OPTION_BRIDGE, OPTION_GATEWAY_MODE_4, OPTION_GATEWAY_MODE_6, OPTION_HOST_4,
    OPTION_HOST_6, OPTION_HOST_BINDING, OPTION_MTU, OPTION_PREFIX, OPTION_TRUSTED,
    "com.docker.network.bridge.default_bridge",
    OPTION_ADVERTISE_COUNT, OPTION_ADVERTISE_MS,
})  # fmt: skip
_ACCEPTED_WITHOUT_EFFECT = "com.docker.network.generic"
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,14}")
_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,11}")


def check_request(request: NetworkRequest, others: Iterable[NetworkRecord]) -> None:
    """Refuse a network that cannot be, or that this engine does not have.

    Raises InvalidArgument, PermissionDenied, AlreadyExists, NotFound, Unavailable,
    NotImplementedHere.
    """
    if not request.name.strip():
        raise InvalidArgument("invalid name: name is empty")
    if request.name in PREDEFINED:
        raise PermissionDenied(f"operation is not permitted on predefined {request.name} network ")
    others = list(others)
    if any(other.name == request.name for other in others):
        raise AlreadyExists(f"network with name {request.name} already exists")
    _check_driver(request)
    _check_configuration(request)
    if request.ingress:
        raise PermissionDenied("Ingress network can only be global scope network")
    if request.scope not in {"", "local"}:
        raise Unavailable(
            f"network scope {request.scope}: this node is not a swarm manager, networks are local"
        )
    ipam = request.ipam or Ipam()
    if ipam.driver not in {"", "default"}:
        raise NotFound(
            f"could not find plugin {ipam.driver} in v1 plugin registry: plugin not found"
        )
    if request.config_only:
        return  # its options are those of a driver that is not known yet
    _check_advertising(request.driver, request.options or {})
    if request.driver in WITH_PARENT:
        _check_parent(request, others)
    else:
        _check_options(request)
        _check_bridge_name(request, others)


def _check_configuration(request: NetworkRequest) -> None:
    taken = bool(request.config_from and request.config_from.network)
    if request.config_only:
        if request.ingress or request.internal or request.attachable or request.scope:
            raise PermissionDenied(
                "configuration network can only contain network specific fields. Network operator "
                "fields like [ ingress | internal | attachable | scope ] are not supported."
            )
        if taken:
            raise PermissionDenied(
                "a configuration network cannot depend on another configuration network"
            )
    if not taken:
        return
    ipam = request.ipam or Ipam()
    if request.labels or request.enable_ipv6 or ipam.config or ipam.options:
        raise PermissionDenied(
            "user specified configurations are not supported if the network depends on a "
            "configuration network"
        )
    if request.options:
        raise PermissionDenied(
            "network driver options are not supported if the network depends on a configuration "
            "network"
        )


def take_configuration(request: NetworkRequest, others: Iterable[NetworkRecord]) -> NetworkRequest:
    """Return the request with the settings of the network that it takes them from.

    Raises NotFound if there is none of that name that holds settings.
    """
    wanted = request.config_from.network if request.config_from else ""
    if not wanted:
        return request
    for other in others:
        if other.config_only and wanted in (other.name, other.id):
            pools = [
                IpamPool(
                    subnet=pool.subnet,
                    ip_range=pool.ip_range,
                    gateway=pool.gateway,
                    auxiliary_addresses=pool.auxiliary,
                )
                for pool in other.ipam
            ]
            return structs.replace(
                request,
                enable_ipv4=other.enable_ipv4,
                enable_ipv6=other.enable_ipv6,
                ipam=Ipam(options=other.ipam_options, config=pools),
                options=other.options,
                labels=other.labels,
            )
    raise NotFound(f'configuration network "{wanted}" not found')


def _check_driver(request: NetworkRequest) -> None:
    match request.driver:
        case "" | "bridge" | "default" | "macvlan" | "ipvlan":
            return
        case "host" | "null":
            raise PermissionDenied(f'only one instance of "{request.driver}" network is allowed')
        case "overlay":
            raise PermissionDenied(
                'This node is not a swarm manager. Use "docker swarm init" or "docker swarm '
                'join" to connect this node to swarm and try again.'
            )
        case driver:
            raise NotFound(
                f"could not find plugin {driver} in v1 plugin registry: plugin not found"
            )


def _check_parent(request: NetworkRequest, others: list[NetworkRecord]) -> None:
    options = request.options or {}
    driver = request.driver
    parent = options.get(OPTION_PARENT, "")
    if parent == "lo":
        raise InvalidArgument(f"loopback interface is not a valid {driver} parent link")
    if parent and not _DEVICE.fullmatch(parent):
        raise InvalidArgument(f"invalid parent interface name {parent!r}")
    known: dict[str, tuple[str, Mapping[str, int]]] = {
        OPTION_MACVLAN_MODE: ("bridge", MACVLAN_MODES),
        OPTION_IPVLAN_MODE: ("l2", IPVLAN_MODES),
        OPTION_IPVLAN_FLAG: ("bridge", IPVLAN_FLAGS),
    }
    for option, (default, values) in known.items():
        value = options.get(option, "")
        if option.startswith(driver) and value and value not in values:
            what = option.replace("_", " ")
            raise InvalidArgument(
                f"requested {what} '{value}' is not valid, '{default}' {what.rpartition(' ')[2]} "
                f"is the {driver} driver default"
            )
    _check_mtu(options)
    for other in others:
        if not parent or other.parent != parent:
            continue
        alone = options.get(OPTION_MACVLAN_MODE) == "passthru"
        if driver == other.driver == "macvlan" and (alone or other.link_mode == "passthru"):
            raise PermissionDenied(
                f"cannot use mode passthru, macvlan network {other.name} is already using parent "
                f"interface {parent}"
            )


def _check_options(request: NetworkRequest) -> None:
    options = request.options or {}
    for name in options:
        known = name in _KNOWN or name.startswith(_ACCEPTED_WITHOUT_EFFECT)
        if name.startswith(_OPTION_PREFIX) and not known:
            raise NotImplementedHere(
                f"network option {name} is not implemented in this version of barque"
            )
    for name in _BOOLEANS:
        value = options.get(name, "")
        if value and value not in TRUE | FALSE:
            raise InvalidArgument(
                f'invalid value for {name}: strconv.ParseBool: parsing "{value}": invalid syntax'
            )
    _check_mtu(options)
    for name in (OPTION_GATEWAY_MODE_4, OPTION_GATEWAY_MODE_6):
        mode = options.get(name, "")
        if mode and mode not in GATEWAY_MODES:
            raise InvalidArgument(f"unknown gateway mode {mode}")
        if mode == "isolated" and not request.internal:
            raise InvalidArgument(
                "gateway mode 'isolated' can only be used for an internal network"
            )
    for name, version in ((OPTION_HOST_BINDING, 0), (OPTION_HOST_4, 4), (OPTION_HOST_6, 6)):
        if value := options.get(name, ""):
            _parse_address(name, value, version)
    for device in filter(None, options.get(OPTION_TRUSTED, "").split(":")):
        if not _DEVICE.fullmatch(device):
            raise InvalidArgument(f"invalid {OPTION_TRUSTED}: {device!r} is no interface's name")
    prefix = options.get(OPTION_PREFIX, "")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise InvalidArgument(f"invalid {OPTION_PREFIX} {prefix!r}: 1 to 12 characters of a name")


def _check_mtu(options: Mapping[str, str]) -> None:
    mtu = options.get(OPTION_MTU, "")
    if mtu and not (mtu.isascii() and mtu.isdigit() and 68 <= int(mtu) <= 65535):
        raise InvalidArgument(f"invalid MTU number: {mtu}: it must be 68 to 65535")


def _check_advertising(driver: str, options: Mapping[str, str]) -> None:
    for name, least, most, unit in (
        (OPTION_ADVERTISE_COUNT, 0, 3, "an integer"),
        (OPTION_ADVERTISE_MS, 100, 2000, "integer milliseconds"),
    ):
        value = options.get(name, "")
        if not value:
            continue
        if not (value.isascii() and value.isdigit()):
            raise InvalidArgument(f'value for option {name} "{value}" must be {unit}')
        if not least <= int(value) <= most:
            raise InvalidArgument(f"{name} must be in the range {least} to {most}")
        if driver not in {"", "bridge"}:
            raise NotImplementedHere(
                f"network option {name} is not implemented for the driver {driver} in this version "
                "of barque: only bridges are told of new addresses"
            )


def _check_bridge_name(request: NetworkRequest, others: list[NetworkRecord]) -> None:
    name = (request.options or {}).get(OPTION_BRIDGE, "")
    if not name:
        return
    if not _DEVICE.fullmatch(name):
        raise InvalidArgument(
            f'invalid bridge name "{name}": a device name has 1 to 15 of the characters A-Z a-z '
            "0-9 _ . - and does not begin with . or -"
        )
    for other in others:
        if other.bridge == name:
            raise PermissionDenied(
                f"cannot create network {request.name} ({name}): conflicts with network "
                f"{other.id} ({name}): networks have same bridge name"
            )


def wanted_versions(request: NetworkRequest) -> dict[int, bool]:
    """Return which of IPv4 and IPv6 the network has.

    Raises InvalidArgument if it has neither.
    """
    options = request.options or {}
    enabled = {
        4: _wants(request.enable_ipv4, options.get(_ENABLE_4, ""), default=True),
        6: _wants(request.enable_ipv6, options.get(_ENABLE_6, ""), default=False),
    }
    if not any(enabled.values()):
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    return enabled


def _wants(field: bool | None, option: str, *, default: bool) -> bool:
    if field is not None:
        return field
    return option in TRUE if option else default


def parse_pools(request: NetworkRequest) -> dict[int, list[IpamConfig]]:
    """Return the subnets asked for, by IP version; an empty ``subnet`` is to be chosen.

    IPv6 subnets are passed over when IPv6 is off. Raises InvalidArgument with all that is
    wrong, as dockerd joins it.
    """
    enabled = wanted_versions(request)
    wrong: list[str] = []
    found: dict[int, list[IpamConfig]] = {}
    for pool in (request.ipam.config if request.ipam else None) or ():
        try:
            config = _parse_pool(pool, wrong)
        except ValueError as error:
            wrong.append(f"invalid subnet {pool.subnet}: {error}")
            continue
        version = config.version if config.subnet or config.gateway else 4
        if version == 6 and not enabled[6]:
            continue
        if version in found and request.driver in {"", "bridge"}:
            raise PermissionDenied("bridge driver doesn't support multiple subnets")
        found.setdefault(version, []).append(config)
    if wrong:
        raise InvalidArgument("invalid network config:\n" + "\n".join(wrong))
    return found


def _parse_pool(pool: IpamPool, wrong: list[str]) -> IpamConfig:
    if not pool.subnet:
        if pool.gateway or pool.ip_range or pool.auxiliary_addresses:
            wrong.append("invalid network config: gateway, range and addresses need a subnet")
        return IpamConfig(subnet="", gateway="")
    subnet = ip_network(pool.subnet, strict=False)
    if str(ip_network(pool.subnet.partition("/")[0]).network_address) != str(
        subnet.network_address
    ):
        wrong.append(f"invalid subnet {pool.subnet}: it should be {subnet}")
    if pool.ip_range:
        _check_range(pool.ip_range, subnet, wrong)
    gateway = ""
    if pool.gateway:
        gateway = _check_member("gateway", pool.gateway.partition("/")[0], subnet, wrong)
    auxiliary = {
        name: _check_member("auxiliary address", address, subnet, wrong)
        for name, address in (pool.auxiliary_addresses or {}).items()
    }
    return IpamConfig(
        subnet=str(subnet),
        gateway=gateway or str(first_host(subnet)),
        ip_range=str(ip_network(pool.ip_range, strict=False)) if pool.ip_range else "",
        auxiliary=auxiliary,
        given=True,
    )


def _check_range(text: str, subnet: AnyNetwork, wrong: list[str]) -> None:
    inner = ip_network(text, strict=False)
    if inner.version != subnet.version:
        wrong.append(f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block")
    elif inner.prefixlen < subnet.prefixlen:
        wrong.append(
            f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
        )
    elif find_overlap(inner, [subnet]) is None:
        wrong.append(f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range")
    elif text.partition("/")[0] != str(inner.network_address):
        wrong.append(f"invalid ip-range {text}: it should be {inner}")


def _check_member(what: str, text: str, subnet: AnyNetwork, wrong: list[str]) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        wrong.append(f"invalid {what} {text}: invalid address")
        return text
    if address.version != subnet.version:
        wrong.append(f"invalid {what} {text}: parent subnet is an IPv{subnet.version} block")
    elif not int(subnet.network_address) <= int(address) <= int(subnet.broadcast_address):
        wrong.append(f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address")
    return str(address)


def _parse_address(name: str, value: str, version: int) -> None:
    try:
        address = ip_address(value)
    except ValueError:
        raise InvalidArgument(f"invalid {name} {value!r}: not an IP address") from None
    if version and address.version != version:
        raise InvalidArgument(f"invalid {name} {value!r}: an IPv{version} address is needed")
