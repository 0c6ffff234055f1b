"""Connection tracking: let the kernel forget flows.

A UDP flow that was seen once keeps its translation as long as packets come. When a port leads
somewhere else, those flows have to be forgotten. See the kernel's
include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection

from barque.errors import KernelError
from barque.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    parse_attributes,
)

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET = 1
IPCTNL_MSG_CT_DELETE = 2
CTA_TUPLE_ORIG = 1
CTA_TUPLE_PROTO = 2
CTA_PROTO_NUM = 1
CTA_PROTO_DST_PORT = 3

_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_NFGEN = struct.Struct("!BBH")  # struct nfgenmsg
_RECEIVE_SIZE = 1 << 17
_TIMEOUT_S = 10


def forget_udp(ports: Collection[int]) -> int:
    """Forget the UDP flows that were first sent to one of ``ports``; return how many.

    Reads the whole table of the calling thread's network namespace: not for the event loop.
    Raises KernelError.
    """
    forgotten = 0
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        ) as opened:
            opened.settimeout(_TIMEOUT_S)
            for family in (socket.AF_INET, socket.AF_INET6):
                for tuple_ in _list_udp(opened, family, ports):
                    body = attribute(CTA_TUPLE_ORIG | _NESTED, tuple_)
                    _send(opened, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family, body)
                    forgotten += _read_code(opened) == 0
    except OSError as error:
        raise KernelError("conntrack", error.errno or 0) from error
    return forgotten


def _send(opened: socket.socket, kind: int, flags: int, family: int, body: bytes = b"") -> None:
    payload = _NFGEN.pack(family, 0, 0) + body
    kind |= NFNL_SUBSYS_CTNETLINK << 8
    header = _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, 1, 0)
    opened.sendto(header + payload, (0, 0))


def _list_udp(opened: socket.socket, family: int, ports: Collection[int]) -> list[bytes]:
    """Return the original tuples of the flows to ``ports``."""
    _send(opened, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family)
    found: list[bytes] = []
    while True:
        data = opened.recv(_RECEIVE_SIZE)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
            payload = data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                code = -int.from_bytes(payload[:4], "little", signed=True)
                if code:
                    raise OSError(code, "list flows")
                return found
            original = parse_attributes(payload, _NFGEN.size).get(CTA_TUPLE_ORIG, b"")
            protocol = parse_attributes(parse_attributes(original).get(CTA_TUPLE_PROTO, b""))
            number = int.from_bytes(protocol.get(CTA_PROTO_NUM, b"")[:1], "big")
            port = int.from_bytes(protocol.get(CTA_PROTO_DST_PORT, b"")[:2], "big")
            if number == socket.IPPROTO_UDP and port in ports:
                found.append(original)


def _read_code(opened: socket.socket) -> int:
    """Return 0 for an acknowledgement; a flow that has ended by itself is ENOENT."""
    data = opened.recv(_RECEIVE_SIZE)
    code = -int.from_bytes(data[_HEADER.size : _HEADER.size + 4], "little", signed=True)
    if code not in (0, errno.ENOENT):
        raise OSError(code, "forget a flow")
    return code
