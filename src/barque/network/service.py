"""Networks: the predefined ones, and the containers on them.

========= ====== ==============================================================
name      driver a container on it
========= ====== ==============================================================
bridge    bridge has a namespace of its own, an address, a way out through NAT
host      host   is in the host's namespace
none      null   has a namespace of its own with nothing but ``lo``
========= ====== ==============================================================

An address is held from ``attach`` to ``release``. Holders are recorded in the database, so
that an engine that was killed knows them when it comes back; everything in the kernel is
either made again by ``setup`` or goes with the container's namespace.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import NoReturn

from msgspec import structs

from barque.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotImplementedHere,
)
from barque.models.api import EndpointSettings
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.models.launch import Interface
from barque.models.network import (
    OPTION_BRIDGE,
    OPTION_DEFAULT_BRIDGE,
    OPTION_HOST_BINDING,
    OPTION_ICC,
    OPTION_MASQUERADE,
    OPTION_MTU,
    IpamConfig,
    NetworkRecord,
)
from barque.network import bridge, files, firewall
from barque.network.attachment import Attachment
from barque.network.config import DEFAULT_MTU, AddressPool, NetworkConfig
from barque.network.ipam import Addresses, AddressesExhausted
from barque.network.refusals import CONTAINER_PREFIX, DEFAULT_MODES, check_endpoint, check_mac
from barque.store.database import Database
from barque.store.networks import NetworkStore

BRIDGE, HOST, NONE = "bridge", "host", "none"

_ID_BYTES = 32
_FILE_MODE = 0o644
_MOST_SHARERS = 32
_SECOND_NS = 1_000_000_000
_OUR_MARK_NS = 1
"""Nanoseconds in the modification time of a resolv.conf that is as we wrote it. A writer's time
is the kernel's clock, which hits them once in a thousand million; a second file with a hash
would cost every start a tenth of a millisecond."""
_IPV6_OFF = frozenset({"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6"})


class Networks:
    """The networks of this engine. Used from the event loop's thread only."""

    def __init__(
        self,
        database: Database,
        config: NetworkConfig,
        containers: Callable[[str], ContainerRecord],
    ) -> None:
        """Take settings as they are in daemon.json. ``containers`` looks a container up by
        id, name or prefix, and raises NotFound. Raises InvalidArgument for bad settings.
        """
        config.validate()
        self._store = NetworkStore(database)
        self._config = config
        self._containers = containers
        self._records = {record.name: record for record in self._store.list()}
        self._addresses: Addresses | None = None
        self._held: dict[ContainerId, str] = {}

    async def setup(self) -> None:
        """Make what the networks need on the host: records, bridge, sysctls, rules.

        Idempotent: run at every start of the engine, it repairs what a crash or somebody
        else left half done, and keeps the subnet as long as it can.

        Raises FailedPrecondition (no nft, no free subnet, name taken by another kind of
        device), InvalidArgument (settings that contradict each other), KernelError.
        """
        for name, driver in ((HOST, "host"), (NONE, "null")):
            if name not in self._records:
                self._save(_new_record(name, driver))
        device = self._config.device
        previous = self._records.get(BRIDGE)
        if not device:
            if previous is not None:
                self._store.delete(previous.id)
                del self._records[BRIDGE]
            return
        self._save(self._open_default_bridge(device, previous))
        if self._config.ip_forward:
            bridge.enable_forwarding()
        await firewall.apply(
            firewall.render_ruleset(firewall.table_name(device), self._records[BRIDGE])
        )

    async def teardown(self) -> bool:
        """Remove the bridge, if we made it, and our rules; say whether all is gone.

        For uninstalling. Nothing is removed while a container is on the bridge. A stopping
        engine does not call this: containers outlive it.
        """
        record = self._records.get(BRIDGE)
        if record is None:
            return True
        if not record.adopted and not bridge.delete_bridge(record.bridge):
            return False
        await firewall.delete_table(firewall.table_name(record.bridge))
        return True

    async def find_obstacles(self) -> list[str]:
        """Return warnings about other firewalls of this host that stop our traffic."""
        record = self._records.get(BRIDGE)
        return await firewall.find_obstacles(record.bridge) if record else []

    def list(self) -> list[NetworkRecord]:
        """Return all networks, by name."""
        return [self._records[name] for name in sorted(self._records)]

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

    def create(self) -> NoReturn:
        """Networks of the user's own are not there yet."""
        raise NotImplementedHere("network create is not implemented in this version of barque")

    def remove(self) -> NoReturn:
        """Networks of the user's own are not there yet."""
        raise NotImplementedHere("network rm is not implemented in this version of barque")

    def connect(self) -> NoReturn:
        """Networks of the user's own are not there yet."""
        raise NotImplementedHere("network connect is not implemented in this version of barque")

    def disconnect(self) -> NoReturn:
        """Networks of the user's own are not there yet."""
        raise NotImplementedHere("network disconnect is not implemented in this version of barque")

    def prune(self) -> NoReturn:
        """Networks of the user's own are not there yet."""
        raise NotImplementedHere("network prune is not implemented in this version of barque")

    def attach(self, record: ContainerRecord) -> Attachment:
        """Give a container that is about to start its place on the network.

        Takes an address, to be given back with ``release`` when the run ends or the start
        fails. Attaching anew gives back what the container still holds.

        Raises NotFound (no such network or container), Conflict (the container to share with
        does not run), FailedPrecondition (no address is free), InvalidArgument.
        """
        self.release(record.id)
        mode = record.host_config.network_mode
        if mode.startswith(CONTAINER_PREFIX):
            return Attachment(join=self._sharer(record, mode.removeprefix(CONTAINER_PREFIX)))
        sandbox_id = secrets.token_hex(_ID_BYTES)
        disabled = mode in DEFAULT_MODES and not self._config.device
        if record.config.network_disabled or disabled:
            return Attachment(sandbox_id=sandbox_id)
        network = self.get(BRIDGE if mode in DEFAULT_MODES else mode)
        asked = _asked(record, network, mode)
        check_endpoint(network.name, asked)
        endpoint = structs.replace(
            asked, network_id=network.id, endpoint_id=secrets.token_hex(_ID_BYTES)
        )
        if network.driver != "bridge":
            return Attachment(
                networks={network.name: endpoint},
                sandbox_id=sandbox_id,
                host=network.driver == "host",
            )
        mac = endpoint.mac_address or record.config.mac_address or bridge.make_mac()
        check_mac(mac)
        address = self._hold(record.id, network)
        prefix = IPv4Network(network.subnet).prefixlen
        interface = Interface(
            name="eth0",
            # Not derived from the container: the kernel takes the interface of the last run
            # away in the background, and a restart may come earlier.
            host_name=f"veth{sandbox_id[:7]}",
            bridge=network.bridge,
            mac=mac,
            addresses=[f"{address}/{prefix}"],
            gateway=network.gateway,
            mtu=network.mtu,
            isolated=network.options.get(OPTION_ICC) == "false",
        )
        endpoint = structs.replace(
            endpoint,
            mac_address=mac,
            ip_address=str(address),
            ip_prefix_len=prefix,
            gateway=network.gateway,
        )
        return Attachment(
            interfaces=[interface], networks={network.name: endpoint}, sandbox_id=sandbox_id
        )

    def release(self, id: ContainerId) -> None:  # noqa: A002 - the Engine API's word
        """Give back what the container holds. Idempotent."""
        address = self._held.pop(id, None)
        if address is None:
            return
        network = self._records.get(BRIDGE)
        if network is not None:
            self._store.delete_address(network.id, address)
        if self._addresses is not None:
            self._addresses.free(IPv4Address(address))

    def holders(self) -> frozenset[ContainerId]:
        """Return who holds an address: after a crash, release those that do not run."""
        return frozenset(self._held)

    def files_directory(self, record: ContainerRecord, containers: Path) -> Path:
        """Return where the container's hosts, hostname and resolv.conf are.

        ``containers`` is the directory of all containers' directories. A container that
        shares another's network uses the other's files. Raises NotFound.
        """
        for _ in range(_MOST_SHARERS):
            mode = record.host_config.network_mode
            if not mode.startswith(CONTAINER_PREFIX):
                return containers / record.id
            record = self._containers(mode.removeprefix(CONTAINER_PREFIX))
        raise InvalidArgument("network mode container:ID leads round in a circle")

    def write_files(self, record: ContainerRecord, attachment: Attachment, directory: Path) -> None:
        """Write hosts, hostname and resolv.conf (0644) into ``directory``.

        Files are overwritten in place, as containers that share them have them mounted. A
        resolv.conf that was edited in the container is kept. Writes nothing for a container
        that shares another's.
        """
        if attachment.join is not None:
            return
        hostname = record.config.hostname
        if not hostname:
            hostname = socket.gethostname() if attachment.host else record.id[:12]
        _write(directory / "hostname", f"{hostname}\n")
        _write(directory / "hosts", self._hosts(record, attachment, hostname))
        content = self._resolv_conf(record, attachment)
        target = directory / "resolv.conf"
        if not _is_edited(target):
            _write(target, content)
            _mark(target)

    def _open_default_bridge(self, device: str, previous: NetworkRecord | None) -> NetworkRecord:
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
        address = bridge.open_bridge(
            device,
            mtu=config.mtu or DEFAULT_MTU,
            fixed=IPv4Interface(config.bip) if config.bip else None,
            preferred=_interface(record.ipam[0]) if record.ipam and ip_range is None else None,
            pools=pools,
            nameservers=[
                IPv4Address(server)
                for server in files.list_nameservers(files.read_host_resolv_conf(_read))
                if ":" not in server
            ],
        )
        subnet = address.network
        if ip_range is not None and not ip_range.subnet_of(subnet):
            raise InvalidArgument(f"fixed-cidr {ip_range} is not part of the subnet {subnet}")
        if record.subnet not in ("", str(subnet)):
            self._store.clear_addresses(record.id)
        record = structs.replace(
            record,
            ipam=[
                IpamConfig(
                    subnet=str(subnet), gateway=str(address.ip), ip_range=str(ip_range or "")
                )
            ],
            options={
                OPTION_DEFAULT_BRIDGE: "true",
                OPTION_ICC: str(config.icc).lower(),
                OPTION_MASQUERADE: str(config.ip_masq).lower(),
                OPTION_HOST_BINDING: "0.0.0.0",  # noqa: S104 - dockerd's default, shown only
                OPTION_BRIDGE: device,
                OPTION_MTU: str(config.mtu or DEFAULT_MTU),
            },
        )
        holders = self._store.list_addresses(record.id)
        self._held = {holder: held for held, holder in holders.items()}
        self._addresses = Addresses(
            subnet,
            ip_range=ip_range,
            reserved=[address.ip],
            taken=[IPv4Address(held) for held in holders],
        )
        return record

    def _save(self, record: NetworkRecord) -> None:
        if self._records.get(record.name) != record:
            self._store.save(record)
            self._records[record.name] = record

    def _hold(self, container_id: ContainerId, network: NetworkRecord) -> IPv4Address:
        if self._addresses is None:
            raise FailedPrecondition(f"network {network.name} is not set up")
        try:
            address = self._addresses.allocate()
        except AddressesExhausted as error:
            raise FailedPrecondition(
                "failed to set up container networking: no available IPv4 addresses on this "
                f"network's address pools: {network.name} ({network.id})"
            ) from error
        try:
            self._store.add_address(network.id, str(address), container_id)
        except BaseException:
            self._addresses.free(address)
            raise
        self._held[container_id] = str(address)
        return address

    def _sharer(self, record: ContainerRecord, ref: str) -> ContainerId:
        other = self._containers(ref)
        if other.id == record.id:
            raise FailedPrecondition("cannot join own network namespace")
        if other.state.restarting:
            raise Conflict(
                f"cannot join network namespace of container {ref}: it is restarting, wait "
                "until it is running"
            )
        if not other.state.running:
            raise Conflict(
                "cannot join network namespace of a non running container: "
                f"container {ref} is {other.state.status}"
            )
        return other.id

    def _hosts(self, record: ContainerRecord, attachment: Attachment, hostname: str) -> str:
        host_config = record.host_config
        if attachment.host and not host_config.extra_hosts:
            return _read("/etc/hosts")
        gateways = self._config.host_gateway_ips
        if not gateways and BRIDGE in self._records:
            gateways = [self._records[BRIDGE].gateway]
        sysctls = host_config.sysctls or {}
        return files.render_hosts(
            extra=files.resolve_extra_hosts(host_config.extra_hosts or (), gateways),
            addresses=[
                address.partition("/")[0]
                for interface in attachment.interfaces
                for address in interface.addresses
            ],
            hostname=hostname,
            domainname=record.config.domainname,
            ipv6=not any(sysctls.get(name) == "1" for name in _IPV6_OFF),
        )

    def _resolv_conf(self, record: ContainerRecord, attachment: Attachment) -> str:
        asked, config = record.host_config, self._config
        servers = asked.dns or config.dns
        search = asked.dns_search or config.dns_search
        options = asked.dns_options or config.dns_opts
        if attachment.host:
            host = _read("/etc/resolv.conf")
            if not (servers or search or options):
                return host
        else:
            host = files.read_host_resolv_conf(_read)
        return files.render_resolv_conf(
            host, servers=servers, search=search, options=options, keep_local=attachment.host
        )


def _new_record(name: str, driver: str) -> NetworkRecord:
    now = time.time_ns()
    moment = datetime.fromtimestamp(now // 1_000_000_000, UTC)
    created = f"{moment:%Y-%m-%dT%H:%M:%S}.{now % 1_000_000_000:09d}Z"
    return NetworkRecord(id=secrets.token_hex(_ID_BYTES), name=name, driver=driver, created=created)


def _asked(record: ContainerRecord, network: NetworkRecord, mode: str) -> EndpointSettings:
    """Return what the container asked of the network, by whichever of its names."""
    for name in (network.name, mode, network.id, "default" if network.name == BRIDGE else ""):
        if name in record.networks:
            return record.networks[name]
    return EndpointSettings()


def _interface(ipam: IpamConfig) -> IPv4Interface:
    return IPv4Interface(f"{ipam.gateway}/{IPv4Network(ipam.subnet).prefixlen}")


def _is_edited(path: Path) -> bool:
    """Whether somebody wrote to the file after ``_mark``."""
    try:
        return path.stat().st_mtime_ns % _SECOND_NS != _OUR_MARK_NS
    except FileNotFoundError:
        return False


def _mark(path: Path) -> None:
    now = time.time_ns()
    os.utime(path, ns=(now, now - now % _SECOND_NS + _OUR_MARK_NS))


def _read(path: str | Path) -> str:
    """Return a file's text; "" if there is no such file."""
    try:
        return Path(path).read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _write(path: Path, content: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, _FILE_MODE)
    try:
        os.fchmod(fd, _FILE_MODE)
        os.write(fd, content.encode(errors="surrogateescape"))
    finally:
        os.close(fd)
