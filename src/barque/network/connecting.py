"""Connect and disconnect: a running container is put on a network, or taken off, at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from msgspec import structs

from barque.errors import Conflict, FailedPrecondition, PermissionDenied
from barque.models.api import EndpointSettings
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord
from barque.network.advertise import Advertiser
from barque.network.attachment import Attachment
from barque.network.catalog import Catalog
from barque.network.endpointoptions import get_name
from barque.network.endpoints import (
    Asked,
    check_joinable,
    find_target,
    host_interface,
    is_named,
    list_ways,
)
from barque.network.joining import Joiner
from barque.network.namespaces import (
    add_interface,
    call_in_thread,
    remove_inside,
    remove_interface,
    set_ways,
)
from barque.network.place import Place
from barque.network.publishing import Publisher
from barque.network.refusals import check_endpoint
from barque.network.sandboxes import Sandboxes


class Connector:
    """Changes the networks of containers that run. Use on the loop's thread.

    ``namespace_fd`` is of the container's network namespace, and stays the caller's.
    """

    def __init__(
        self,
        catalog: Catalog,
        joiner: Joiner,
        publisher: Publisher,
        sandboxes: Sandboxes,
        advertiser: Advertiser,
    ) -> None:
        self._catalog = catalog
        self._joiner = joiner
        self._publisher = publisher
        self._sandboxes = sandboxes
        self._advertiser = advertiser

    async def connect(
        self,
        record: ContainerRecord,
        place: Place,
        network: NetworkRecord,
        asked: EndpointSettings,
        namespace_fd: int,
    ) -> Attachment:
        """Put a container on one more network; return what it has from now on.

        On failure it has what it had. Raises as ``Joiner.join``, PermissionDenied if it is on the
        network already, Conflict if it ends meanwhile.
        """
        check_joinable(network)
        if any(network.name == there.name for there, _ in place.asked):
            raise PermissionDenied(
                f"endpoint with name {record.name} already exists in network {network.name}"
            )
        check_endpoint(network.name, asked)
        async with AsyncExitStack() as undo:
            undo.callback(self._joiner.leave, record, place, network)
            before = list_ways(place.asked)
            joined = self._joiner.join(record, network, asked)
            place.asked.append(Asked(network, joined))
            after = list_ways(place.asked)
            name = get_name(joined.driver_opts)
            interface = self._joiner.make_interface(
                record, network, joined, name or network.interface_prefix
            )
            interface.reflected = bool(
                interface.bridge and (place.held.ports or record.host_config.port_bindings)
            )
            changed = [way for way in after if way not in before]
            work = partial(add_interface, namespace_fd, interface, changed, named=bool(name))
            async with place.inside:
                await call_in_thread(work)
            undo.push_async_callback(_unplug, network, joined, namespace_fd)
            _check_there(record, place)
            if after != before:
                self._publisher.move(record, place)
            if is_named(place.asked):
                await self._sandboxes.open_resolver(record, place, namespace_fd)
                _check_there(record, place)
            self._joiner.publish_names(record, network, joined)
            self._sandboxes.refresh(record, place)
            self._advertiser.tell(network, joined, partial(place.has, joined))
            undo.pop_all()
        return place.attachment(record.sandbox_id)

    async def disconnect(
        self,
        record: ContainerRecord,
        place: Place,
        name: str,
        namespace_fd: int,
        keep: Callable[[Attachment], object],
    ) -> Attachment:
        """Take a container off a network; return what it has from now on.

        ``keep`` records that it is off before anything is done: what an engine that is killed
        right then leaves, the next one takes away. Raises FailedPrecondition if it is not on the
        network.
        """
        endpoint = next((there for network, there in place.asked if network.name == name), None)
        if endpoint is None:
            raise not_connected(record, name)
        before = list_ways(place.asked)
        network = self._catalog.get(name)
        place.asked = [asked for asked in place.asked if asked.network.name != name]
        now = place.attachment(record.sandbox_id)
        target, _ = find_target(place.asked)
        keep(now if target.ipv4 or target.ipv6 else structs.replace(now, ports={}))
        after = list_ways(place.asked)
        if after != before:
            await call_in_thread(partial(set_ways, namespace_fd, after))
        await _unplug(network, endpoint, namespace_fd)
        if not place.ended:
            self._joiner.leave(record, place, network)
            if after != before:
                self._publisher.move(record, place)
            self._sandboxes.refresh(record, place)
        return place.attachment(record.sandbox_id)


def not_connected(record: ContainerRecord, network: str) -> FailedPrecondition:
    """Return the error for whoever is taken off a network that it is not on."""
    return FailedPrecondition(f"container {record.id} is not connected to network {network}")


def _check_there(record: ContainerRecord, place: Place) -> None:
    """Raise Conflict if the container has ended meanwhile: what it held is given back."""
    if place.ended:
        raise Conflict(f"container {record.id[:12]} was stopped while it was connected")


async def _unplug(network: NetworkRecord, endpoint: EndpointSettings, namespace_fd: int) -> None:
    """Remove an endpoint's interface: by its end in the host, where it has one."""
    if network.bridge:
        remove_interface(host_interface(endpoint))
        return
    await call_in_thread(partial(remove_inside, namespace_fd, [*endpoint.addresses]))
