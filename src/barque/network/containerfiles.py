"""A container's hosts, hostname and resolv.conf, as files.

They are overwritten in place, as containers have them mounted. A resolv.conf or hosts file that
somebody edited in the container is left alone.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from barque.errors import Conflict, InvalidArgument
from barque.models.container import ContainerRecord
from barque.models.network import NetworkRecord
from barque.network import files
from barque.network.attachment import Attachment
from barque.network.config import NetworkConfig
from barque.network.endpoints import BRIDGE
from barque.network.files import RESOLVER, read
from barque.network.modes import CONTAINER_PREFIX, DEFAULT_MODES

_FILE_MODE = 0o644
_MOST_SHARERS = 32
_IPV6_OFF = frozenset({"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6"})
_SECOND_NS = 1_000_000_000
_OUR_MARK_NS = 1
"""Nanoseconds in the modification time of a file that is as we wrote it. A writer's time is the
kernel's clock, which hits them once in a thousand million; a second file with a hash would cost
every start a tenth of a millisecond."""


class ContainerFiles:
    """Writes them, from a container's record and what it has of the network."""

    def __init__(
        self,
        config: NetworkConfig,
        find: Callable[[str], NetworkRecord | None],
        containers: Callable[[str], ContainerRecord],
    ) -> None:
        """``find`` looks a network up by its name, ``containers`` a container by any."""
        self._config = config
        self._find = find
        self._containers = containers

    def directory(self, record: ContainerRecord, containers: Path) -> Path:
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

    def write(self, record: ContainerRecord, attachment: Attachment, directory: Path) -> None:
        """Write hosts, hostname and resolv.conf (0644) into ``directory``, for a start.

        Files are overwritten in place, as containers that share them have them mounted. A
        resolv.conf that was edited in the container is kept. Writes nothing for a container
        that shares another's.
        """
        if attachment.join is not None:
            return
        hostname = self._hostname(record, attachment)
        write(directory / "hostname", f"{hostname}\n")
        write(directory / "hosts", self._hosts(record, attachment, hostname))
        write_unless_edited(directory / "resolv.conf", self._resolv_conf(record, attachment))

    def update(self, record: ContainerRecord, attachment: Attachment, directory: Path) -> None:
        """Bring hosts and resolv.conf of a running container up to date, unless edited."""
        hosts = self._hosts(record, attachment, self._hostname(record, attachment))
        write_unless_edited(directory / "hosts", hosts)
        write_unless_edited(directory / "resolv.conf", self._resolv_conf(record, attachment))

    @staticmethod
    def _hostname(record: ContainerRecord, attachment: Attachment) -> str:
        if record.config.hostname:
            return record.config.hostname
        return socket.gethostname() if attachment.host else record.id[:12]

    def _hosts(self, record: ContainerRecord, attachment: Attachment, hostname: str) -> str:
        host_config = record.host_config
        if attachment.host and not host_config.extra_hosts:
            return read("/etc/hosts")
        gateways = self._config.host_gateway_ips
        default = self._find(BRIDGE)
        if not gateways and default is not None:
            gateways = [default.gateway]
        sysctls = host_config.sysctls or {}
        extra = files.resolve_extra_hosts(host_config.extra_hosts or (), gateways)
        return files.render_hosts(
            extra=[*extra, *self._list_linked(record)],
            addresses=[
                address
                for endpoint in attachment.networks.values()
                for address in endpoint.addresses
            ],
            hostname=hostname,
            domainname=record.config.domainname,
            ipv6=not any(sysctls.get(name) == "1" for name in _IPV6_OFF),
        )

    def _list_linked(self, record: ContainerRecord) -> list[tuple[str, str]]:
        """Return the hosts lines of links on the default network (``--link name:alias``).

        Raises Conflict if a target does not run or is not on the default network.
        """
        if record.host_config.network_mode not in DEFAULT_MODES:
            return []  # on others, links are aliases of the resolver
        lines = []
        for link in record.host_config.links or ():
            name, _, alias = link.partition(":")
            alias = alias.rpartition("/")[2] or name
            other = self._containers(name)
            if not other.state.running:
                raise Conflict(
                    f"Cannot link to a non running container: /{other.name} AS "
                    f"/{record.name}/{alias}"
                )
            endpoint = other.networks.get(BRIDGE)
            if endpoint is None or not endpoint.ip_address:
                raise Conflict(
                    f"Cannot link to /{other.name}, as it does not belong to the default network"
                )
            names = dict.fromkeys((alias, other.config.hostname or other.id[:12], other.name))
            lines.append((endpoint.ip_address, " ".join(names)))
        return lines

    def _resolv_conf(self, record: ContainerRecord, attachment: Attachment) -> str:
        asked, config = record.host_config, self._config
        servers = asked.dns or config.dns
        search = asked.dns_search or config.dns_search
        options = asked.dns_options or config.dns_opts
        if attachment.host:
            host = read("/etc/resolv.conf")
            if not (servers or search or options):
                return host
            return files.render_resolv_conf(
                host, servers=servers, search=search, options=options, keep_local=True
            )
        host = files.read_host_resolv_conf(read)
        if attachment.named:
            return files.render_own_resolv_conf(
                read("/etc/resolv.conf"), RESOLVER, servers=servers, search=search, options=options
            )
        return files.render_resolv_conf(host, servers=servers, search=search, options=options)


def write(path: Path, content: str) -> None:
    """Write a file (0644), whatever it is now, and mark it as ours."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, _FILE_MODE)
    try:
        os.fchmod(fd, _FILE_MODE)
        os.write(fd, content.encode(errors="surrogateescape"))
        now = time.time_ns()
        os.utime(fd, ns=(now, now - now % _SECOND_NS + _OUR_MARK_NS))
    finally:
        os.close(fd)


def write_unless_edited(path: Path, content: str) -> None:
    """Write a file unless somebody else has written to it since we did."""
    try:
        if path.stat().st_mtime_ns % _SECOND_NS != _OUR_MARK_NS:
            return
    except FileNotFoundError:
        write(path, content)
        return
    write(path, content)
