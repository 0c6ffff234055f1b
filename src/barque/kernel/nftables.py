"""nf_tables over netlink: elements of sets and maps, and news of changes.

Tables, chains and rules are written by nft(8), once; what changes with every container is an
element of a set, and adding one is a message of a hundred bytes that the kernel handles while
we are in ``sendto``. See the kernel's include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h.

A batch is one transaction: all of its changes are made, or none.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple, Self

from barque.errors import KernelError
from barque.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    attribute,
    nested,
    parse_attributes,
)

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 16
NFNL_MSG_BATCH_END = 17
NFNLGRP_NFTABLES = 7
NFPROTO_INET = 1

NFT_MSG_NEWTABLE = 0
NFT_MSG_GETTABLE = 1
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWCHAIN = 3
NFT_MSG_DELCHAIN = 5
NFT_MSG_NEWRULE = 6
NFT_MSG_DELRULE = 8
NFT_MSG_DELSET = 11
NFT_MSG_NEWSETELEM = 12
NFT_MSG_DELSETELEM = 14

NFTA_TABLE_NAME = 1
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_SET_ELEM_KEY = 1
NFTA_SET_ELEM_DATA = 2
NFTA_LIST_ELEM = 1
NFTA_DATA_VALUE = 1
NFTA_CHAIN_NAME = 3
NFTA_CHAIN_HOOK = 4
NFTA_CHAIN_TYPE = 7
NFTA_HOOK_HOOKNUM = 1
NFTA_HOOK_PRIORITY = 2
NFTA_RULE_CHAIN = 2
NFTA_RULE_EXPRESSIONS = 4
NFTA_EXPR_NAME = 1
NFTA_EXPR_DATA = 2
NFT_META_L4PROTO = 16
NFT_PAYLOAD_NETWORK_HEADER = 1
NFT_PAYLOAD_TRANSPORT_HEADER = 2
NFT_NAT_DNAT = 1
NF_INET_LOCAL_OUT = 3
NFPROTO_IPV4 = 2
NLM_F_APPEND = 0x800

_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_NFGEN = struct.Struct("!BBH")  # struct nfgenmsg: family, version, resource
_RECEIVE_SIZE = 1 << 16
_LOSSES = frozenset({
    NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET, NFT_MSG_DELSETELEM
})  # fmt: skip


class Element(NamedTuple):
    """An element of the set ``set_name``: packed key, and the packed data of a map."""

    set_name: str
    key: bytes
    data: bytes = b""


def pack_fields(*fields: bytes) -> bytes:
    """Put the fields of a concatenation together: each is padded to four bytes."""
    return b"".join(field + b"\0" * (-len(field) % 4) for field in fields)


def _message(
    kind: int, flags: int, sequence: int, body: bytes, *, family: int = 0, resource: int = 0
) -> bytes:
    payload = _NFGEN.pack(family, 0, resource) + body
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def encode_elements(table: str, elements: Iterable[Element]) -> dict[str, bytes]:
    """Return, by set, the body of the message that adds or deletes ``elements``."""
    by_set: dict[str, list[bytes]] = {}
    for element in elements:
        parts = [nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, element.key))]
        if element.data:
            parts.append(nested(NFTA_SET_ELEM_DATA, attribute(NFTA_DATA_VALUE, element.data)))
        by_set.setdefault(element.set_name, []).append(nested(NFTA_LIST_ELEM, *parts))
    return {
        name: attribute(NFTA_SET_ELEM_LIST_TABLE, table.encode() + b"\0")
        + attribute(NFTA_SET_ELEM_LIST_SET, name.encode() + b"\0")
        + nested(NFTA_SET_ELEM_LIST_ELEMENTS, *encoded)
        for name, encoded in by_set.items()
    }


class Nftables:
    """A netlink socket to nf_tables in the calling thread's network namespace.

    A context manager. Never waits: the kernel has answered when ``sendto`` returns.
    """

    def __init__(self) -> None:
        self._socket = _open_socket()
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    @property
    def port(self) -> int:
        """The socket's address, by which news tell who made a change."""
        port: int = self._socket.getsockname()[0]
        return port

    def add(self, table: str, elements: Iterable[Element]) -> None:
        """Add elements to sets of ``table`` (family inet). Those that are there already stay.

        Raises KernelError: ENOENT if table or set is missing, EEXIST if a map has other data
        for a key; then nothing was added.
        """
        self._change(NFT_MSG_NEWSETELEM, NLM_F_CREATE, "add elements to", table, elements)

    def delete(self, table: str, elements: Iterable[Element]) -> None:
        """Delete elements. Raises KernelError: ENOENT if one is missing; then none is deleted."""
        self._change(NFT_MSG_DELSETELEM, 0, "delete elements of", table, elements)

    def _change(
        self, kind: int, flags: int, operation: str, table: str, elements: Iterable[Element]
    ) -> None:
        bodies = encode_elements(table, elements)
        if not bodies:
            return
        messages = [
            (NFNL_SUBSYS_NFTABLES << 8 | kind, flags, NFPROTO_INET, body)
            for body in bodies.values()
        ]
        self.batch(messages, operation, table)

    def batch(
        self, messages: Iterable[tuple[int, int, int, bytes]], operation: str, subject: str
    ) -> None:
        """Carry out (type, flags, family, body) as one transaction. Raises KernelError."""
        first = self._sequence + 1
        datagram = bytearray(
            _message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, first, b"", resource=NFNL_SUBSYS_NFTABLES)
        )
        sequence = first
        for kind, flags, family, body in messages:
            sequence += 1
            asked = flags | NLM_F_REQUEST | NLM_F_ACK
            datagram += _message(kind, asked, sequence, body, family=family)
        self._sequence = sequence + 1
        datagram += _message(
            NFNL_MSG_BATCH_END, NLM_F_REQUEST, self._sequence, b"", resource=NFNL_SUBSYS_NFTABLES
        )
        try:
            self._socket.sendto(datagram, (0, 0))
        except OSError as error:
            raise KernelError(operation, error.errno or 0, subject) from error
        self._check(first, operation, subject)

    def _check(self, first: int, operation: str, subject: str) -> None:
        """Read the answers there are; raise the first failure that belongs to this batch."""
        failure = 0
        while True:
            try:
                data = self._socket.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                raise KernelError(operation, error.errno or 0, subject) from error
            for kind, sequence, _, payload in _split(data):
                if kind == NLMSG_ERROR and sequence >= first and not failure:
                    failure = -int.from_bytes(payload[:4], "little", signed=True)
        if failure:
            raise KernelError(operation, failure, subject)

    def has_table(self, table: str) -> bool:
        """Whether the table (family inet) is there."""
        self._sequence += 1
        body = attribute(NFTA_TABLE_NAME, table.encode() + b"\0")
        kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE
        flags = NLM_F_REQUEST | NLM_F_ACK
        message = _message(kind, flags, self._sequence, body, family=NFPROTO_INET)
        try:
            self._socket.sendto(message, (0, 0))
            self._check(self._sequence, "find table", table)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True


def redirect_locally(
    table: str, address: bytes, port: int, targets: Iterable[tuple[int, int]], *, replace: bool
) -> list[tuple[int, int, int, bytes]]:
    """Return the batch that makes ``table`` (family ip) a translation of local traffic.

    ``replace`` takes the place of the table there is, which costs 10 ms of the kernel's waiting
    for itself; without it the batch fails (EEXIST) where there is one.

    What the namespace's own processes send to ``address`` (4 bytes) and ``port`` by a protocol
    of ``targets`` (number, port) goes to that port of the same address.
    """
    name = attribute(NFTA_TABLE_NAME, table.encode() + b"\0")
    chain = b"output\0"
    hook = nested(
        NFTA_CHAIN_HOOK,
        attribute(NFTA_HOOK_HOOKNUM, _be32(NF_INET_LOCAL_OUT)),
        attribute(NFTA_HOOK_PRIORITY, struct.pack("!i", -100)),
    )
    messages = [(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, name)]
    if replace:
        messages.insert(0, (NFT_MSG_DELTABLE, 0, name))
    messages += [
        (
            NFT_MSG_NEWCHAIN,
            NLM_F_CREATE,
            name + attribute(NFTA_CHAIN_NAME, chain) + hook + attribute(NFTA_CHAIN_TYPE, b"nat\0"),
        ),
    ]
    for protocol, target in targets:
        expressions = (
            _expression("meta", (1, _be32(1)), (2, _be32(NFT_META_L4PROTO))),
            _equals(bytes([protocol])),
            _payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4),
            _equals(address),
            _payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2),
            _equals(port.to_bytes(2, "big")),
            _immediate(1, address),
            _immediate(2, target.to_bytes(2, "big")),
            _expression(
                "nat",
                (1, _be32(NFT_NAT_DNAT)),
                (2, _be32(NFPROTO_IPV4)),
                (3, _be32(1)),
                (5, _be32(2)),
            ),
        )
        rule = name + attribute(NFTA_RULE_CHAIN, chain)
        rule += nested(NFTA_RULE_EXPRESSIONS, *expressions)
        messages.append((NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, rule))
    subsystem = NFNL_SUBSYS_NFTABLES << 8
    return [(subsystem | kind, flags, NFPROTO_IPV4, body) for kind, flags, body in messages]


def _be32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _expression(name: str, *attributes: tuple[int, bytes]) -> bytes:
    return nested(
        NFTA_LIST_ELEM,
        attribute(NFTA_EXPR_NAME, name.encode() + b"\0"),
        nested(NFTA_EXPR_DATA, *(attribute(kind, data) for kind, data in attributes)),
    )


def _equals(value: bytes) -> bytes:
    """Compare register 1."""
    data = attribute(NFTA_DATA_VALUE, value)
    return _expression("cmp", (1, _be32(1)), (2, _be32(0)), (3 | _NESTED, data))


def _payload(base: int, offset: int, length: int) -> bytes:
    """Load a part of the packet into register 1."""
    fields = ((1, _be32(1)), (2, _be32(base)), (3, _be32(offset)), (4, _be32(length)))
    return _expression("payload", *fields)


def _immediate(register: int, value: bytes) -> bytes:
    data = attribute(NFTA_DATA_VALUE, value)
    return _expression("immediate", (1, _be32(register)), (2 | _NESTED, data))


class NftablesMonitor:
    """Hears when somebody takes rules, sets or elements of tables away."""

    def __init__(self) -> None:
        self._socket = _open_socket()
        try:
            self._socket.setsockopt(270, 1, NFNLGRP_NFTABLES)  # SOL_NETLINK, ADD_MEMBERSHIP
        except OSError as error:
            self._socket.close()
            raise KernelError("setsockopt", error.errno or 0, "NFNLGRP_NFTABLES") from error

    def fileno(self) -> int:
        """Return the descriptor, readable when there is news."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read_losses(self, table: str) -> set[int]:
        """Read all news; return who took something away from ``table``, by socket address.

        News that were lost count as a loss by nobody (-1).
        """
        lost: set[int] = set()
        while True:
            try:
                data = self._socket.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return lost
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("recv", error.errno or 0, "nftables news") from error
                lost.add(-1)
                continue
            for kind, _, port, payload in _split(data):
                if kind >> 8 != NFNL_SUBSYS_NFTABLES or kind & 0xFF not in _LOSSES:
                    continue
                name = parse_attributes(payload, _NFGEN.size).get(NFTA_TABLE_NAME, b"")
                if name.rstrip(b"\0").decode() == table:
                    lost.add(port)


def _open_socket() -> socket.socket:
    try:
        opened = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        opened.bind((0, 0))
    except OSError as error:
        raise KernelError("socket", error.errno or 0, "NETLINK_NETFILTER") from error
    return opened


def _split(data: bytes) -> Iterable[tuple[int, int, int, bytes]]:
    """Yield (type, sequence, port, payload) of the messages in a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, sequence, port, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
