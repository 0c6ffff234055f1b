"""The host's interfaces upon which macvlan and ipvlan networks are made.

``eth0`` is taken as it is. ``eth0.50``, where there is none, is made: what ``eth0`` sends and
receives with the 802.1Q tag 50. A network without a parent has a dummy of its own, by which its
containers meet and nobody else.
"""

from __future__ import annotations

import errno

from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel.netlink import (
    Netlink,
    Request,
    add_dummy,
    add_vlan,
    delete_link,
    set_link,
    try_kind,
)

_OPTIONS = {
    "macvlan": ("macvlan", "CONFIG_MACVLAN"),
    "ipvlan": ("ipvlan", "CONFIG_IPVLAN"),
    "vlan": ("8021q", "CONFIG_VLAN_8021Q"),
    "dummy": ("dummy", "CONFIG_DUMMY"),
}
"""By kind of interface: the kernel's module and its option."""
_HIGHEST_VLAN = 4094


def check_kind(kind: str) -> None:
    """Raise FailedPrecondition if this kernel has no interfaces of ``kind`` (macvlan, ipvlan)."""
    with Netlink() as netlink:
        try:
            netlink.execute(try_kind(kind))
        except KernelError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise _missing(kind) from error


def parse_vlan(parent: str) -> tuple[str, int]:
    """Split ``eth0.50``. Raises InvalidArgument, with docker's texts."""
    device, dot, number = parent.rpartition(".")
    if not dot:
        raise InvalidArgument(
            f"the requested parent interface {parent} was not found on this host; a sub-interface "
            "that is to be made is named as eth0.10 for VLAN 10"
        )
    if not (number.isascii() and number.isdigit()):
        raise InvalidArgument(
            f"unable to parse a valid vlan id from: {number} (ex. eth0.10 for vlan 10)"
        )
    if not 1 <= int(number) <= _HIGHEST_VLAN:
        raise InvalidArgument(f"vlan id must be between 1-4094, received: {number}")
    return device, int(number)


def open_parent(name: str, *, dummy: bool) -> None:
    """Make the parent unless it is there. Idempotent.

    Raises InvalidArgument if it is missing and cannot be made, FailedPrecondition if the kernel
    lacks what it takes, KernelError.
    """
    with Netlink() as netlink:
        index = netlink.find_index(name)
        if index is not None:
            return
        if dummy:
            _add(netlink, "dummy", add_dummy(name))
        else:
            device, vlan = parse_vlan(name)
            below = netlink.find_index(device)
            if below is None:
                raise InvalidArgument(f"-o parent interface was not found on the host: {device}")
            _add(netlink, "vlan", add_vlan(name, parent=below, vlan=vlan))
        netlink.execute(set_link(netlink.index(name), up=True))


def delete_parent(name: str) -> None:
    """Remove a parent that we made, and with it what is upon it. Idempotent."""
    with Netlink() as netlink:
        index = netlink.find_index(name)
        if index is not None:
            netlink.execute(delete_link(index))


def _add(netlink: Netlink, kind: str, request: Request) -> None:
    try:
        netlink.execute(request)
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise _missing(kind) from error
        raise


def _missing(kind: str) -> FailedPrecondition:
    module, option = _OPTIONS[kind]
    return FailedPrecondition(
        f"this kernel has no interfaces of kind {kind}: load its module (modprobe {module}), or "
        f"run a kernel that is built with {option}"
    )
