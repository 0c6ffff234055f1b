"""The contents of a container's /etc/hosts and /etc/resolv.conf. Pure functions, but ``read``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from barque.errors import InvalidArgument

HOST_GATEWAY = "host-gateway"
"""Word of --add-host for "the address at which the host is reached"."""

SYSTEMD_STUB = "127.0.0.53"

RESOLVER = "127.0.0.11"
"""Where containers on networks of the user's own ask for names."""

_LOCAL = (("127.0.0.1", "localhost"),)
_LOCAL_V6 = (
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
_FALLBACK = ("8.8.8.8", "8.8.4.4")
_EXTERNAL = re.compile(r"^# ExtServers: \[(.*)\]$", re.MULTILINE)


def parse_extra_host(entry: str) -> tuple[str, str]:
    """Split ``name:address``; the address is an IP address or ``host-gateway``.

    Raises InvalidArgument with dockerd's texts.
    """
    name, separator, address = entry.partition(":")
    if not separator or not name:
        raise InvalidArgument(f'bad format for add-host: "{entry}"')
    if address == HOST_GATEWAY:
        return name, address
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        ip_address(bare)
    except ValueError as error:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from error
    return name, bare


def resolve_extra_hosts(entries: Sequence[str], gateways: Sequence[str]) -> list[tuple[str, str]]:
    """Return (address, name) of --add-host entries, in their order.

    ``gateways`` replace ``host-gateway``, one line each. Raises InvalidArgument.
    """
    lines: list[tuple[str, str]] = []
    for entry in entries:
        name, address = parse_extra_host(entry)
        if address != HOST_GATEWAY:
            lines.append((address, name))
        elif gateways:
            lines += [(gateway, name) for gateway in gateways]
        else:
            raise InvalidArgument(
                f'unable to derive the IP value for host-gateway in "{entry}": there is no '
                "default bridge, and host-gateway-ips is not set"
            )
    return lines


def render_hosts(
    *,
    extra: Sequence[tuple[str, str]] = (),
    addresses: Sequence[str] = (),
    hostname: str = "",
    domainname: str = "",
    ipv6: bool = True,
) -> str:
    """Return /etc/hosts: the local names, ``extra`` (address, name), the container's own.

    ``addresses`` without prefix length. A dotted name is followed by its first label.
    """
    lines = [*_LOCAL, *(_LOCAL_V6 if ipv6 else ()), *extra]
    name = f"{hostname}.{domainname}" if domainname else hostname
    if "." in name:
        name += " " + name.partition(".")[0]
    lines += [(address, name) for address in addresses]
    return "".join(f"{address}\t{names}\n" for address, names in lines)


def render_resolv_conf(
    host: str,
    *,
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    keep_local: bool = False,
) -> str:
    """Return /etc/resolv.conf made of the host's, each part replaced by what is given.

    Servers at loopback addresses and IPv6 servers are left out, as the container does not
    reach them; if none remains, those are named which a container engine around us asks, or
    public ones. ``keep_local`` (the container shares the host's network) keeps the host's
    servers. A ``search`` of ``.`` alone is none. Other directives of the host's file are kept.
    """
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    others = []
    for line in host.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        match words[0]:
            case "nameserver" if len(words) > 1:
                found["nameserver"].append(words[1])
            case "search" | "domain":
                found["search"] = words[1:]
            case "options":
                found["options"] += words[1:]
            case _:
                others.append(line.strip())
    names = list(servers) or found["nameserver"]
    if not servers and not keep_local:
        names = list(filter(_is_reachable, names)) or list_outer_nameservers(host)
    domains = list(search) or found["search"]
    lines = [f"nameserver {server}" for server in names]
    if domains and domains != ["."]:
        lines.append(f"search {' '.join(domains)}")
    if chosen := list(options) or found["options"]:
        lines.append(f"options {' '.join(chosen)}")
    return "\n".join([*lines, *others]) + "\n"


def render_own_resolv_conf(
    host: str,
    resolver: str,
    *,
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """Return /etc/resolv.conf of a container whose names ``resolver`` resolves.

    Search domains and options as in ``render_resolv_conf``; the servers that are asked for
    other names stand in a comment.
    """
    asked = list(servers) or [f"host({server})" for server in list_nameservers(host)]
    text = render_resolv_conf(host, servers=[resolver], search=search, options=options)
    lines = text.splitlines()
    place = next((n for n, line in enumerate(lines) if line.startswith("options ")), None)
    if place is None:
        lines.append("options ndots:0")
    elif "ndots:" not in lines[place]:
        lines[place] += " ndots:0"
    return "\n".join([*lines, "", f"# ExtServers: [{' '.join(asked)}]"]) + "\n"


def list_outer_nameservers(text: str) -> list[str]:
    """Return the servers that the embedded resolver of an engine around us says it asks.

    We are in a container then, and only we reach that resolver. Without it, public servers.
    """
    asked = _EXTERNAL.search(text)
    words = asked[1].replace("host(", " ").replace(")", " ").split() if asked else ()
    return list(filter(_is_reachable, words)) or list(_FALLBACK)


def read(path: str | Path) -> str:
    """Return a file's text; "" if there is no such file."""
    try:
        return Path(path).read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def list_nameservers(text: str) -> list[str]:
    """Return the servers that a resolv.conf names."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]


def read_host_resolv_conf(read: Callable[[str], str]) -> str:
    """Return the resolv.conf to start from; ``read`` gives a file's text or "" if missing.

    Behind systemd's stub resolver, which only the host reaches, that is the list of the
    servers which the stub asks.
    """
    text = read("/etc/resolv.conf")
    if list_nameservers(text) == [SYSTEMD_STUB]:
        return read("/run/systemd/resolve/resolv.conf") or text
    return text


def _is_reachable(server: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback
