"""Published ports of running containers: numbers held, rules in force, relays at work."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from barque.errors import KernelError
from barque.kernel.conntrack import forget_udp
from barque.models.container import ContainerRecord
from barque.models.network import OPTION_HOST_BINDING
from barque.network import bridge
from barque.network.endpoints import Target, choose_gateway, find_target
from barque.network.firewall import Firewall
from barque.network.namespaces import call_in_thread
from barque.network.place import Place
from barque.network.ports import Held, PortAllocator, Published, parse_bindings
from barque.network.relay import Relay

_log = logging.getLogger("barque.network")


class Publisher:
    """Leads ports of the host to containers. Use on the loop's thread."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._ports = PortAllocator(ipv6=bridge.has_ipv6())
        self._relay = Relay()
        self._forgetting: set[asyncio.Task[None]] = set()

    def publish(self, record: ContainerRecord, place: Place) -> None:
        """Publish what the container asks for, all or nothing.

        Raises FailedPrecondition (a port is taken), InvalidArgument, KernelError.
        """
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
        self._open(place.held, target)

    def retake(self, record: ContainerRecord, place: Place) -> None:
        """Hold again what a container of the last engine has; the next ``apply`` enforces it."""
        if not record.ports:
            return
        target = self._hold_again(record, place, record.ports)
        self._firewall.replace_ports([*self._firewall.ports, *place.held.ports])
        self._relay_to(place.held, target)

    def move(self, record: ContainerRecord, place: Place) -> None:
        """The way out is another: published ports lead there, under the same numbers."""
        published = place.held.published
        if not published and not record.host_config.port_bindings:
            return
        self.withdraw(place)
        target, _ = find_target(place.asked)
        if not (target.ipv4 or target.ipv6):
            return
        if not published:
            self.publish(record, place)
            return
        self._hold_again(record, place, published)
        self._open(place.held, target)

    def withdraw(self, place: Place) -> None:
        """Publish nothing of a container any more. Idempotent."""
        for listener, _, _ in place.held.listeners:
            self._relay.stop(listener)
        self._firewall.withdraw(place.held.ports)
        self._forget_flows(place.held)
        self._ports.release(place.held)
        place.held = Held()

    def close(self) -> None:
        """End what is relayed. Ports stay held, and rules in force."""
        self._relay.close()

    def _hold_again(self, record: ContainerRecord, place: Place, published: Published) -> Target:
        target, who = find_target(place.asked)
        place.held, warnings = self._ports.retake(published, target, who=who or record.name)
        for warning in warnings:
            _log.warning("container %s: %s", record.id[:12], warning)
        return target

    def _open(self, held: Held, target: Target) -> None:
        self._firewall.publish(held.ports)
        self._forget_flows(held)
        self._relay_to(held, target)

    def _relay_to(self, held: Held, target: Target) -> None:
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
