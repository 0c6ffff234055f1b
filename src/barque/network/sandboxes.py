"""Sandboxes, the network namespaces of containers: made ready, and names answered in them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from barque.errors import BarqueError, Conflict
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord
from barque.network.attachment import Attachment
from barque.network.catalog import Catalog
from barque.network.config import NetworkConfig
from barque.network.endpoints import BRIDGE, is_named, order_for_names
from barque.network.hostservers import HostServers
from barque.network.names import Names
from barque.network.namespaces import (
    ResolverSockets,
    call_in_thread,
    make_namespace,
    open_resolver,
    open_socket,
    remove_strangers,
    wire_namespace,
)
from barque.network.place import Place
from barque.network.resolver import Resolver, Upstream, View

_log = logging.getLogger("barque.network")


class Sandboxes:
    """Works in containers' network namespaces, and keeps their resolvers. Use on the loop's thread.

    A container may be stopped while something is done inside: then its place has ended, and
    what has been made goes with its namespace.
    """

    def __init__(self, catalog: Catalog, config: NetworkConfig, names: Names) -> None:
        """``names`` are those that resolvers answer from."""
        self._catalog = catalog
        self._config = config
        self._names = names
        self._host_servers = HostServers()

    # At a start

    async def make(
        self, record: ContainerRecord, place: Place | None, attachment: Attachment
    ) -> int:
        """Return a descriptor of a namespace made ready, which stays the place's.

        Raises Conflict if the container is no more, KernelError.
        """
        made, sockets = await call_in_thread(
            partial(make_namespace, attachment.interfaces), _dispose
        )
        if not self._adopt(record, place, made, sockets):
            raise _stopped(record)
        return made

    async def wire(
        self,
        record: ContainerRecord,
        place: Place | None,
        attachment: Attachment,
        namespace_fd: int,
    ) -> None:
        """Make ready the namespace that the container, which waits, has made itself.

        Takes the descriptor. Raises Conflict if the container is no more, KernelError.
        """
        work = partial(wire_namespace, os.dup(namespace_fd), attachment.interfaces)
        try:
            sockets = await call_in_thread(work, ResolverSockets.close)
        except BaseException:
            os.close(namespace_fd)
            raise
        if not self._adopt(record, place, namespace_fd, sockets):
            raise _stopped(record)

    # While the container runs

    def needs_namespace(self, place: Place) -> bool:
        """Whether ``resume`` has something to do in a container that was taken over."""
        return (place.resolver is None and is_named(place.asked)) or bool(self._list_parented())

    async def resume(self, record: ContainerRecord, place: Place, namespace_fd: int) -> None:
        """Go on with a container of the last engine. The descriptor stays the caller's.

        An interface that the last engine made, but did not come to record, is removed; names are
        resolved again.
        """
        try:
            await self._remove_strangers(record, place, namespace_fd)
        except (BarqueError, OSError) as error:
            _log.error("container %s: a leftover interface stays: %s", record.id[:12], error)
        if is_named(place.asked):
            await self.open_resolver(record, place, namespace_fd)

    async def open_resolver(self, record: ContainerRecord, place: Place, namespace_fd: int) -> None:
        """Let names be resolved in a container that runs, unless they are.

        A container that an earlier engine started may be connected while it is resumed. The
        descriptor stays the caller's.
        """
        async with place.inside:
            if place.resolver is None:
                work = partial(open_resolver, os.dup(namespace_fd))
                sockets = await call_in_thread(work, ResolverSockets.close)
                self._adopt(record, place, os.dup(namespace_fd), sockets)

    def refresh(self, record: ContainerRecord, place: Place) -> None:
        """Let the resolver, if there is one, answer as the container's networks are now."""
        if place.resolver is not None:
            place.resolver.view = self._view(record, place)

    @staticmethod
    def close(place: Place) -> None:
        """Let go of a container's sandbox, which goes on without answers. Idempotent."""
        if place.resolver is not None:
            place.resolver.close()
            place.resolver = None
        if place.namespace_fd >= 0:
            os.close(place.namespace_fd)
            place.namespace_fd = -1

    async def _remove_strangers(
        self, record: ContainerRecord, place: Place, namespace_fd: int
    ) -> None:
        """Do inside what ``Host.unplug_strangers`` does for bridges."""
        parented = {network.id for network in self._list_parented()}
        held = self._catalog.list_held(record.id)
        async with place.inside:
            known = {address for _, endpoint in place.asked for address in endpoint.addresses}
            lost = [a for network_id, a in held if network_id in parented and a not in known]
            if not lost:
                return
            work = partial(remove_strangers, os.dup(namespace_fd), lost)
            for name in await call_in_thread(work):
                _log.warning("container %s: removed the leftover %s", record.id[:12], name)

    def _list_parented(self) -> Sequence[NetworkRecord]:
        """Return the networks whose interfaces are seen inside of containers only."""
        return [network for network in self._catalog.list() if network.parent]

    # Resolvers

    def _adopt(
        self,
        record: ContainerRecord,
        place: Place | None,
        namespace_fd: int,
        sockets: ResolverSockets,
    ) -> bool:
        """Let a resolver answer at ``sockets``. Takes the descriptors.

        False, and nothing is kept, if the container has gone meanwhile, or has a resolver.
        """
        if place is None or place.ended or place.resolver:
            _dispose((namespace_fd, sockets))
            return False
        place.namespace_fd = namespace_fd

        async def connect(upstream: Upstream, kind: int) -> socket.socket:
            family = socket.AF_INET6 if ":" in upstream.address else socket.AF_INET
            if not upstream.inside:
                return socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            work = partial(open_socket, os.dup(place.namespace_fd), family, kind)
            return await call_in_thread(work, socket.socket.close)

        place.resolver = Resolver(sockets, self._names, self._view(record, place), connect)
        return True

    def _view(self, record: ContainerRecord, place: Place) -> View:
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


def _parse_links(links: Iterable[str]) -> Mapping[str, str]:
    """Read ``name:alias``: alias to name, in lower case."""
    parsed = {}
    for link in links:
        name, _, alias = link.partition(":")
        parsed[(alias or name).lower()] = name
    return parsed


def _dispose(made: tuple[int, ResolverSockets]) -> None:
    os.close(made[0])
    made[1].close()


def _stopped(record: ContainerRecord) -> Conflict:
    return Conflict(f"container {record.id[:12]} was stopped while it was being started")
