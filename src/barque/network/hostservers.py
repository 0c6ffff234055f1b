"""The name servers that this host asks, as they are now."""

from __future__ import annotations

import os

from barque.network import files
from barque.network.files import read
from barque.network.resolver import Upstream

RESOLV_CONF = "/etc/resolv.conf"


class HostServers:
    """Those of the host's resolv.conf, which is read again when it has changed.

    A host that moves to another network (DHCP, VPN) has other servers from then on, and so have
    its containers, those that run included.
    """

    def __init__(self, path: str = RESOLV_CONF) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._servers: tuple[Upstream, ...] = ()

    def __call__(self) -> tuple[Upstream, ...]:
        """Return them, to be asked from the host's network."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return ()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            found = files.list_nameservers(read(self._path))
            self._servers = tuple(Upstream(server, inside=False) for server in found)
            self._seen = seen
        return self._servers
