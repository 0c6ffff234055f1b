"""Networks: those there are, and the containers on them.

========= ====== ==============================================================
name      driver a container on it
========= ====== ==============================================================
bridge    bridge has a namespace of its own, an address, a way out through NAT
host      host   is in the host's namespace
none      null   has a namespace of its own with nothing but ``lo``
others    bridge as on ``bridge``, and names of containers are resolved
========= ====== ==============================================================

What a container has (addresses, ports, names) it has from ``attach`` to ``release``. Holders of
addresses are in the database and ports in the container's record, so that an engine that was
killed knows them when it comes back; everything in the kernel is either made again by ``setup``
and ``resume`` or goes with the container's namespace.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from msgspec import structs

from barque.errors import (
    BarqueError,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    KernelError,
    PermissionDenied,
)
from barque.kernel.conntrack import forget_udp
from barque.kernel.netlink import LinkMonitor
from barque.models.api import EndpointSettings, NetworkRequest
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.models.launch import Interface
from barque.models.network import OPTION_HOST_BINDING, NetworkRecord
from barque.network import bridge, firewall, parents
from barque.network.advertise import Advertiser
from barque.network.attachment import Attachment
from barque.network.catalog import Catalog
from barque.network.config import NetworkConfig
from barque.network.containerfiles import ContainerFiles
from barque.network.endpointoptions import get_name
from barque.network.endpoints import (
    BRIDGE,
    Asked,
    Target,
    check_joinable,
    check_usable,
    choose_gateway,
    find_target,
    host_interface,
    is_named,
    list_asked,
    list_dns_names,
    list_ways,
    make_interface,
    order_for_names,
)
from barque.network.firewall import Firewall
from barque.network.hostservers import HostServers
from barque.network.modes import CONTAINER_PREFIX, DEFAULT_MODES, PREDEFINED
from barque.network.names import Named, Names
from barque.network.namespaces import (
    ResolverSockets,
    add_interface,
    call_in_thread,
    make_namespace,
    open_resolver,
    open_socket,
    remove_inside,
    remove_interface,
    remove_strangers,
    set_ways,
    wire_namespace,
)
from barque.network.ports import Held, PortAllocator, parse_bindings
from barque.network.refusals import check_endpoint, check_mac
from barque.network.relay import Relay
from barque.network.resolver import Resolver, Upstream, View
from barque.store.database import Database
from barque.store.networks import NetworkStore

_ID_BYTES = 32
_ANNOUNCE_S = 0.01
"""Until a new endpoint is announced: for hundreds to hear it takes the kernel half a millisecond,
which whoever waits for a start need not wait for."""

_log = logging.getLogger("barque.network")


@dataclass
class _Place:
    """What a running container has, beside its addresses."""

    asked: list[Asked]
    """Its bridge networks, with their endpoints as they are."""
    held: Held = field(default_factory=Held)
    resolver: Resolver | None = None
    namespace_fd: int = -1
    """Of the container's network namespace, where something is done in it now and then."""
    inside: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while interfaces are made inside, or the sockets of a resolver opened: port 53 leads to
    those opened last."""


class Networks:
    """The networks of this engine. Used from the event loop's thread only."""

    def __init__(
        self,
        database: Database,
        config: NetworkConfig,
        containers: Callable[[str], ContainerRecord],
        takes_big_tcp: Callable[[ContainerRecord], bool] = lambda _: True,
    ) -> None:
        """Take settings as they are in daemon.json. ``containers`` looks a container up by
        id, name or prefix, and raises NotFound; ``takes_big_tcp`` says which of them may be
        given packets of more than 64 KiB. Raises InvalidArgument for bad settings.
        """
        config.validate()
        self._config = config
        self._containers = containers
        self._takes_big_tcp = takes_big_tcp
        self._catalog = Catalog(NetworkStore(database), config)
        self._places: dict[ContainerId, _Place] = {}
        self._names = Names()
        self._ports = PortAllocator(ipv6=bridge.has_ipv6())
        self._relay = Relay()
        self._advertiser = Advertiser()
        own = config.device or hashlib.sha256(os.fsencode(database.path)).hexdigest()[:12]
        self._firewall = Firewall(firewall.table_name(own), self._catalog.list)
        self._changing = asyncio.Lock()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._files = ContainerFiles(config, self._catalog.find, containers)
        self._host_servers = HostServers()
        self._links: LinkMonitor | None = None
        self.obstacles: list[str] = []
        """Warnings about other firewalls of this host that stop our traffic."""

    # The engine's life

    async def setup(self, records: Iterable[ContainerRecord] = ()) -> None:
        """Make what the networks need on the host: records, bridges, sysctls, rules.

        ``records`` are the containers of the last engine: the ports of those that have endpoints
        stay published all the while. Those that turn out not to run, though a start was under way
        when the engine was killed, are to be released. Idempotent: run at every start of the
        engine, it repairs what a crash or somebody else left half done, and keeps subnets as long
        as it can.

        Raises FailedPrecondition (no nft, no free subnet, name taken by another kind of
        device), InvalidArgument (settings that contradict each other), KernelError.
        """
        records = list(records)
        self._catalog.open_predefined()
        self._catalog.restore()
        self._unplug_strangers(records)
        for record in sorted(records, key=lambda record: not record.state.running):
            if record.id not in self._places:
                self._retake(record)
        if not any(network.driver == "bridge" for network in self._catalog.list()):
            return
        await self._enforce()
        self._watch()

    def _unplug_strangers(self, records: Sequence[ContainerRecord]) -> None:
        """Take interfaces off our bridges that no record speaks of.

        They are of a container that was just being connected or disconnected when the last
        engine was killed.
        """
        known = {
            host_interface(endpoint)
            for record in records
            for endpoint in record.networks.values()
            if endpoint.endpoint_id
        }
        for network in self._catalog.list():
            if network.bridge:
                for port in bridge.list_container_ports(network.bridge):
                    if port not in known:
                        _log.warning("network %s: removing the leftover %s", network.name, port)
                        remove_interface(port)

    def _watch(self) -> None:
        """Mend what others take away: rules, bridges. Be ready to announce. Idempotent."""
        self._firewall.watch()
        self._advertiser.open()
        if self._links is None:
            self._links = LinkMonitor()
            asyncio.get_running_loop().add_reader(self._links.fileno(), self._on_removals)

    def _unwatch(self) -> None:
        self._firewall.close()
        if self._links is not None:
            asyncio.get_running_loop().remove_reader(self._links.fileno())
            self._links.close()
            self._links = None

    def _on_removals(self) -> None:
        """Make bridges that somebody removed again, and plug their containers in."""
        if self._links is None or not self._links.read_removals():
            return
        bridges = {network.bridge: network for network in self._catalog.list() if network.bridge}
        for name in bridge.list_missing(bridges):
            try:
                self._reopen(bridges[name])
            except BarqueError as error:
                _log.error("network %s: %s", bridges[name].name, error)

    async def _enforce(self) -> None:
        """Put the rules in force, then what is safe under them only."""
        await self._firewall.apply()
        bridges = [network for network in self._catalog.list() if network.driver == "bridge"]
        for network in bridges:
            if bridge.has_device(network.bridge):
                bridge.route_loopback(network.bridge)
        if bridges:
            try:
                bridge.raise_neighbour_limits()
            except KernelError as error:
                _log.warning("hundreds of containers may be too many for this kernel: %s", error)
        if self._config.ip_forward and bridges:
            bridge.enable_forwarding()
            if any(network.enable_ipv6 for network in bridges):
                bridge.enable_forwarding(ipv6=True)

    async def look_for_obstacles(self) -> None:
        """Bring ``obstacles`` up to date; log what is new."""
        bridges = [network.bridge for network in self._catalog.list() if network.bridge]
        found = await firewall.find_obstacles(bridges, self._firewall.table)
        for text in found:
            if text not in self.obstacles:
                _log.warning("%s", text)
        self.obstacles = found

    def close(self) -> None:
        """Let go of sockets. Networks and containers go on, resolvers wait for the next engine."""
        self._unwatch()
        self._relay.close()
        self._advertiser.close()
        for place in self._places.values():
            place.held.close()
            self._close_inside(place)

    async def teardown(self) -> bool:
        """Remove the devices that we made, and our rules; say whether all is gone.

        For uninstalling. Nothing is removed while a container is on a bridge. A stopping
        engine does not call this: containers outlive it.
        """
        self._unwatch()
        for record in self._catalog.list():
            if record.adopted:
                continue
            if record.parent:
                parents.delete_parent(record.parent)
            elif record.bridge and not bridge.delete_bridge(record.bridge):
                return False
        await firewall.delete_table(self._firewall.table)
        return True

    # Networks

    def list(self) -> list[NetworkRecord]:
        """Return all networks, by name."""
        return self._catalog.list()

    def get(self, ref: str) -> NetworkRecord:
        """Return the network with this id, else this name, else this prefix of its id.

        Raises NotFound, or InvalidArgument for a prefix of several.
        """
        return self._catalog.get(ref)

    async def create(self, request: NetworkRequest) -> NetworkRecord:
        """Make a network. Raises what ``Catalog.make`` raises; nothing is left then."""
        async with self._changing:
            record = self._catalog.make(request)
            try:
                await self._enforce()
            except BaseException:
                self._catalog.discard(record)
                raise
            self._watch()
            await self.look_for_obstacles()
        return record

    async def remove(self, ref: str) -> NetworkRecord:
        """Remove a network that no running container is on; return what it was.

        Raises NotFound, PermissionDenied with docker's texts, FailedPrecondition.
        """
        async with self._changing:
            record = self._catalog.get(ref)
            if record.name in PREDEFINED:
                raise PermissionDenied(
                    f"{record.name} is a pre-defined network and cannot be removed"
                )
            if members := self._list_members(record.name):
                shown = ", ".join(f'name:"{name}" id:"{id_[:12]}"' for name, id_ in members)
                raise PermissionDenied(
                    f"error while removing network: network {record.name} has active endpoints "
                    f"({shown})"
                )
            self._catalog.discard(record)
            await self._firewall.apply()
        return record

    def _list_members(self, network: str) -> Sequence[tuple[str, str]]:
        """Return (container's name, endpoint's id) of who is on a network now."""
        return [
            (self._containers(holder).name, asked.endpoint.endpoint_id)
            for holder, place in self._places.items()
            for asked in place.asked
            if asked.network.name == network
        ]

    # Runs of containers

    def attach(self, record: ContainerRecord) -> Attachment:
        """Give a container that is about to start its place on its networks.

        Takes addresses and ports, to be given back with ``release`` when the run ends or the
        start fails. Attaching anew gives back what the container still holds.

        Raises NotFound (no such network or container), Conflict (the container to share with
        does not run), FailedPrecondition (no address or port is free), InvalidArgument,
        PermissionDenied (the address is taken).
        """
        self.release(record.id)
        mode = record.host_config.network_mode
        if mode.startswith(CONTAINER_PREFIX):
            return Attachment(join=self._sharer(record, mode.removeprefix(CONTAINER_PREFIX)))
        sandbox_id = secrets.token_hex(_ID_BYTES)
        disabled = mode in DEFAULT_MODES and not self._config.device
        if record.config.network_disabled or (disabled and len(record.networks) < 2):
            return Attachment(sandbox_id=sandbox_id)
        asked = list_asked(record, self._catalog.get)
        for network, endpoint in asked:
            check_usable(network)
            check_endpoint(network.name, endpoint)
        main = asked[0].network
        if not main.wired:
            endpoint = structs.replace(
                asked[0].endpoint,
                network_id=main.id,
                endpoint_id=secrets.token_hex(_ID_BYTES),
            )
            return Attachment(
                networks={main.name: endpoint}, sandbox_id=sandbox_id, host=main.driver == "host"
            )
        with ExitStack() as undo:
            undo.callback(self.release, record.id)
            attachment = self._attach_bridged(record, asked, sandbox_id)
            undo.pop_all()
        return attachment

    def _attach_bridged(
        self, record: ContainerRecord, asked: Sequence[Asked], sandbox_id: str
    ) -> Attachment:
        place = self._places[record.id] = _Place([])
        interfaces: list[Interface] = []
        big_tcp = self._takes_big_tcp(record)
        for number, (network, endpoint) in enumerate(asked):
            mac = endpoint.mac_address or (record.config.mac_address if not number else "")
            joined = self._join(record, network, structs.replace(endpoint, mac_address=mac))
            place.asked.append(Asked(network, joined))
            name = get_name(joined.driver_opts) or f"{network.interface_prefix}{number}"
            interfaces.append(make_interface(network, joined, name, big_tcp=big_tcp))
        for version in (4, 6):
            way = choose_gateway(place.asked, version)
            for (network, endpoint), interface in zip(place.asked, interfaces, strict=True):
                if network.name == way and version == 4:
                    interface.gateway = network.route_gateway(4, endpoint.ip_address)
                elif network.name == way:
                    interface.gateway6 = network.route_gateway(6, endpoint.global_ipv6_address)
        self._publish_ports(record, place)
        for interface in interfaces:
            interface.reflected = bool(interface.bridge and place.held.ports)
        for network, endpoint in place.asked:
            self._publish_names(record, network, endpoint)
        return Attachment(
            interfaces=interfaces,
            networks={network.name: endpoint for network, endpoint in place.asked},
            ports=place.held.published,
            sandbox_id=sandbox_id,
            named=is_named(place.asked),
        )

    def _join(
        self, record: ContainerRecord, network: NetworkRecord, endpoint: EndpointSettings
    ) -> EndpointSettings:
        """Take the addresses of one endpoint; return it as it is from now on."""
        mac = _choose_mac(network, endpoint.mac_address)
        if not bridge.has_device(network.device):
            self._reopen(network)
        wanted = endpoint.ipam_config
        asked = {
            4: wanted.ipv4_address if wanted else "",
            6: wanted.ipv6_address if wanted else "",
        }
        found: dict[int, str] = {}
        for version in (4, 6):
            if network.find_pool(version) is None:
                if asked[version]:
                    raise InvalidArgument(_outside(asked[version]))
                continue
            _check_within(asked[version], network, version)
            found[version] = self._catalog.hold(record.id, network, version, asked[version])
        ip, ip6 = found.get(4, ""), found.get(6, "")
        four, six = network.find_pool(4, ip), network.find_pool(6, ip6)
        return structs.replace(
            endpoint,
            mac_address=mac,
            network_id=network.id,
            endpoint_id=secrets.token_hex(_ID_BYTES),
            ip_address=ip,
            ip_prefix_len=four.prefix_length if four else 0,
            gateway=_shown_gateway(network, 4, ip),
            global_ipv6_address=ip6,
            global_ipv6_prefix_len=six.prefix_length if six else 0,
            ipv6_gateway=_shown_gateway(network, 6, ip6),
            dns_names=list_dns_names(record, endpoint) if network.name != BRIDGE else None,
        )

    def _reopen(self, network: NetworkRecord) -> None:
        """Somebody removed the device: make it again, with the rules that speak of it by name."""
        self._catalog.open_device(network)
        _log.warning("%s of network %s was gone: made again", network.device, network.name)
        if not network.bridge:
            return
        bridge.route_loopback(network.bridge)
        for place in self._places.values():
            for joined, endpoint in place.asked:
                if joined.name == network.name:
                    bridge.plug(
                        network.bridge,
                        host_interface(endpoint),
                        isolated=not network.icc,
                        reflected=bool(place.held.ports),
                    )

    def _publish_ports(self, record: ContainerRecord, place: _Place) -> None:
        host = record.host_config
        wanted = parse_bindings(
            host.port_bindings,
            record.config.exposed_ports or (),
            publish_all=host.publish_all_ports,
        )
        if not wanted:
            return
        way = place.asked[0].network
        target, who = find_target(place.asked)
        for network, endpoint in place.asked:
            if network.name == choose_gateway(place.asked, 4):
                way, who = network, f"{record.name} ({endpoint.endpoint_id})"
        default_ip = way.options.get(OPTION_HOST_BINDING, "")
        place.held = self._ports.hold(wanted, target, default_ip=default_ip, who=who or record.name)
        self._open_ports(place.held, target)

    def _open_ports(self, held: Held, target: Target) -> None:
        self._firewall.publish(held.ports)
        self._forget_flows(held)
        for listener, _, port in held.listeners:
            self._relay.start(listener, target.ipv6 or target.ipv4, port)

    def _forget_flows(self, held: Held) -> None:
        """Let UDP flows that the kernel knows follow the port to where it leads now."""
        ports = {port.host_port for port in held.ports if port.protocol == "udp"} - {0}
        if not ports:
            return

        async def forget() -> None:
            try:
                await call_in_thread(partial(forget_udp, ports))
            except KernelError as error:
                _log.warning("flows to UDP ports %s may go astray: %s", sorted(ports), error)

        task = asyncio.get_running_loop().create_task(forget())
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    def _close_ports(self, place: _Place) -> None:
        for listener, _, _ in place.held.listeners:
            self._relay.stop(listener)
        self._firewall.withdraw(place.held.ports)
        self._forget_flows(place.held)
        self._ports.release(place.held)
        place.held = Held()

    def _publish_names(
        self, record: ContainerRecord, network: NetworkRecord, endpoint: EndpointSettings
    ) -> None:
        if network.name == BRIDGE:
            return
        addresses = filter(None, (endpoint.ip_address, endpoint.global_ipv6_address))
        names = endpoint.dns_names or list_dns_names(record, endpoint)
        self._names.put(network.name, record.id, Named(tuple(names), tuple(addresses)))

    def rename(self, record: ContainerRecord) -> dict[str, EndpointSettings]:
        """A container has another name: let it be found by it; return its endpoints anew."""
        place = self._places.get(record.id)
        if place is None:
            return record.networks
        endpoints = dict(record.networks)
        for number, (network, endpoint) in enumerate(place.asked):
            if network.name == BRIDGE:
                continue
            named = structs.replace(endpoint, dns_names=list_dns_names(record, endpoint))
            place.asked[number] = Asked(network, named)
            endpoints[network.name] = named
            self._publish_names(record, network, named)
        return endpoints

    def release(self, id: ContainerId) -> None:  # noqa: A002 - the Engine API's word
        """Give back what the container holds. Idempotent."""
        place = self._places.pop(id, None)
        if place is not None:
            self._close_ports(place)
            self._close_inside(place)
            for network, _ in place.asked:
                self._names.remove(network.name, id)
        self._catalog.free(id)

    @staticmethod
    def _close_inside(place: _Place) -> None:
        if place.resolver is not None:
            place.resolver.close()
            place.resolver = None
        if place.namespace_fd >= 0:
            os.close(place.namespace_fd)
            place.namespace_fd = -1

    def holders(self) -> frozenset[ContainerId]:
        """Return who holds an address: after a crash, release those that do not run."""
        return self._catalog.holders() | frozenset(self._places)

    # Inside of containers

    async def open_namespace(self, record: ContainerRecord, attachment: Attachment) -> int | None:
        """Return a descriptor of a namespace made ready for the container, or None.

        It is made for containers with a resolver, which has to answer before their program
        runs; the others' init makes it. The descriptor stays ours. Not for user namespaces, which
        have to make it themselves: see ``wire``.
        """
        if not attachment.named:
            return None
        work = partial(make_namespace, attachment.interfaces)
        made, sockets = await call_in_thread(work, _dispose)
        if not self._adopt(record, self._places.get(record.id), made, sockets):
            raise Conflict(f"container {record.id[:12]} was stopped while it was being started")
        return made

    def advertise(self, id: ContainerId) -> None:  # noqa: A002 - the Engine API's word
        """Tell neighbours of the addresses of a container that has just been started."""
        place = self._places.get(id)
        for network, endpoint in place.asked if place else ():
            self._advertise(id, network, endpoint)

    def _advertise(
        self,
        id: ContainerId,  # noqa: A002 - the Engine API's word
        network: NetworkRecord,
        endpoint: EndpointSettings,
    ) -> None:
        if not network.bridge:
            return
        addresses = [*filter(None, (endpoint.ip_address, endpoint.global_ipv6_address))]
        self._advertiser.correct(network.bridge, endpoint.mac_address, addresses)

        def announce(left: int) -> None:
            place = self._places.get(id)
            joined = place.asked if place else ()
            if not left or all(a.endpoint.endpoint_id != endpoint.endpoint_id for a in joined):
                return
            self._advertiser.announce(network.bridge, endpoint.mac_address, addresses)
            if left > 1:
                loop.call_later(network.advertise_interval_s, announce, left - 1)

        loop = asyncio.get_running_loop()
        loop.call_later(_ANNOUNCE_S, announce, network.advertisements)

    async def wire(
        self, record: ContainerRecord, attachment: Attachment, namespace_fd: int
    ) -> None:
        """Make ready the namespace that the container, which waits, has made itself.

        Takes the descriptor. Raises Conflict if the container is no more, KernelError.
        """
        place = self._places.get(record.id)
        work = partial(wire_namespace, os.dup(namespace_fd), attachment.interfaces)
        try:
            sockets = await call_in_thread(work, ResolverSockets.close)
        except BaseException:
            os.close(namespace_fd)
            raise
        if not self._adopt(record, place, namespace_fd, sockets):
            raise Conflict(f"container {record.id[:12]} was stopped while it was being started")

    def _adopt(
        self,
        record: ContainerRecord,
        place: _Place | None,
        namespace_fd: int,
        sockets: ResolverSockets,
    ) -> bool:
        """Let a resolver answer in the container that had ``place`` when it was begun.

        Takes the descriptors. False, and nothing is kept, if the container has gone meanwhile, or
        has a resolver.
        """
        if place is None or self._places.get(record.id) is not place or place.resolver:
            os.close(namespace_fd)
            sockets.close()
            return False
        place.namespace_fd = namespace_fd
        self._start_resolver(record, place, sockets)
        return True

    def _start_resolver(
        self, record: ContainerRecord, place: _Place, sockets: ResolverSockets
    ) -> None:
        async def connect(upstream: Upstream, kind: int) -> socket.socket:
            family = socket.AF_INET6 if ":" in upstream.address else socket.AF_INET
            if not upstream.inside:
                return socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            work = partial(open_socket, os.dup(place.namespace_fd), family, kind)
            return await call_in_thread(work, socket.socket.close)

        view = self._view(record, place)
        place.resolver = Resolver(sockets, self._names, view, connect)

    def _view(self, record: ContainerRecord, place: _Place) -> View:
        asked = record.host_config
        inside = bool(asked.dns)
        servers = asked.dns or self._config.dns
        ways_out = any(network.leads_out for network, _ in place.asked)
        options = [*(asked.dns_options or self._config.dns_opts)]
        return View(
            networks=tuple(name for name in order_for_names(place.asked) if name != BRIDGE),
            links={
                network.name: _parse_links(endpoint.links)
                for network, endpoint in place.asked
                if endpoint.links
            },
            upstreams=tuple(Upstream(server, inside) for server in servers)
            if ways_out or inside
            else (),
            host_servers=self._host_servers if ways_out and not servers else None,
            keep_single_labels=any(
                option.startswith("ndots:") and option != "ndots:0" for option in options
            ),
        )

    def _retake(self, record: ContainerRecord) -> None:
        """Know again what a container of the last engine has, from its record."""
        place = _Place([])
        for name, endpoint in record.networks.items():
            network = self._catalog.find(name)
            if network is not None and network.wired and endpoint.endpoint_id:
                place.asked.append(Asked(network, endpoint))
                self._publish_names(record, network, endpoint)
        if not place.asked:
            return
        self._places[record.id] = place
        if not record.ports:
            return
        target, who = find_target(place.asked)
        place.held, warnings = self._ports.retake(record.ports, target, who=who or record.name)
        for warning in warnings:
            _log.warning("container %s: %s", record.id[:12], warning)
        self._firewall.replace_ports([*self._firewall.ports, *place.held.ports])
        for listener, _, port in place.held.listeners:
            self._relay.start(listener, target.ipv6 or target.ipv4, port)

    def needs_namespace(self, id: ContainerId) -> bool:  # noqa: A002 - the Engine API's word
        """Whether ``resume`` has something to do in a container that was taken over."""
        place = self._places.get(id)
        named = place is not None and place.resolver is None and is_named(place.asked)
        return named or (place is not None and bool(self._list_parented()))

    async def resume(self, record: ContainerRecord, namespace_fd: int) -> None:
        """Resolve names again for a container that an earlier engine started.

        An interface that the earlier engine made, but did not come to record, is removed. Takes
        the descriptor of its network namespace.
        """
        async with AsyncExitStack() as undo:
            undo.callback(os.close, namespace_fd)
            place = self._places.get(record.id)
            if place is None:
                return
            try:
                await self._remove_strangers(record, place, namespace_fd)
            except (BarqueError, OSError) as error:
                _log.error("container %s: a leftover interface stays: %s", record.id[:12], error)
            if is_named(place.asked):
                await self._open_resolver(record, place, os.dup(namespace_fd))

    async def _remove_strangers(
        self, record: ContainerRecord, place: _Place, namespace_fd: int
    ) -> None:
        """Do inside what ``_unplug_strangers`` does for bridges in the host."""
        parented = {network.id for network in self._list_parented()}
        held = self._catalog.list_held(record.id)
        async with place.inside:
            known = {
                address
                for _, endpoint in place.asked
                for address in (endpoint.ip_address, endpoint.global_ipv6_address)
            }
            lost = [a for network_id, a in held if network_id in parented and a not in known]
            if not lost:
                return
            work = partial(remove_strangers, os.dup(namespace_fd), lost)
            for name in await call_in_thread(work):
                _log.warning("container %s: removed the leftover %s", record.id[:12], name)

    def _list_parented(self) -> Sequence[NetworkRecord]:
        """Return the networks whose interfaces are seen inside of containers only."""
        return [network for network in self._catalog.list() if network.parent]

    async def _open_resolver(
        self, record: ContainerRecord, place: _Place, namespace_fd: int
    ) -> None:
        """Let names be resolved in a container that runs, unless they are. Takes the descriptor.

        A container that an earlier engine started may be connected while it is resumed.
        """
        try:
            async with place.inside:
                if place.resolver is None:
                    work = partial(open_resolver, os.dup(namespace_fd))
                    sockets = await call_in_thread(work, ResolverSockets.close)
                    self._adopt(record, place, os.dup(namespace_fd), sockets)
        finally:
            os.close(namespace_fd)

    async def connect(
        self, record: ContainerRecord, ref: str, asked: EndpointSettings, namespace_fd: int
    ) -> Attachment:
        """Put a running container on one more network, at once.

        Takes the descriptor of its network namespace. Returns what it has from now on; on
        failure it has what it had. Raises as ``attach``, and PermissionDenied if it is on the
        network already.
        """
        async with AsyncExitStack() as undo:
            undo.callback(os.close, namespace_fd)
            network = self._catalog.get(ref)
            place = self._places.get(record.id)
            if place is None:
                raise Conflict(f"container {record.id[:12]} has no network to be added to")
            self._check_connect(record, place, network)
            check_endpoint(network.name, asked)
            undo.callback(self._leave, record, place, network)
            joined = self._join(record, network, asked)
            place.asked.append(Asked(network, joined))
            name = get_name(joined.driver_opts)
            interface = make_interface(
                network,
                joined,
                name or network.interface_prefix,
                big_tcp=self._takes_big_tcp(record),
            )
            interface.reflected = bool(
                interface.bridge and (place.held.ports or record.host_config.port_bindings)
            )
            before = list_ways(place.asked[:-1])
            after = list_ways(place.asked)
            changed = [way for way in after if way not in before]
            work = partial(add_interface, namespace_fd, interface, changed, named=bool(name))
            async with place.inside:
                await call_in_thread(work)
            undo.push_async_callback(self._unplug, network, joined, namespace_fd)
            self._check_there(record, place)
            if after != before:
                self._move_ports(record, place)
            if is_named(place.asked):
                await self._open_resolver(record, place, os.dup(namespace_fd))
                self._check_there(record, place)
            self._publish_names(record, network, joined)
            if place.resolver is not None:
                place.resolver.view = self._view(record, place)
            self._advertise(record.id, network, joined)
            undo.pop_all()
            os.close(namespace_fd)
        return self._now(place, record)

    def _check_there(self, record: ContainerRecord, place: _Place) -> None:
        """Raise Conflict if the container has ended meanwhile: what it held is given back."""
        if self._places.get(record.id) is not place:
            raise Conflict(f"container {record.id[:12]} was stopped while it was connected")

    @staticmethod
    async def _unplug(
        network: NetworkRecord, endpoint: EndpointSettings, namespace_fd: int
    ) -> None:
        """Remove an endpoint's interface: by its end in the host, where it has one."""
        if network.bridge:
            remove_interface(host_interface(endpoint))
            return
        addresses = [*filter(None, (endpoint.ip_address, endpoint.global_ipv6_address))]
        await call_in_thread(partial(remove_inside, namespace_fd, addresses))

    @staticmethod
    def _check_connect(record: ContainerRecord, place: _Place, network: NetworkRecord) -> None:
        check_joinable(network)
        if any(network.name == there.name for there, _ in place.asked):
            raise PermissionDenied(
                f"endpoint with name {record.name} already exists in network {network.name}"
            )

    def _leave(self, record: ContainerRecord, place: _Place, network: NetworkRecord) -> None:
        place.asked = [asked for asked in place.asked if asked.network.name != network.name]
        self._names.remove(network.name, record.id)
        self._catalog.free(record.id, network.id)

    async def disconnect(
        self,
        record: ContainerRecord,
        name: str,
        namespace_fd: int,
        keep: Callable[[Attachment], object],
    ) -> Attachment:
        """Take a running container off a network, at once. Takes the descriptor.

        ``keep`` records that it is off before anything is done: what an engine that is killed
        right then leaves, ``setup`` of the next one takes away. Returns what the container has
        from now on. Raises FailedPrecondition if it is not on the network.
        """
        try:
            place = self._places.get(record.id)
            endpoint = (
                next((asked.endpoint for asked in place.asked if asked.network.name == name), None)
                if place
                else None
            )
            if place is None or endpoint is None:
                raise FailedPrecondition(
                    f"container {record.id} is not connected to network {name}"
                )
            before = list_ways(place.asked)
            network = self._catalog.get(name)
            place.asked = [asked for asked in place.asked if asked.network.name != name]
            now = self._now(place, record)
            target, _ = find_target(place.asked)
            keep(now if target.ipv4 or target.ipv6 else structs.replace(now, ports={}))
            after = list_ways(place.asked)
            if after != before:
                await call_in_thread(partial(set_ways, namespace_fd, after))
            await self._unplug(network, endpoint, namespace_fd)
            if self._places.get(record.id) is place:
                self._leave(record, place, network)
                if after != before:
                    self._move_ports(record, place)
                if place.resolver is not None:
                    place.resolver.view = self._view(record, place)
        finally:
            os.close(namespace_fd)
        return self._now(place, record)

    def _move_ports(self, record: ContainerRecord, place: _Place) -> None:
        """The way out is another: published ports lead there, under the same numbers."""
        if not place.held.published and not record.host_config.port_bindings:
            return
        published = place.held.published
        self._close_ports(place)
        target, who = find_target(place.asked)
        if not (target.ipv4 or target.ipv6):
            return
        if not published:
            self._publish_ports(record, place)
            return
        place.held, warnings = self._ports.retake(published, target, who=who or record.name)
        for warning in warnings:
            _log.warning("container %s: %s", record.id[:12], warning)
        self._open_ports(place.held, target)

    def _now(self, place: _Place, record: ContainerRecord) -> Attachment:
        return Attachment(
            networks={network.name: endpoint for network, endpoint in place.asked},
            ports=place.held.published,
            sandbox_id=record.sandbox_id,
            named=is_named(place.asked),
        )

    def files_directory(self, record: ContainerRecord, containers: Path) -> Path:
        """Return where the container's files are; see ``ContainerFiles``."""
        return self._files.directory(record, containers)

    def write_files(self, record: ContainerRecord, attachment: Attachment, directory: Path) -> None:
        """Write hosts, hostname and resolv.conf for a start; see ``ContainerFiles``."""
        self._files.write(record, attachment, directory)

    def update_files(
        self, record: ContainerRecord, attachment: Attachment, directory: Path
    ) -> None:
        """Bring the files of a running container up to date; see ``ContainerFiles``."""
        self._files.update(record, attachment, directory)

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


def _choose_mac(network: NetworkRecord, asked: str) -> str:
    """Return the MAC address of an endpoint, "" where it is the parent's."""
    if network.driver == "ipvlan":
        if asked:
            raise InvalidArgument("ipvlan interfaces do not support custom mac address assignment")
        return ""
    if network.driver == "macvlan" and network.link_mode == "passthru" and not asked:
        return ""
    mac = asked or bridge.make_mac()
    check_mac(mac)
    return mac


def _shown_gateway(network: NetworkRecord, version: int, address: str) -> str:
    gateway = network.route_gateway(version, address)
    return gateway if gateway and any(ip_address(gateway).packed) else ""


def _outside(address: str) -> str:
    return f"invalid endpoint settings:\nno configured subnet contains IP address {address}"


def _check_within(address: str, network: NetworkRecord, version: int) -> None:
    try:
        inside = network.find_pool(version, address)
    except ValueError:
        raise InvalidArgument(
            f"invalid endpoint settings:\ninvalid IP address: {address}"
        ) from None
    if not inside:
        raise InvalidArgument(_outside(address))


def _parse_links(links: Iterable[str] | None) -> Mapping[str, str]:
    """Read ``name:alias``: alias to name, in lower case."""
    parsed = {}
    for link in links or ():
        name, _, alias = link.partition(":")
        parsed[(alias or name).lower()] = name
    return parsed


def _dispose(made: tuple[int, ResolverSockets]) -> None:
    os.close(made[0])
    made[1].close()
