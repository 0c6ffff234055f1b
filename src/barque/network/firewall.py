"""Packet filtering and address translation: one nftables table of our own.

The rules never change; they speak of sets and maps, whose elements say what is so now:

================ ============================= ================================================
set or map       element                       meaning
================ ============================= ================================================
guarded, homes   bridge                        all of ours
bridges          bridge                        nothing from elsewhere enters by itself
internal         bridge                        nothing enters, nothing leaves
peers            bridge . bridge               from which bridge to which connections may go
routed           bridge                        may be pinged from elsewhere
subnets4, …6     subnet                        nobody but its bridge sends to its addresses
local4, …6       subnet . bridge               where a subnet is at home
direct4, …6      subnet . interface            from where published ports are reached there
masquerade4, …6  subnet                        takes the host's address when it leaves home
source4, …6      subnet : address              takes this address instead
open4, …6        address . protocol . port     a published port of a container
any4, …6         protocol . port : addr . port published at every address of the host
one4, …6         addr . proto . port : a . p   published at one address of the host
================ ============================= ================================================

The table is named after the engine (``inet barque-barque0``), so that engines side by side
never meet, and is put up as a whole by one nft(8) transaction. A port that is published later
is an element that is added by itself; see ``barque.kernel.nftables``.

Direct access from elsewhere is dropped in ``raw``, before addresses are translated, so that it
is not mistaken for a published port. The table outlives its engine, for the containers that
run on, and it may outlive its bridges: so a rule about a subnet counts only while that is reached
by a bridge of ours, or whoever has the subnet next would be cut off.

Two containers on one bridge meet without passing any of this, unless the host has loaded
br_netfilter: with icc off the bridge itself keeps their ports apart (``isolated``).

Limit: a verdict of ours cannot overrule a drop in somebody else's chain. On a host whose
iptables FORWARD policy is DROP (dockerd sets it), packets of our bridges are dropped there
unless the administrator lets them pass. ``find_obstacles`` says so, and with which commands.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import NamedTuple

import msgspec

from barque.errors import BarqueError, FailedPrecondition, KernelError
from barque.kernel import nftables
from barque.models.network import OPTION_HOST_4, OPTION_HOST_6, NetworkRecord

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to

_TIMEOUT_S = 20
_SETTLE_S = 0.05
_AGAIN_S = 1.0

_log = logging.getLogger("barque.network")


_Element = tuple[str, tuple[str, ...], tuple[str, ...]]


class Port(NamedTuple):
    """A published port: ``host_ip`` (0.0.0.0 and :: are all) to a container's address.

    ``translated`` False only opens the container's port (gateway mode routed).
    """

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int
    translated: bool = True

    def elements(self) -> list[_Element]:
        """Return (set, key, data) of the elements that stand for it."""
        version = 6 if ":" in self.address else 4
        opened = (f"open{version}", (self.address, self.protocol, str(self.port)), ())
        if not self.translated:
            return [opened]
        key: tuple[str, ...] = (self.protocol, str(self.host_port))
        name = f"any{version}"
        if self.host_ip not in UNSPECIFIED:
            key, name = (self.host_ip, *key), f"one{version}"
        return [opened, (name, key, (self.address, str(self.port)))]


def table_name(bridge: str) -> str:
    """Return the name of the table of the engine whose default bridge is ``bridge``."""
    return f"barque-{bridge}"


def network_elements(networks: Iterable[NetworkRecord]) -> dict[str, list[str]]:
    """Return the elements, as nft(8) writes them, by the set they belong to."""
    found: dict[str, list[str]] = {}

    def put(name: str, text: str) -> None:
        found.setdefault(name, []).append(text)

    for network in networks:
        if network.driver != "bridge":
            continue
        bridge = f'"{network.bridge}"'
        modes = {network.gateway_mode(pool.version) for pool in network.ipam}
        put("guarded", bridge)
        put("homes", bridge)
        if modes != {"nat-unprotected"}:
            put("bridges", bridge)
        if network.icc:
            put("peers", f"{bridge} . {bridge}")
        if network.internal:
            put("internal", bridge)
        if "routed" in modes and not network.internal:
            put("routed", bridge)
        for pool in network.ipam:
            mode, version = network.gateway_mode(pool.version), pool.version
            put(f"local{version}", f"{pool.subnet} . {bridge}")
            for device in network.trusted:
                put(f"direct{version}", f'{pool.subnet} . "{device}"')
            if mode in {"nat", "isolated"} or network.internal:
                put(f"subnets{version}", pool.subnet)
            source = network.options.get(OPTION_HOST_4 if version == 4 else OPTION_HOST_6, "")
            if mode == "routed" or not network.masquerade:
                continue
            if source:
                put(f"source{version}", f"{pool.subnet} : {source}")
            else:
                put(f"masquerade{version}", pool.subnet)
    return found


_SETS = """
  set guarded { type ifname; $guarded }
  set homes { typeof fib daddr oifname; $homes }
  set bridges { type ifname; $bridges }
  set internal { type ifname; $internal }
  set routed { type ifname; $routed }
  set peers { type ifname . ifname; $peers }
"""

_SETS_OF = """
  set subnets@ { type ADDRESS; flags interval; $subnets@ }
  set local@ { type ADDRESS . ifname; flags interval; $local@ }
  set direct@ { type ADDRESS . ifname; flags interval; $direct@ }
  set masquerade@ { type ADDRESS; flags interval; $masquerade@ }
  map source@ { type ADDRESS : ADDRESS; flags interval; $source@ }
  set open@ { type ADDRESS . inet_proto . inet_service; $open@ }
  map any@ { type inet_proto . inet_service : ADDRESS . inet_service; $any@ }
  map one@ { type ADDRESS . inet_proto . inet_service : ADDRESS . inet_service; $one@ }
"""

_RULES = """
  chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname @guarded ip daddr 127.0.0.0/8 drop
    ip daddr . iifname @direct4 accept
    ip6 daddr . iifname @direct6 accept
    ip daddr @subnets4 ip daddr . iifname != @local4 fib daddr oifname @homes drop
    ip6 daddr @subnets6 ip6 daddr . iifname != @local6 fib daddr oifname @homes drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.0/8 return
    jump translate
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    jump translate
  }
  chain translate {
    meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @one4
    meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @one6
    fib daddr type != local return
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @any4
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname @bridges jump enter
    iifname . oifname @peers accept
    iifname @internal drop
  }
  chain enter {
    ct state established,related accept
    iifname . oifname @peers accept
    iifname @internal drop
    oifname @internal drop
    ip daddr . meta l4proto . th dport @open4 accept
    ip6 daddr . meta l4proto . th dport @open6 accept
    oifname @routed icmp type echo-request accept
    oifname @routed icmpv6 type echo-request accept
    drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname @guarded ip saddr 127.0.0.0/8 masquerade
    ct status dnat ip saddr . oifname @local4 masquerade
    ct status dnat ip6 saddr . oifname @local6 masquerade
    iifname @guarded ip saddr . oifname != @local4 snat ip to ip saddr map @source4
    iifname @guarded ip6 saddr . oifname != @local6 snat ip6 to ip6 saddr map @source6
    iifname @guarded ip saddr @masquerade4 ip saddr . oifname != @local4 masquerade
    iifname @guarded ip6 saddr @masquerade6 ip6 saddr . oifname != @local6 masquerade
  }
"""

_TEMPLATE = string.Template(
    _SETS
    + _SETS_OF.replace("@", "4").replace("ADDRESS", "ipv4_addr")
    + _SETS_OF.replace("@", "6").replace("ADDRESS", "ipv6_addr")
    + _RULES
)
_NAMES = tuple(
    ["guarded", "homes", "bridges", "internal", "routed", "peers"]
    + [
        f"{name}{version}"
        for name in ("subnets", "local", "direct", "masquerade", "source", "open", "any", "one")
        for version in (4, 6)
    ]
)


def render_ruleset(
    table: str, networks: Iterable[NetworkRecord], ports: Iterable[Port] = ()
) -> str:
    """Return the nft(8) script that replaces ``table`` by the rules of networks and ports."""
    elements = network_elements(networks)
    for port in ports:
        for name, key, data in port.elements():
            text = " . ".join(key) + (" : " + " . ".join(data) if data else "")
            elements.setdefault(name, []).append(text)
    texts = {
        name: f"elements = {{ {', '.join(elements[name])} }};" if name in elements else ""
        for name in _NAMES
    }
    return (
        f"add table inet {table}\ndelete table inet {table}\ntable inet {table} {{"
        + _TEMPLATE.substitute(texts)
        + "}\n"
    )


def pack_port(port: Port) -> list[nftables.Element]:
    """Return the elements of a port as the kernel takes them."""
    return [
        nftables.Element(name, _pack(key), _pack(data) if data else b"")
        for name, key, data in port.elements()
    ]


def _pack(fields: tuple[str, ...]) -> bytes:
    """Pack addresses, protocols and ports, in network byte order."""
    packed = []
    for field in fields:
        if field in PROTOCOLS:
            packed.append(bytes([PROTOCOLS[field]]))
        elif field.isdigit():
            packed.append(int(field).to_bytes(2, "big"))
        else:
            packed.append(ip_address(field).packed)
    return nftables.pack_fields(*packed)


class Firewall:
    """Keeps the table as networks and ports say. Use on the loop's thread.

    Ports are added and taken away at once; after a change of networks ``apply`` puts the whole
    table up anew. While it is watched, a table that somebody takes away comes back.
    """

    def __init__(self, table: str, networks: Callable[[], Iterable[NetworkRecord]]) -> None:
        """``networks`` gives those that are to be enforced, whenever asked."""
        self.table = table
        self._networks = networks
        self._ports: dict[Port, None] = {}
        self._opened: Counter[_Element] = Counter()
        """How many ports open the same port of a container: it is published several times."""
        self._lock = asyncio.Lock()
        self._applying = False
        self._missed: list[tuple[bool, list[Port]]] = []
        self._socket: nftables.Nftables | None = None
        self._monitor: nftables.NftablesMonitor | None = None
        self._lost = False
        self._restoring: asyncio.Task[None] | None = None

    @property
    def ports(self) -> list[Port]:
        """The ports that are published."""
        return list(self._ports)

    def replace_ports(self, ports: Iterable[Port]) -> None:
        """Know these ports and no others, from the next ``apply`` on."""
        self._ports = dict.fromkeys(ports)
        self._opened = Counter(port.elements()[0] for port in self._ports)

    def publish(self, ports: Iterable[Port]) -> None:
        """Let the ports be reached, at once. Raises KernelError."""
        new = [port for port in ports if port not in self._ports]
        self._ports.update(dict.fromkeys(new))
        self._opened.update(port.elements()[0] for port in new)
        self._change(new, add=True)

    def withdraw(self, ports: Iterable[Port]) -> None:
        """Let the ports be reached no more. Idempotent."""
        gone = [port for port in ports if port in self._ports]
        for port in gone:
            del self._ports[port]
            opened = port.elements()[0]
            self._opened[opened] -= 1
            if not self._opened[opened]:
                del self._opened[opened]
        self._change(gone, add=False)

    def _change(self, ports: list[Port], *, add: bool) -> None:
        if not ports:
            return
        if self._applying:
            self._missed.append((add, ports))
        if self._socket is None:
            self._socket = nftables.Nftables()
        change = self._socket.add if add else self._socket.delete
        elements = [
            packed
            for port in ports
            for element, packed in zip(port.elements(), pack_port(port), strict=True)
            # A container's port that is published twice is open until both are gone.
            if add or element not in self._opened
        ]
        try:
            change(self.table, dict.fromkeys(elements))
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            if not self._applying:  # somebody took the table away: it comes back whole
                self.restore()

    async def apply(self) -> None:
        """Put the table up as it is to be, in one transaction.

        Raises FailedPrecondition if nft is missing or refuses.
        """
        async with self._lock:
            self._applying = True
            self._listen(on=False)
            try:
                await _apply(render_ruleset(self.table, self._networks(), self._ports))
            finally:
                self._applying = False
                self._listen(on=True)
                missed, self._missed = self._missed, []
            for add, ports in missed:
                self._change(ports, add=add)
            # One of those who took something away was nft on our behalf.
            if len(self._read_losses()) > 1 or not self._open_socket().has_table(self.table):
                self.restore()

    def watch(self) -> None:
        """Restore the table whenever somebody takes it, or a part of it, away. Idempotent."""
        if self._monitor is None:
            self._monitor = nftables.NftablesMonitor()
            self._listen(on=True)

    def _listen(self, *, on: bool) -> None:
        if self._monitor is None:
            return
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self._monitor.fileno(), self._on_news)
        else:
            loop.remove_reader(self._monitor.fileno())

    def close(self) -> None:
        """Watch no more. The rules stay."""
        self._listen(on=False)
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._restoring is not None:
            self._restoring.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def restore(self) -> None:
        """Put the table up anew, at once; again and again only after a pause each."""
        self._lost = True
        if self._restoring is None or self._restoring.done():
            self._restoring = asyncio.get_running_loop().create_task(self._restore())

    async def _restore(self) -> None:
        while self._lost:
            self._lost = False
            try:
                await self.apply()
            except BarqueError as error:
                _log.error("the firewall rules could not be restored: %s", error)
                self._lost = True
                await asyncio.sleep(_AGAIN_S)
            else:
                _log.warning("somebody took rules of table %s away: restored", self.table)
                await asyncio.sleep(_SETTLE_S)  # who flushes often does so more than once

    def _on_news(self) -> None:
        if self._read_losses():
            self.restore()

    def _read_losses(self) -> set[int]:
        """Return who but us took something away."""
        if self._monitor is None:
            return set()
        return self._monitor.read_losses(self.table) - {self._open_socket().port}

    def _open_socket(self) -> nftables.Nftables:
        if self._socket is None:
            self._socket = nftables.Nftables()
        return self._socket


async def _apply(script: str) -> None:
    await _run_nft("-f", "-", script=script)


async def delete_table(table: str) -> None:
    """Remove the table from every family; nothing happens where there is none."""
    listing = msgspec.json.decode(await _run_nft("-j", "list", "tables"))
    found = [
        entry["table"]["family"]
        for entry in listing["nftables"]
        if "table" in entry and entry["table"]["name"] == table
    ]
    if found:
        await _apply("".join(f"delete table {family} {table}\n" for family in found))


async def find_obstacles(bridges: Sequence[str], own: str) -> list[str]:
    """Say what on this host drops forwarded packets of ``bridges`` whatever our rules are.

    ``own`` is our table.
    """
    if not bridges:
        return []
    listing = msgspec.json.decode(await _run_nft("-j", "list", "chains"))
    commands = "; ".join(
        f"iptables -I FORWARD -i {bridge} -j ACCEPT; iptables -I FORWARD -o {bridge} -j ACCEPT"
        for bridge in bridges
    )
    return [
        f"nftables chain {chain['family']} {chain['table']} {chain['name']} drops forwarded "
        f"packets by default: unless its rules let {', '.join(bridges)} pass, containers reach "
        f"nothing outside, and nobody their published ports. For iptables: {commands}"
        for entry in listing["nftables"]
        if (chain := entry.get("chain"))
        and chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["family"] in ("ip", "inet")
        and chain["table"] != own
    ]


async def _run_nft(*arguments: str, script: str = "") -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise FailedPrecondition(
            "the program nft, which the bridge network needs, is not in PATH: install the "
            'package nftables, or run without a default network ("bridge": "none")'
        ) from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, errors = await process.communicate(script.encode())
    except TimeoutError as error:
        raise FailedPrecondition(f"nft did not end within {_TIMEOUT_S} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        # The reason, then the line that it does not like: with all ports of a map in our case.
        message = errors.decode(errors="replace").strip().partition("\n")[0]
        raise FailedPrecondition(f"nft {' '.join(arguments)} failed: {message}")
    return output
