"""Wire a container's new network namespace, from inside it.

Called by the container's init. The kernel takes everything away again with the namespace:
there is no undo here, and nothing to undo when a step fails and the init leaves.
"""

from __future__ import annotations

import errno
import os
import re

from barque.errors import InvalidArgument, KernelError
from barque.kernel.files import write_value
from barque.kernel.netlink import (
    IFNAMSIZ,
    LOOPBACK,
    RT_SCOPE_UNIVERSE,
    Netlink,
    Request,
    add_address,
    add_default_route,
    add_ipvlan,
    add_macvlan,
    add_veth,
    isolate_port,
    move_link,
    reflect_port,
    set_link,
)
from barque.kernel.process import CLONE_NEWNET, setns
from barque.models import oci
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
                if interface.gso_in_bytes:
                    _enlarge(host, interface)
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


def check_devices(spec: oci.Spec) -> None:
    """Raise InvalidArgument for network devices that cannot be moved to where they are to be."""
    devices = spec.linux.net_devices
    if devices and not any(ns.type == "network" for ns in spec.linux.namespaces):
        raise InvalidArgument("unable to move network devices without a private network namespace")
    names = [device.name or name for name, device in devices.items()]
    for name in (*devices, *names):
        if not _NAME.fullmatch(name) or name in {".", ".."} or len(name.encode()) >= IFNAMSIZ:
            raise InvalidArgument(f"netDevices: {name!r} cannot be the name of an interface")
    if len({name for name in names if "%d" not in name}) < sum("%d" not in name for name in names):
        raise InvalidArgument("netDevices: two are to have the same name")


def move_devices(devices: dict[str, oci.NetDevice], host_netns_fd: int) -> None:
    """Take ``devices`` of the host, by name, into the calling process's network namespace.

    Each keeps its permanent addresses of global scope, and is up afterwards. Otherwise as
    ``configure``; what has been moved when another cannot be goes where the kernel takes it at
    the namespace's end: hardware back to the host.
    """
    if not devices:
        return
    with Netlink() as netlink, _open_host(host_netns_fd, netlink) as host:
        own_netns_fd = netlink.open_namespace()
        try:
            for name, device in devices.items():
                _move_device(name, device.name or name, host, netlink, own_netns_fd)
        finally:
            os.close(own_netns_fd)


def _move_device(name: str, inside: str, host: Netlink, here: Netlink, here_fd: int) -> None:
    index = host.index(name)
    if here.find_index(inside) is not None:  # said before the host's device is touched
        raise KernelError("move link", errno.EEXIST, f"{name} to {inside}")
    was_up = any(link.up for link in host.links() if link.ifindex == index)
    addresses = [each for each in host.addresses() if each.ifindex == index]
    before = {link.ifindex for link in here.links()}
    try:
        host.execute(set_link(index, up=False), move_link(index, here_fd, inside))
    except KernelError as error:
        host.execute(set_link(index, up=was_up))
        raise KernelError(error.syscall, error.errno, f"{name} to {inside}", error.hint) from None
    (moved,) = (link.ifindex for link in here.links() if link.ifindex not in before)
    kept = [each.cidr for each in addresses if each.permanent and each.scope == RT_SCOPE_UNIVERSE]
    here.execute(*(add_address(moved, cidr) for cidr in kept), set_link(moved, up=True))


_NAME = re.compile(r"[^\s/:]+")


def _pair(interface: Interface, host: Netlink, host_netns_fd: int) -> Request:
    return add_veth(
        interface.host_name,
        namespace_fd=host_netns_fd,
        master=host.index(interface.bridge),
        peer=interface.name,
        peer_mac=interface.mac,
        mtu=interface.mtu,
        gso_max_bytes=interface.gso_in_bytes,
        peer_gso_max_bytes=interface.gso_out_bytes,
    )


def _enlarge(host: Netlink, interface: Interface) -> None:
    """Let the bridge send as big packets as the container takes, now that it has a port.

    It stays as it is where somebody has made a NIC a port of it that cannot.
    """
    bridge = host.index(interface.bridge)
    try:
        host.execute(set_link(bridge, gso_max_bytes=interface.gso_in_bytes))
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise


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
            write_value(path, value)
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
            write_value(_DISABLE_IPV6, "1" if disabled else "0")
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise KernelError("write", error.errno or 0, _DISABLE_IPV6) from error
        self._disabled = disabled
