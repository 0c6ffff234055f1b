"""rtnetlink: links, addresses and routes of a network namespace.

Our own encoder instead of a library, because the container's init, a forked process that
may no longer import anything, speaks it as well as the engine does. See rtnetlink(7),
netlink(7) and the kernel's include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h.

Requests are values made by functions (``set_link``, ``add_veth``, ...); ``Netlink.execute``
sends any number of them as one datagram. The kernel carries them out in order while we are
in ``sendto``, each by itself: a failed one does not stop those behind it, and nothing is
undone. The first failure is what is raised.

    with Netlink() as netlink:
        index = netlink.index("barque0")
        netlink.execute(add_address(index, "172.17.0.1/16"), set_link(index, up=True))

Everything is synchronous and never waits: the kernel's answer is in the socket's queue when
``sendto`` returns.
"""

from __future__ import annotations

import _socket as socket  # as in seqpacket: without the classes around it
import errno
import fcntl
import struct
from collections.abc import Iterator
from typing import NamedTuple, Self

from barque.errors import KernelError

# netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

# rtnetlink.h
RTMGRP_LINK = 1
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_GETROUTE = 26
RTM_NEWNEIGH = 28
RT_TABLE_MAIN = 254
RTPROT_BOOT = 3
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RTN_UNICAST = 1
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_TABLE = 15

# if_link.h
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_NET_NS_FD = 28
IFLA_EXT_MASK = 29
IFLA_NUM_TX_QUEUES = 31
IFLA_NUM_RX_QUEUES = 32
IFLA_LINK_NETNSID = 37
IFLA_GSO_IPV4_MAX_SIZE = 63
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INFO_SLAVE_KIND = 4
IFLA_INFO_SLAVE_DATA = 5
IFLA_BRPORT_MODE = 4
IFLA_BRPORT_ISOLATED = 33
VETH_INFO_PEER = 1
IFLA_MACVLAN_MODE = 1
IFLA_IPVLAN_MODE = 1
IFLA_IPVLAN_FLAGS = 2
IFLA_VLAN_ID = 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
RTEXT_FILTER_SKIP_STATS = 1 << 3

# if_addr.h
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_FLAGS = 8
IFA_F_NODAD = 0x02
IFA_F_PERMANENT = 0x80

# neighbour.h
NDA_DST = 1
NDA_LLADDR = 2
NUD_STALE = 0x04

# if.h, sockios.h
IFF_UP = 0x1
SIOCGIFINDEX = 0x8933
SIOCGSKNS = 0x894C
IFNAMSIZ = 16

LOOPBACK = 1
"""The index of ``lo`` in every network namespace."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_U32 = struct.Struct("=I")
_RECEIVE_SIZE = 1 << 16


class Request(NamedTuple):
    """One message to the kernel, and the words for it should it fail."""

    type: int
    flags: int
    body: bytes
    operation: str
    subject: str


class Link(NamedTuple):
    """A network interface. ``kind`` is ``bridge``, ``veth``, ... or "" for hardware."""

    ifindex: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    master: int
    """Index of the bridge it is a port of, or 0."""
    gso_max_bytes: int = 0
    """See ``set_link``; 0 before Linux 6.3."""
    reaches_out: bool = False
    """Its parent, or its other end, is in another network namespace."""


class Address(NamedTuple):
    """An address of an interface, in CIDR form: ``172.17.0.1/16``.

    ``scope`` is RT_SCOPE_*. One that is not ``permanent`` has a lifetime, or came by itself.
    """

    ifindex: int
    cidr: str
    scope: int = RT_SCOPE_UNIVERSE
    permanent: bool = True


class Route(NamedTuple):
    """A route. ``destination`` in CIDR form; ``0.0.0.0/0`` and ``::/0`` are default routes."""

    destination: str
    gateway: str
    ifindex: int
    table: int


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute: length, type, payload, padded to 4 bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Encode an attribute that consists of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def parse_attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Decode attributes up to the end of ``data``; of a repeated type the last one counts.

    Flags in the type are dropped. A malformed tail ends the reading, as in the kernel.
    """
    attributes: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        attributes[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return attributes


def _name(name: str) -> bytes:
    return attribute(IFLA_IFNAME, name.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def _mac(mac: str) -> bytes:
    return attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def _parse_cidr(cidr: str) -> tuple[int, bytes, int]:
    """Split ``10.0.0.1/8`` into family, packed address and prefix length."""
    address, _, prefix = cidr.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address), int(prefix)


def set_link(
    index: int,
    *,
    up: bool | None = None,
    mac: str = "",
    mtu: int = 0,
    master: int | None = None,
    gso_max_bytes: int = 0,
) -> Request:
    """Change the properties that are given of the interface ``index``.

    ``master`` 0 takes it out of its bridge. ``gso_max_bytes``: how much of a TCP connection over
    IPv4 goes out by it as one packet, by default 64 KiB. Kernels before 6.3 do not know it and
    leave it at that. A bridge takes more (else EINVAL) when it has ports, all of which can.
    """
    flags, change = (IFF_UP if up else 0, 0 if up is None else IFF_UP)
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, flags, change)
    if mac:
        body += _mac(mac)
    if mtu:
        body += _u32(IFLA_MTU, mtu)
    if master is not None:
        body += _u32(IFLA_MASTER, master)
    if gso_max_bytes:
        body += _u32(IFLA_GSO_IPV4_MAX_SIZE, gso_max_bytes)
    return Request(RTM_SETLINK, 0, body, "set link", f"index {index}")


def add_bridge(name: str, *, mac: str = "", mtu: int = 0) -> Request:
    """Create the bridge ``name``, down."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name)
    if mac:
        body += _mac(mac)
    if mtu:
        body += _u32(IFLA_MTU, mtu)
    body += nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"))
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, "add bridge", name)


def add_veth(
    name: str,
    *,
    namespace_fd: int,
    master: int,
    peer: str,
    peer_mac: str = "",
    mtu: int = 0,
    gso_max_bytes: int = 0,
    peer_gso_max_bytes: int = 0,
) -> Request:
    """Create a veth pair across two namespaces, wired up, in one request.

    ``name`` appears in the namespace ``namespace_fd``, up, as a port of the bridge with the
    index ``master`` there. ``peer`` appears in the socket's own namespace, down. On the sizes of
    packets see ``set_link``: the first is of what goes to the peer.

    The far end is the message's main device and the near end its peer, because the kernel
    honours IFLA_MASTER for the main device only; and each is born where it belongs, because
    moving a device to another namespace waits for an RCU grace period, which costs more than
    all the rest. (The kernel honours an index chosen for the peer only together with one
    for the main device, which is not ours to choose in a namespace that others use.)
    """
    # One queue: the kernel's default of one per processor makes as many sysfs entries at each
    # end (0.1 ms with two processors), and only XDP and GRO on the veth use more than one.
    queues = _u32(IFLA_NUM_TX_QUEUES, 1) + _u32(IFLA_NUM_RX_QUEUES, 1)
    inside = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(peer) + queues
    if peer_mac:
        inside += _mac(peer_mac)
    body = (
        _LINK.pack(socket.AF_UNSPEC, 0, 0, IFF_UP, IFF_UP)
        + _name(name)
        + _u32(IFLA_NET_NS_FD, namespace_fd)
        + queues
    )
    if master:
        body += _u32(IFLA_MASTER, master)
    if mtu:
        body += _u32(IFLA_MTU, mtu)
        inside += _u32(IFLA_MTU, mtu)
    if gso_max_bytes:
        body += _u32(IFLA_GSO_IPV4_MAX_SIZE, gso_max_bytes)
    if peer_gso_max_bytes:
        inside += _u32(IFLA_GSO_IPV4_MAX_SIZE, peer_gso_max_bytes)
    body += nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_KIND, b"veth"),
        nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, inside)),
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, "add veth", name)


def add_macvlan(
    name: str, *, namespace_fd: int, parent: int, mode: str, mac: str = "", mtu: int = 0
) -> Request:
    """Create ``name`` in ``namespace_fd``, down: an interface with a MAC address of its own.

    ``parent`` is an index in the socket's own namespace; ``mode`` one of MACVLAN_MODES.
    """
    data = _u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    return _add_upon(name, "macvlan", data, parent, namespace_fd=namespace_fd, mac=mac, mtu=mtu)


def add_ipvlan(
    name: str, *, namespace_fd: int, parent: int, mode: str, flag: str, mtu: int = 0
) -> Request:
    """Create ``name`` in ``namespace_fd``, down: an interface with its parent's MAC address.

    ``mode`` is one of IPVLAN_MODES, ``flag`` one of IPVLAN_FLAGS.
    """
    data = attribute(IFLA_IPVLAN_MODE, IPVLAN_MODES[mode].to_bytes(2, "little"))
    data += attribute(IFLA_IPVLAN_FLAGS, IPVLAN_FLAGS[flag].to_bytes(2, "little"))
    return _add_upon(name, "ipvlan", data, parent, namespace_fd=namespace_fd, mtu=mtu)


def add_vlan(name: str, *, parent: int, vlan: int) -> Request:
    """Create ``name``, down: what ``parent`` sends and receives tagged with the 802.1Q id."""
    return _add_upon(name, "vlan", attribute(IFLA_VLAN_ID, vlan.to_bytes(2, "little")), parent)


def add_dummy(name: str) -> Request:
    """Create ``name``, down: an interface that leads nowhere."""
    return _add_upon(name, "dummy", b"", 0)


def try_kind(kind: str) -> Request:
    """Ask for an interface that cannot be, to learn whether the kernel has its kind.

    EOPNOTSUPP: it has not. EINVAL: it has. For kinds that need a parent.
    """
    return _add_upon("", kind, b"", 0)


def _add_upon(
    name: str,
    kind: str,
    data: bytes,
    parent: int,
    *,
    namespace_fd: int = -1,
    mac: str = "",
    mtu: int = 0,
) -> Request:
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    if name:
        body += _name(name)
    if parent:
        body += _u32(IFLA_LINK, parent)
    if namespace_fd >= 0:
        body += _u32(IFLA_NET_NS_FD, namespace_fd)
    if mac:
        body += _mac(mac)
    if mtu:
        body += _u32(IFLA_MTU, mtu)
    info = [attribute(IFLA_INFO_KIND, kind.encode())]
    if data:
        info.append(nested(IFLA_INFO_DATA, data))
    body += nested(IFLA_LINKINFO, *info)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"add {kind}", name)


def isolate_port(index: int) -> Request:
    """Let the bridge pass nothing between this port and other isolated ones (Linux 4.18)."""
    return _set_port(index, IFLA_BRPORT_ISOLATED, "isolate port")


def reflect_port(index: int) -> Request:
    """Let the bridge send back by this port what came by it (hairpin mode)."""
    return _set_port(index, IFLA_BRPORT_MODE, "set hairpin mode of port")


def _set_port(index: int, flag: int, operation: str) -> Request:
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_SLAVE_KIND, b"bridge"),
        nested(IFLA_INFO_SLAVE_DATA, attribute(flag, b"\1")),
    )
    return Request(RTM_NEWLINK, 0, body, operation, f"index {index}")


def move_link(index: int, namespace_fd: int, name: str) -> Request:
    """Move the interface, which is down, to another namespace, where it is called ``name``.

    ``%d`` in the name stands for the first number that is free there. Its addresses are lost.
    """
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _u32(IFLA_NET_NS_FD, namespace_fd)
    return Request(RTM_NEWLINK, 0, body + _name(name), "move link", name)


def delete_link(index: int) -> Request:
    """Remove the interface ``index``, and with it the other end of a veth pair."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    return Request(RTM_DELLINK, 0, body, "delete link", f"index {index}")


def _address(kind: int, flags: int, operation: str, index: int, cidr: str) -> Request:
    family, address, prefix = _parse_cidr(cidr)
    nodad = IFA_F_NODAD if family == socket.AF_INET6 else 0
    body = (
        _ADDRESS.pack(family, prefix, nodad, RT_SCOPE_UNIVERSE, index)
        + attribute(IFA_LOCAL, address)
        + attribute(IFA_ADDRESS, address)
    )
    if family == socket.AF_INET and prefix < 31:
        host_bits = (1 << (32 - prefix)) - 1
        broadcast = int.from_bytes(address, "big") | host_bits
        body += attribute(IFA_BROADCAST, broadcast.to_bytes(4, "big"))
    return Request(kind, flags, body, operation, cidr)


def add_address(index: int, cidr: str) -> Request:
    """Give the interface an IPv4 or IPv6 address (without duplicate address detection)."""
    return _address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "add address", index, cidr)


def delete_address(index: int, cidr: str) -> Request:
    """Take an address from the interface."""
    return _address(RTM_DELADDR, 0, "delete address", index, cidr)


def add_default_route(index: int, gateway: str) -> Request:
    """Route everything through ``gateway``, reached by the interface ``index``.

    The interface must be up and have an address in the gateway's subnet. ``0.0.0.0`` and ``::``
    are no gateway: everything is taken for a neighbour on the interface.
    """
    return _default_route(index, gateway, NLM_F_CREATE | NLM_F_EXCL)


def replace_default_route(index: int, gateway: str) -> Request:
    """As ``add_default_route``, in the place of the default route there is."""
    return _default_route(index, gateway, NLM_F_CREATE | NLM_F_REPLACE)


def _default_route(index: int, gateway: str, flags: int) -> Request:
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    packed = socket.inet_pton(family, gateway)
    direct = not any(packed)
    scope = RT_SCOPE_LINK if direct and family == socket.AF_INET else RT_SCOPE_UNIVERSE
    body = _ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
    if not direct:
        body += attribute(RTA_GATEWAY, packed)
    body += _u32(RTA_OIF, index)
    return Request(RTM_NEWROUTE, flags, body, "add default route via", gateway)


def correct_neighbour(index: int, address: str, mac: str) -> Request:
    """Let the table of neighbours, if ``address`` is in it, say that it is at ``mac`` now.

    Fails (ENOENT) if it is not.
    """
    family, packed, _ = _parse_cidr(f"{address}/0")
    body = _NEIGHBOUR.pack(family, index, NUD_STALE, 0, 0)
    body += attribute(NDA_DST, packed) + attribute(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return Request(RTM_NEWNEIGH, NLM_F_REPLACE, body, "correct neighbour", address)


class Netlink:
    """An rtnetlink socket of the calling thread's network namespace. A context manager.

    The socket stays with the namespace in which it was made, wherever the thread goes.
    Raises KernelError naming the operation and its object, with the kernel's own explanation
    where it gives one.
    """

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
            for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        except OSError as error:
            raise KernelError("socket", error.errno or 0, "AF_NETLINK") from error
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the socket's descriptor, which stays ours."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def execute(self, *requests: Request) -> None:
        """Carry out ``requests`` in order; raise the first failure after all were tried.

        Only the last message asks for an acknowledgement; failures are always answered, and
        answers come in order, so the last one's answer ends the reading.
        """
        if not requests:
            return
        first = self._sequence + 1
        last = self._sequence = self._sequence + len(requests)
        datagram = bytearray()
        for sequence, request in enumerate(requests, start=first):
            flags = request.flags | NLM_F_REQUEST | (NLM_F_ACK if sequence == last else 0)
            length = _HEADER.size + len(request.body)
            datagram += _HEADER.pack(length, request.type, flags, sequence, 0)
            datagram += request.body
        self._send(datagram, requests[0])
        failure: KernelError | None = None
        for kind, flags, sequence, payload in self._messages(requests[-1]):
            if kind != NLMSG_ERROR or not first <= sequence <= last:
                continue
            code = -int.from_bytes(payload[:4], "little", signed=True)
            if code and failure is None:
                request = requests[sequence - first]
                text = _explanation(flags, payload)
                failure = KernelError(request.operation, code, request.subject, text)
            if sequence == last:
                break
        if failure is not None:
            raise failure

    def open_namespace(self) -> int:
        """Return a new descriptor of the socket's network namespace. Needs no /proc."""
        try:
            return fcntl.ioctl(self._socket.fileno(), SIOCGSKNS, 0)
        except OSError as error:
            raise KernelError("ioctl SIOCGSKNS", error.errno or 0) from error

    def index(self, name: str) -> int:
        """Return the index of the interface ``name``; KernelError (ENODEV) if there is none."""
        index = self.find_index(name)
        if index is None:
            raise KernelError("find link", errno.ENODEV, name)
        return index

    def find_index(self, name: str) -> int | None:
        """Return the index of the interface ``name``, or None if there is none."""
        encoded = name.encode()
        if len(encoded) >= IFNAMSIZ:
            return None
        try:
            answer = fcntl.ioctl(
                self._socket.fileno(), SIOCGIFINDEX, struct.pack("16si20x", encoded, 0)
            )
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise KernelError("ioctl SIOCGIFINDEX", error.errno or 0, name) from error
        index: int = struct.unpack_from("16si", answer)[1]
        return index

    def links(self) -> list[Link]:
        """List all interfaces."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        body += _u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        return [_parse_link(payload) for payload in self._dump(RTM_GETLINK, body, "list links")]

    def addresses(self) -> list[Address]:
        """List all addresses of all interfaces."""
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        dump = self._dump(RTM_GETADDR, body, "list addresses")
        return [_parse_address(payload) for payload in dump]

    def routes(self) -> list[Route]:
        """List the IPv4 and IPv6 routes of all tables."""
        routes = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            dump = self._dump(RTM_GETROUTE, body, "list routes")
            routes += [_parse_route(payload) for payload in dump]
        return routes

    def _send(self, datagram: bytes | bytearray, request: Request) -> None:
        try:
            self._socket.sendto(datagram, (0, 0))
        except OSError as error:
            raise KernelError(request.operation, error.errno or 0, request.subject) from error

    def _messages(self, request: Request) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield (type, flags, sequence, payload) for what is queued, without waiting."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except OSError as error:
                raise KernelError(
                    request.operation, error.errno or 0, request.subject, "no netlink answer"
                ) from error
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    break
                yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3

    def _dump(self, kind: int, body: bytes, operation: str) -> Iterator[bytes]:
        """Yield the payloads of a dump.

        A table that changes meanwhile may be listed with gaps (NLM_F_DUMP_INTR): callers
        look for conflicts and must survive a change right after the dump anyhow.
        """
        self._sequence += 1
        request = Request(kind, NLM_F_DUMP, body, operation, "")
        flags = NLM_F_REQUEST | NLM_F_DUMP
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        self._send(header + body, request)
        for answer, _, sequence, payload in self._messages(request):
            if sequence != self._sequence:
                continue
            if answer in (NLMSG_DONE, NLMSG_ERROR):
                code = -int.from_bytes(payload[:4], "little", signed=True)
                if code:
                    raise KernelError(operation, code)
                return
            yield payload


class LinkMonitor:
    """Hears when interfaces of the calling thread's network namespace are removed."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
            self._socket.bind((0, RTMGRP_LINK))
        except OSError as error:
            raise KernelError("socket", error.errno or 0, "RTMGRP_LINK") from error

    def fileno(self) -> int:
        """Return the descriptor, readable when there is news."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read_removals(self) -> bool:
        """Read all news; say whether an interface may have been removed.

        News that were lost may have been of that.
        """
        removed = False
        while True:
            try:
                data = self._socket.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return removed
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("recv", error.errno or 0, "news of links") from error
                removed = True
                continue
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    break
                removed |= kind == RTM_DELLINK
                offset += (length + 3) & ~3


def _explanation(flags: int, payload: bytes) -> str:
    """Return the extended acknowledgement's text, or "" if there is none."""
    if not flags & NLM_F_ACK_TLVS:
        return ""
    offset = 4 + _HEADER.size
    if not flags & NLM_F_CAPPED:
        (length,) = _U32.unpack_from(payload, 4)
        offset = 4 + ((length + 3) & ~3)
    text = parse_attributes(payload, offset).get(NLMSGERR_ATTR_MSG, b"")
    return text.rstrip(b"\0").decode(errors="replace")


def _parse_link(payload: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    attributes = parse_attributes(payload, _LINK.size)
    info = parse_attributes(attributes.get(IFLA_LINKINFO, b""))
    return Link(
        ifindex=index,
        name=_text(attributes.get(IFLA_IFNAME, b"")),
        kind=_text(info.get(IFLA_INFO_KIND, b"")),
        up=bool(flags & IFF_UP),
        mtu=_number(attributes.get(IFLA_MTU, b"")),
        mac=attributes.get(IFLA_ADDRESS, b"").hex(":"),
        master=_number(attributes.get(IFLA_MASTER, b"")),
        gso_max_bytes=_number(attributes.get(IFLA_GSO_IPV4_MAX_SIZE, b"")),
        reaches_out=IFLA_LINK_NETNSID in attributes,
    )


def _parse_address(payload: bytes) -> Address:
    family, prefix, flags, scope, index = _ADDRESS.unpack_from(payload)
    attributes = parse_attributes(payload, _ADDRESS.size)
    packed = attributes.get(IFA_LOCAL) or attributes[IFA_ADDRESS]
    flags = _number(attributes.get(IFA_FLAGS, b"")) or flags
    cidr = f"{socket.inet_ntop(family, packed)}/{prefix}"
    return Address(index, cidr, scope, bool(flags & IFA_F_PERMANENT))


def _parse_route(payload: bytes) -> Route:
    family, prefix, _, _, table, _, _, _, _ = _ROUTE.unpack_from(payload)
    attributes = parse_attributes(payload, _ROUTE.size)
    nowhere = b"\0" * (4 if family == socket.AF_INET else 16)
    destination = socket.inet_ntop(family, attributes.get(RTA_DST, nowhere))
    gateway = attributes.get(RTA_GATEWAY)
    return Route(
        destination=f"{destination}/{prefix}",
        gateway=socket.inet_ntop(family, gateway) if gateway else "",
        ifindex=_number(attributes.get(RTA_OIF, b"")),
        table=_number(attributes.get(RTA_TABLE, b"")) or table,
    )


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")
