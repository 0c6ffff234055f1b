"""The networks themselves: their records, their bridges, and who has which address.

Records come first: a network is in the database before its bridge is made, and its bridge is
gone before the record is. Whatever an engine that was killed left in between, ``restore`` makes
the kernel what the records say.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import structs

from barque.errors import (
    BarqueError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from barque.models.api import NetworkRequest
from barque.models.ids import ContainerId
from barque.models.network import (
    DEFAULT_MTU,
    OPTION_BRIDGE,
    OPTION_DEFAULT_BRIDGE,
    OPTION_HOST_BINDING,
    OPTION_ICC,
    OPTION_MASQUERADE,
    OPTION_MTU,
    OPTION_PARENT,
    WITH_PARENT,
    IpamConfig,
    NetworkRecord,
)
from barque.network import bridge, files, parents
from barque.network.config import AddressPool, NetworkConfig
from barque.network.definition import (
    check_request,
    parse_pools,
    take_configuration,
    wanted_versions,
)
from barque.network.endpoints import BRIDGE
from barque.network.files import read
from barque.network.ipam import (
    Addresses,
    AddressesExhausted,
    AnyAddress,
    AnyNetwork,
    find_overlap,
    first_host,
)
from barque.store.networks import NetworkStore

HOST, NONE = "host", "none"

_ID_BYTES = 32
_LOCAL_PREFIX = 48
_ATTEMPTS = 16
_ANY_POOL = IpamConfig(subnet="", gateway="")

_log = logging.getLogger("barque.network")


class Catalog:
    """All networks of this engine. Use on the loop's thread."""

    def __init__(self, store: NetworkStore, config: NetworkConfig) -> None:
        self._store = store
        self._config = config
        self._records = {record.name: record for record in store.list()}
        self._addresses: dict[str, list[Addresses]] = {}
        self._held: dict[ContainerId, list[tuple[str, str]]] = {}
        """By container: (network id, address)."""

    # Looking up

    def list(self) -> list[NetworkRecord]:
        """Return all networks, by name."""
        return [self._records[name] for name in sorted(self._records)]

    def find(self, name: str) -> NetworkRecord | None:
        """Return the network of exactly this name, if there is one."""
        return self._records.get(name)

    def get(self, ref: str) -> NetworkRecord:
        """Return the network with this id, else this name, else this prefix of its id.

        Raises NotFound, or InvalidArgument for a prefix of several.
        """
        for record in self._records.values():
            if record.id == ref:
                return record
        if ref in self._records:
            return self._records[ref]
        found = [record for record in self._records.values() if ref and record.id.startswith(ref)]
        if len(found) > 1:
            raise InvalidArgument(
                f"network {ref} is ambiguous ({len(found)} matches found based on ID prefix)"
            )
        if not found:
            raise NotFound(f"network {ref} not found")
        return found[0]

    # The networks that are always there

    def open_predefined(self) -> None:
        """Make ``host``, ``none`` and, unless it is switched off, ``bridge``.

        Raises FailedPrecondition, InvalidArgument, KernelError.
        """
        for name, driver in ((HOST, "host"), (NONE, "null")):
            if name not in self._records:
                self._save(_new_record(name, driver))
        device = self._config.device
        previous = self._records.get(BRIDGE)
        if device:
            self._save(self._open_default(device, previous))
        elif previous is not None:
            self._store.delete(previous.id)
            del self._records[BRIDGE]

    def _open_default(self, device: str, previous: NetworkRecord | None) -> NetworkRecord:
        config = self._config
        record = previous or _new_record(BRIDGE, "bridge")
        if record.bridge != device:
            # Recorded before the device is made: after a crash in between it is ours.
            record = structs.replace(
                record, options={OPTION_BRIDGE: device}, adopted=bridge.has_device(device)
            )
            self._save(record)
        ip_range = IPv4Network(config.fixed_cidr) if config.fixed_cidr else None
        pools = config.pools
        if ip_range is not None:
            pools = (AddressPool(base=str(ip_range), size=ip_range.prefixlen),)
        last = record.find_pool(4)
        address = bridge.open_default_bridge(
            device,
            mtu=config.mtu or DEFAULT_MTU,
            fixed=IPv4Interface(config.bip) if config.bip else None,
            preferred=IPv4Interface(last.gateway_cidr) if last and ip_range is None else None,
            pools=pools,
            avoided=[*self._nameservers(), *self._subnets(but=BRIDGE)],
        )
        subnet = address.network
        if ip_range is not None and find_overlap(ip_range, [subnet]) is None:
            raise InvalidArgument(f"fixed-cidr {ip_range} is not part of the subnet {subnet}")
        if record.subnet not in ("", str(subnet)):
            self._store.clear_addresses(record.id)
        pool = IpamConfig(subnet=str(subnet), gateway=str(address.ip), ip_range=str(ip_range or ""))
        return structs.replace(
            record,
            ipam=[pool],
            options={
                OPTION_DEFAULT_BRIDGE: "true",
                OPTION_ICC: str(config.icc).lower(),
                OPTION_MASQUERADE: str(config.ip_masq).lower(),
                OPTION_HOST_BINDING: config.ip or "0.0.0.0",  # noqa: S104 - dockerd's default
                OPTION_BRIDGE: device,
                OPTION_MTU: str(config.mtu or DEFAULT_MTU),
            },
        )

    # The user's own

    def restore(self) -> None:
        """Make the bridges and the books of addresses of all networks, as recorded.

        A network whose bridge cannot be made is logged and has none until it can: its
        containers do not start meanwhile.
        """
        self._held = {}
        for record in self._records.values():
            if not record.wired:
                continue
            if record.name != BRIDGE:
                try:
                    self.open_device(record)
                except BarqueError as error:
                    _log.error("network %s: %s", record.name, error)
            held = self._store.list_addresses(record.id)
            for address, holder in held.items():
                self._held.setdefault(holder, []).append((record.id, address))
            self._open_addresses(record, [ip_address(address) for address in held])

    def open_device(self, record: NetworkRecord) -> None:
        """Make the bridge or the parent of a network, or mend it. Idempotent.

        Raises FailedPrecondition, InvalidArgument, KernelError.
        """
        if record.parent:
            parents.check_kind(record.driver)
            parents.open_parent(record.parent, dummy=OPTION_PARENT not in record.options)
            return
        addresses = [
            pool.gateway_cidr for pool in record.ipam if record.has_host_address(pool.version)
        ]
        bridge.open_bridge(
            record.bridge, mtu=record.mtu, addresses=addresses, ipv6=record.enable_ipv6
        )

    def make(self, request: NetworkRequest) -> NetworkRecord:
        """Plan a network and make it.

        Another engine may choose at the same moment: whoever finds after its choice that the
        subnet is used by another device withdraws and chooses again.

        Raises what ``plan`` and ``add`` raise; nothing is left then.
        """
        for _ in range(_ATTEMPTS):
            record = self.plan(request)
            self.add(record)
            chosen = [
                ip_network(pool.subnet) for pool in record.ipam if record.wired and not pool.given
            ]
            if not any(bridge.find_conflict(subnet, record.device) for subnet in chosen):
                return record
            self.discard(record)
        raise FailedPrecondition(
            "no subnet could be claimed: others take addresses at the same time"
        )

    def plan(self, request: NetworkRequest) -> NetworkRecord:
        """Return the record that a request asks for, with its subnets chosen.

        Raises what ``check_request`` raises, PermissionDenied where a subnet is taken,
        FailedPrecondition where none is free.
        """
        records = self._records.values()
        check_request(request, records)
        taken = request.config_from.network if request.config_from else ""
        if taken:
            request = structs.replace(take_configuration(request, records), config_from=None)
            check_request(request, records)
        asked = parse_pools(request)
        if request.config_only:
            return _configuration(request, [pool for pools in asked.values() for pool in pools])
        driver = request.driver if request.driver in WITH_PARENT else "bridge"
        record = _new_record(request.name, driver)
        options = dict(request.options or {})
        enabled = wanted_versions(request)
        device = options.get(OPTION_BRIDGE, "")
        pools: list[IpamConfig] = []
        for version in (4, 6):
            for one in asked.get(version, [_ANY_POOL]) if enabled[version] else ():
                chosen = [ip_network(pool.subnet) for pool in pools]
                pools.append(self._choose_pool(record, version, one, device, chosen))
        record = structs.replace(
            record,
            internal=request.internal,
            attachable=request.attachable,
            config_from=taken,
            enable_ipv4=enabled[4],
            enable_ipv6=enabled[6],
            ipam=pools,
            ipam_options=request.ipam.options if request.ipam else None,
            options=options,
            labels=dict(request.labels or {}),
        )
        return structs.replace(record, adopted=bridge.has_device(record.device))

    def _choose_pool(
        self,
        record: NetworkRecord,
        version: int,
        asked: IpamConfig,
        device: str,
        chosen: Sequence[AnyNetwork],
    ) -> IpamConfig:
        if not asked.subnet:
            subnet = self._pick(version)
            return IpamConfig(subnet=str(subnet), gateway=str(first_host(subnet)))
        wanted = ip_network(asked.subnet)
        if find_overlap(wanted, [*self._subnets(), *chosen]) is not None:
            raise PermissionDenied(
                "invalid pool request: Pool overlaps with other one on this address space"
            )
        if record.driver in WITH_PARENT:
            return asked  # that of the parent, usually, where the host has an address, too
        owner = bridge.find_conflict(wanted, device or f"br-{record.id[:12]}")
        if owner:
            raise PermissionDenied(
                f"cannot create network {record.name}: the subnet {wanted} overlaps the addresses "
                f"of this host's interface {owner}: choose another subnet"
            )
        return asked

    def _pick(self, version: int) -> AnyNetwork:
        avoided = [*self._subnets(), *self._nameservers()]
        pools = self._config.pools
        if version == 6 and not any(":" in pool.base for pool in pools):
            pools = (self._local_ipv6_pool(),)
        return bridge.pick_subnet(pools, avoided, version)

    def _local_ipv6_pool(self) -> AddressPool:
        """Return the /48 of unique local addresses (RFC 4193) that is this engine's own.

        It stands in the record of the network ``none``, which lasts as long as the database.
        """
        seed = bytes.fromhex(self._records[NONE].id)[:5]
        prefix = IPv6Network((b"\xfd" + seed + bytes(10), _LOCAL_PREFIX))
        return AddressPool(base=str(prefix), size=64)

    def add(self, record: NetworkRecord) -> None:
        """Record a network, then make its bridge; nothing is left if that fails."""
        self._save(record)
        try:
            if record.wired:
                self.open_device(record)
                self._open_addresses(record, [])
        except BaseException:
            self.discard(record)
            raise

    def discard(self, record: NetworkRecord) -> None:
        """Take the bridge or parent away, unless it was there before, then the record.

        Raises FailedPrecondition if something else is still on the bridge.
        """
        if not record.wired:
            in_use = any(other.config_from == record.name for other in self._records.values())
            if in_use:
                raise PermissionDenied(f'configuration network "{record.name}" is in use')
        elif record.parent:
            self._let_go_of_parent(record)
        elif record.adopted:
            bridge.take_addresses(record.bridge, [pool.gateway_cidr for pool in record.ipam])
        elif not bridge.delete_bridge(record.bridge, leaving=True):
            raise FailedPrecondition(
                f"the bridge {record.bridge} of network {record.name} still has interfaces that "
                "are no container's: take them off it"
            )
        self._store.delete(record.id)
        self._records.pop(record.name, None)
        self._addresses.pop(record.id, None)

    def _let_go_of_parent(self, record: NetworkRecord) -> None:
        """Remove a parent of our making, unless another network has it: then it is that one's."""
        if record.adopted:
            return
        for other in self._records.values():
            if other.parent == record.parent and other.id != record.id:
                self._save(structs.replace(other, adopted=False))
                return
        parents.delete_parent(record.parent)

    def _save(self, record: NetworkRecord) -> None:
        if self._records.get(record.name) != record:
            self._store.save(record)
            self._records[record.name] = record

    def _subnets(self, *, but: str = "") -> Iterable[AnyNetwork]:
        return [
            ip_network(pool.subnet)
            for record in self._records.values()
            if record.name != but and not record.config_only
            for pool in record.ipam
        ]

    @staticmethod
    def _nameservers() -> Sequence[AnyNetwork]:
        found = []
        for server in files.list_nameservers(files.read_host_resolv_conf(read)):
            try:
                found.append(ip_network(server.partition("%")[0]))
            except ValueError:
                continue  # not an address: the resolver of the host ignores it, too
        return found

    # Addresses

    def _open_addresses(self, record: NetworkRecord, taken: Sequence[AnyAddress]) -> None:
        # Who has a parent is on a network where the host has an address, too.
        hosts = bridge.list_addresses() if record.parent else []
        books = []
        for pool in record.ipam:
            reserved = [pool.gateway, *pool.auxiliary.values(), *hosts]
            book = Addresses(
                ip_network(pool.subnet),
                ip_range=ip_network(pool.ip_range) if pool.ip_range else None,
                reserved=[ip_address(address) for address in reserved if address],
                taken=[address for address in taken if address in ip_network(pool.subnet)],
            )
            books.append(book)
        self._addresses[record.id] = books

    def hold(
        self, holder: ContainerId, network: NetworkRecord, version: int, wanted: str = ""
    ) -> str:
        """Take ``wanted``, or the next free address, of the first subnet that has one.

        It is recorded before it is returned.

        Raises FailedPrecondition when none is free, InvalidArgument for one that is not in
        the subnet, PermissionDenied for one that is held.
        """
        books = [b for b in self._addresses.get(network.id, ()) if b.subnet.version == version]
        if not books:
            raise FailedPrecondition(f"network {network.name} is not set up")
        book, address = _take(books, network, ip_address(wanted) if wanted else None)
        try:
            self._store.add_address(network.id, str(address), holder)
        except BaseException:
            book.free(address)
            raise
        self._held.setdefault(holder, []).append((network.id, str(address)))
        return str(address)

    def free(self, holder: ContainerId, network_id: str = "") -> None:
        """Give back what ``holder`` has, on one network or on all. Idempotent."""
        kept = []
        for entry in self._held.pop(holder, ()):
            held_on, address = entry
            if network_id and held_on != network_id:
                kept.append(entry)
                continue
            self._store.delete_address(held_on, address)
            for book in self._addresses.get(held_on, ()):
                book.free(ip_address(address))
        if kept:
            self._held[holder] = kept

    def list_held(self, holder: ContainerId) -> Sequence[tuple[str, str]]:
        """Return what ``holder`` has: the network's id and the address of each."""
        return tuple(self._held.get(holder, ()))

    def holders(self) -> frozenset[ContainerId]:
        """Return who holds an address."""
        return frozenset(self._held)


def _take(
    books: Sequence[Addresses], network: NetworkRecord, wanted: AnyAddress | None
) -> tuple[Addresses, AnyAddress]:
    """Take an address of one of the network's subnets, all of one IP version."""
    for book in books:
        if wanted is None:
            with suppress(AddressesExhausted):
                return book, book.allocate()
        elif wanted in book.subnet:
            book.hold(wanted)
            return book, wanted
    raise FailedPrecondition(
        f"failed to set up container networking: no available IPv{books[0].subnet.version} "
        f"addresses on this network's address pools: {network.name} ({network.id})"
    )


def _configuration(request: NetworkRequest, pools: Sequence[IpamConfig]) -> NetworkRecord:
    """Return the record of a network that holds settings: as they were given, nothing chosen."""
    enabled = wanted_versions(request)
    given = {pool.subnet: pool for pool in (request.ipam.config if request.ipam else None) or ()}
    return structs.replace(
        _new_record(request.name, "null"),
        config_only=True,
        enable_ipv4=enabled[4],
        enable_ipv6=enabled[6],
        ipam=[
            structs.replace(
                pool, gateway=given[pool.subnet].gateway if pool.subnet in given else ""
            )
            for pool in pools
            if pool.subnet
        ],
        ipam_options=request.ipam.options if request.ipam else None,
        options=dict(request.options or {}),
        labels=dict(request.labels or {}),
    )


def _new_record(name: str, driver: str) -> NetworkRecord:
    now = time.time_ns()
    moment = datetime.fromtimestamp(now // 1_000_000_000, UTC)
    created = f"{moment:%Y-%m-%dT%H:%M:%S}.{now % 1_000_000_000:09d}Z"
    return NetworkRecord(id=secrets.token_hex(_ID_BYTES), name=name, driver=driver, created=created)
