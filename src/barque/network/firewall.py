"""Packet filtering and address translation: one nftables table of our own.

The table is named after the engine's bridge (``inet barque-barque0``), so that engines side
by side never meet, and is replaced as a whole by one transaction. Its rules speak of sets:

========== =================== =========================================================
set        elements            meaning
========== =================== =========================================================
bridges    bridge              networks that nothing from outside may enter by itself
peers      bridge . bridge     from which bridge to which new connections may go
========== =================== =========================================================

Two containers on one bridge meet without passing any of this, unless the host has loaded
br_netfilter: with ``icc`` false the bridge itself keeps their ports apart (``isolated``).

Limit: a verdict of ours cannot overrule a drop in somebody else's chain. On a host whose
iptables FORWARD policy is DROP (dockerd sets it), packets of our bridges are dropped there
unless the administrator lets them pass. ``find_obstacles`` says so, and with which commands.
"""

from __future__ import annotations

import asyncio

import msgspec

from barque.errors import FailedPrecondition
from barque.models.network import OPTION_ICC, OPTION_MASQUERADE, NetworkRecord

_TIMEOUT_S = 20


def table_name(bridge: str) -> str:
    """Return the name of the table of the engine whose default bridge is ``bridge``."""
    return f"barque-{bridge}"


def render_ruleset(table: str, network: NetworkRecord) -> str:
    """Return the nft(8) script that replaces ``table`` by the rules of ``network``."""
    bridge = network.bridge
    icc = network.options.get(OPTION_ICC) != "false"
    lines = [
        f"add table inet {table}",
        f"delete table inet {table}",
        f"table inet {table} {{",
        f'  set bridges {{ type ifname; elements = {{ "{bridge}" }}; }}',
        "  set peers {",
        "    type ifname . ifname;",
        *([f'    elements = {{ "{bridge}" . "{bridge}" }};'] if icc else []),
        "  }",
        "  chain forward {",
        "    type filter hook forward priority filter; policy accept;",
        "    oifname @bridges jump enter",
        "  }",
        "  chain enter {",
        "    ct state established,related accept",
        "    iifname . oifname @peers accept",
        "    drop",
        "  }",
    ]
    if network.options.get(OPTION_MASQUERADE) != "false":
        lines += [
            "  chain postrouting {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            f'    ip saddr {network.subnet} oifname != "{bridge}" masquerade',
            "  }",
        ]
    lines.append("}")
    return "\n".join(lines) + "\n"


async def apply(script: str) -> None:
    """Run an nft(8) script as one transaction.

    Raises FailedPrecondition if nft is missing or refuses the script.
    """
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
        await apply("".join(f"delete table {family} {table}\n" for family in found))


async def find_obstacles(bridge: str) -> list[str]:
    """Say what on this host drops forwarded packets of ``bridge`` whatever our rules are."""
    listing = msgspec.json.decode(await _run_nft("-j", "list", "chains"))
    own = table_name(bridge)
    return [
        f"nftables chain {chain['family']} {chain['table']} {chain['name']} drops forwarded "
        f"packets by default: unless its rules let {bridge} pass, containers reach nothing "
        f"outside. For iptables: iptables -I FORWARD -i {bridge} -j ACCEPT; "
        f"iptables -I FORWARD -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
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
        message = errors.decode(errors="replace").strip()
        raise FailedPrecondition(f"nft {' '.join(arguments)} failed: {message}")
    return output
