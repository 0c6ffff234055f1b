"""Tell a bridge who has an address now: a container may have one that was another's a moment ago.

Neighbours that still know the other's MAC address would send into the void until they find out,
which takes them seconds, or half a minute. So the host's own table is corrected, and an ARP
announcement (RFC 5227) or an unsolicited neighbour advertisement (RFC 4861) goes to all ports of
the bridge. It is sent by the bridge device, not by the container, whose port may not forward yet
and whose network namespace we need not enter.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address

from barque.errors import KernelError
from barque.kernel.netlink import Netlink, correct_neighbour
from barque.models.api import EndpointSettings
from barque.models.network import NetworkRecord

_ANNOUNCE_S = 0.01
"""Until a new endpoint is announced: for hundreds to hear it takes the kernel half a millisecond,
which whoever waits for a start need not wait for."""
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1").packed
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826
_ARP_REQUEST = 1
_IPV6 = struct.Struct("!IHBB16s16s")  # RFC 8200: version, length, next, hop limit, addresses
_NEIGHBOUR = struct.Struct("!BBHI16sBB6s")  # RFC 4861, 4.4, with the option 2 of 4.6.1
_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000

_log = logging.getLogger("barque.network")


def announcement(mac: str, address: str) -> bytes:
    """Return the Ethernet frame that says to everybody that ``address`` is at ``mac``."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    packed = ip_address(address).packed
    if len(packed) == 4:
        body = _ARP.pack(1, 0x0800, 6, 4, _ARP_REQUEST, hardware, packed, bytes(6), packed)
        return _BROADCAST + hardware + _ETH_ARP.to_bytes(2, "big") + body
    fields = (_OVERRIDE, packed, 2, 1, hardware)
    size = _NEIGHBOUR.size
    pseudo = packed + _ALL_NODES + struct.pack("!II", size, socket.IPPROTO_ICMPV6)
    checksum = _checksum(pseudo + _NEIGHBOUR.pack(_ADVERTISEMENT, 0, 0, *fields))
    header = _IPV6.pack(6 << 28, size, socket.IPPROTO_ICMPV6, 255, packed, _ALL_NODES)
    body = _NEIGHBOUR.pack(_ADVERTISEMENT, 0, checksum, *fields)
    return _ALL_NODES_MAC + hardware + _ETH_IPV6.to_bytes(2, "big") + header + body


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _correct(netlink: Netlink, index: int, address: str, mac: str) -> None:
    try:
        netlink.execute(correct_neighbour(index, address, mac))
    except KernelError as error:
        if error.errno != errno.ENOENT:  # the host does not know it
            _log.info("the host's neighbour %s: %s", address, error)


class Advertiser:
    """Works in the network namespace in which it is opened.

    What cannot be told is logged: the others find out by themselves, later.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Be ready to announce, where we may: an engine in a container lacks CAP_NET_RAW.

        Idempotent. Raises KernelError.
        """
        if self._socket is not None:
            return
        try:
            # Protocol 0: it receives nothing.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError:
            _log.info("without CAP_NET_RAW nobody is told who has an address now")
            return
        except OSError as error:
            raise KernelError("socket", error.errno or 0, "AF_PACKET") from error
        self._socket.setblocking(False)

    def tell(
        self, network: NetworkRecord, endpoint: EndpointSettings, is_there: Callable[[], bool]
    ) -> None:
        """Tell the host of a new endpoint at once, neighbours in a moment.

        These as often as the network wants it, unless ``is_there`` says that it has gone.
        """
        if not network.bridge:
            return
        self.correct(network.bridge, endpoint.mac_address, endpoint.addresses)
        loop = asyncio.get_running_loop()

        def announce(left: int) -> None:
            if not left or not is_there():
                return
            self.announce(network.bridge, endpoint.mac_address, endpoint.addresses)
            if left > 1:
                loop.call_later(network.advertise_interval_s, announce, left - 1)

        loop.call_later(_ANNOUNCE_S, announce, network.advertisements)

    def correct(self, bridge: str, mac: str, addresses: Iterable[str]) -> None:
        """Let the host, where it knows one of ``addresses`` on ``bridge``, know it at ``mac``."""
        try:
            with Netlink() as netlink:
                index = netlink.index(bridge)
                for address in addresses:
                    _correct(netlink, index, address, mac)
        except KernelError as error:
            _log.info("%s: the host's neighbours: %s", bridge, error)

    def announce(self, bridge: str, mac: str, addresses: Iterable[str]) -> None:
        """Tell everybody on ``bridge`` that ``addresses`` are at ``mac``, if ``open`` could."""
        if self._socket is None:
            return
        for address in addresses:
            try:
                self._socket.sendto(announcement(mac, address), (bridge, 0))
            except OSError as error:
                _log.info("%s: nobody is told of %s: %s", bridge, address, error)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
