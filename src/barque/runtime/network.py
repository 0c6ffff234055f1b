"""Wire a container's new network namespace, from inside it.

Called by the container's init. The kernel takes everything away again with the namespace:
there is no undo here, and nothing to undo when a step fails and the init leaves.
"""

from __future__ import annotations

import errno
import os

from barque.errors import KernelError
from barque.kernel.netlink import (
    LOOPBACK,
    Netlink,
    Request,
    add_address,
    add_default_route,
    add_ipvlan,
    add_macvlan,
    add_veth,
    isolate_port,
    reflect_port,
    set_link,
)
from barque.kernel.process import CLONE_NEWNET, setns
from barque.models.launch import Interface

_DISABLE_IPV6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"


def configure(interfaces: list[Interface], host_netns_fd: int) -> None:
    """Bring ``lo`` up and make ``interfaces``, in the calling process's network namespace.

    ``host_netns_fd`` is the namespace of the bridges; it stays open and the caller's, and
    is not used without interfaces. To be called while the host's /proc is still mounted
    (/proc/sys/net shows the caller's own namespace), with CAP_NET_ADMIN over both
    namespaces and CAP_SYS_ADMIN, by a process with one thread. Imports nothing.

    Raises KernelError naming the step and the interface.
    """
    with Netlink() as netlink:
        if not interfaces:
            netlink.execute(set_link(LOOPBACK, up=True))
            return
        ipv6 = _Ipv6Default()
        requests = [set_link(LOOPBACK, up=True)]
        with _open_host(host_netns_fd, netlink) as host:
            for interface in interfaces:
                ipv6.set_disabled(not any(":" in address for address in interface.addresses))
                if interface.parent:
                    _add_upon_parent(interface, host, netlink)
                else:
                    requests.append(_pair(interface, host, host_netns_fd))
                netlink.execute(*requests)
                if interface.isolated:
                    host.execute(isolate_port(host.index(interface.host_name)))
                if interface.reflected:
                    host.execute(reflect_port(host.index(interface.host_name)))
                index = netlink.index(interface.name)
                _write_sysctls(interface)
                gateways = [way for way in (interface.gateway, interface.gateway6) if way]
                netlink.execute(
                    *(add_address(index, address) for address in interface.addresses),
                    set_link(index, up=True),
                    *(add_default_route(index, gateway) for gateway in gateways),
                )
                requests.clear()
        ipv6.set_disabled(False)


def _pair(interface: Interface, host: Netlink, host_netns_fd: int) -> Request:
    return add_veth(
        interface.host_name,
        namespace_fd=host_netns_fd,
        master=host.index(interface.bridge),
        peer=interface.name,
        peer_mac=interface.mac,
        mtu=interface.mtu,
    )


def _add_upon_parent(interface: Interface, host: Netlink, inside: Netlink) -> None:
    """Make an interface of a parent in the host; it is born where it belongs."""
    parent = host.index(interface.parent)
    namespace_fd = inside.open_namespace()
    try:
        if interface.kind == "macvlan":
            host.execute(
                add_macvlan(
                    interface.name,
                    namespace_fd=namespace_fd,
                    parent=parent,
                    mode=interface.mode,
                    mac=interface.mac,
                    mtu=interface.mtu,
                )
            )
        else:
            host.execute(
                add_ipvlan(
                    interface.name,
                    namespace_fd=namespace_fd,
                    parent=parent,
                    mode=interface.mode,
                    flag=interface.flag,
                    mtu=interface.mtu,
                )
            )
    finally:
        os.close(namespace_fd)


def _write_sysctls(interface: Interface) -> None:
    """Set what was asked for the interface; before it is up, as some settings are read then."""
    for key, value in interface.sysctls:
        path = f"/proc/sys/net/{key.replace('IFNAME', interface.name)}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise KernelError("write", error.errno or 0, path) from error


def _open_host(host_netns_fd: int, netlink: Netlink) -> Netlink:
    """Open a socket in the host's namespace, and be back in that of ``netlink``."""
    own_netns_fd = netlink.open_namespace()
    try:
        setns(host_netns_fd, CLONE_NEWNET)
        try:
            return Netlink()
        finally:
            setns(own_netns_fd, CLONE_NEWNET)
    finally:
        os.close(own_netns_fd)


class _Ipv6Default:
    """The namespace's default for new interfaces: IPv6 or none.

    An interface of a network without IPv6 gets none at all, as with dockerd: it would
    otherwise believe any neighbour's router advertisements (CVE-2020-13401). It is born with
    the setting, as changing that of an existing interface busily waits for the kernel's
    network lock, which others hold for long; the default is put back afterwards, so that
    interfaces made in the container are not concerned.
    """

    def __init__(self) -> None:
        self._disabled = False

    def set_disabled(self, disabled: bool) -> None:
        """Set the default; a kernel without IPv6 has nothing to set."""
        if disabled == self._disabled:
            return
        try:
            fd = os.open(_DISABLE_IPV6, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"1" if disabled else b"0")
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise KernelError("write", error.errno or 0, _DISABLE_IPV6) from error
        self._disabled = disabled
