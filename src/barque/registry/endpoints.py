"""Where a registry is reached, and how far its connection is trusted.

================  ============================================================================
docker.io         the mirrors, in order, for reading; then registry-1.docker.io
insecure          named in ``insecure-registries``, or in 127.0.0.0/8 or ::1: https without
                  verification, then http
any other host    https, verified
================  ============================================================================

Source: moby's registry/config.go and registry/service_v2.go; certs.d as docker lays it out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from barque.errors import InvalidArgument
from barque.registry.config import HUB, RegistryConfig

HUB_SERVER = "https://registry-1.docker.io"
_RESOLVE_S = 5.0


class Endpoint(NamedTuple):
    """One place to try. ``url`` is scheme, host and port."""

    url: str
    verify: bool = True
    mirror: bool = False

    @property
    def host(self) -> str:
        """Host and port as they stand in the URL."""
        return urlsplit(self.url).netloc


async def list_endpoints(domain: str, config: RegistryConfig, *, push: bool) -> list[Endpoint]:
    """Return where to try, in order. Looks the host's addresses up, at most for seconds."""
    if domain == HUB:
        mirrors = [] if push else [await _plan_mirror(url, config) for url in config.mirrors]
        return [*mirrors, Endpoint(HUB_SERVER)]
    if is_insecure(domain, config, await _resolve(domain)):
        return [Endpoint(f"https://{domain}", verify=False), Endpoint(f"http://{domain}")]
    return [Endpoint(f"https://{domain}")]


async def _plan_mirror(url: str, config: RegistryConfig) -> Endpoint:
    host = urlsplit(url).netloc
    insecure = is_insecure(host, config, await _resolve(host))
    return Endpoint(url, verify=not insecure, mirror=True)


def is_insecure(host: str, config: RegistryConfig, addresses: Sequence[str] = ()) -> bool:
    """Tell whether plain http to ``host`` (with port) is allowed. Pure.

    ``addresses`` are those that the host's name stands for.
    """
    name = _split_port(host)
    if host in config.insecure or name in config.insecure:
        return True
    networks = [ipaddress.ip_network(text) for text in config.insecure_networks]
    found = []
    for text in (name, *addresses, *(["127.0.0.1"] if name == "localhost" else [])):
        try:
            found.append(ipaddress.ip_address(text))
        except ValueError:
            continue
    return any(address in network for address in found for network in networks)


def _split_port(host: str) -> str:
    return urlsplit(f"//{host}").hostname or host


async def _resolve(host: str) -> list[str]:
    """Return the host's addresses, or none within the deadline: that counts as secure."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await loop.getaddrinfo(_split_port(host), None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return []
    return [str(entry[4][0]) for entry in found]


def make_tls_context(host: str, config: RegistryConfig, *, verify: bool) -> ssl.SSLContext:
    """Return the TLS settings for a host: its CAs and client certificates of certs.d.

    Raises InvalidArgument for a certificate without its key, or the reverse.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for parent in config.certs_dirs:
        directory = Path(parent) / host
        if "/" in host or not directory.is_dir():
            continue
        for path in sorted(directory.iterdir()):
            try:
                _load(context, path)
            except (OSError, ssl.SSLError) as error:
                raise InvalidArgument(f"cannot use {path} for {host}: {error}") from error
    return context


def _load(context: ssl.SSLContext, path: Path) -> None:
    match path.suffix:
        case ".crt":
            context.load_verify_locations(path)
        case ".cert":
            key = path.with_suffix(".key")
            if not key.exists():
                raise InvalidArgument(f"missing key {key} for client certificate {path}")
            context.load_cert_chain(path, key)
        case ".key" if not path.with_suffix(".cert").exists():
            raise InvalidArgument(
                f"missing client certificate {path.with_suffix('.cert')} for key {path}"
            )
        case _:
            return


def find_proxy(url: str) -> str | None:
    """Return the proxy for a URL by HTTP_PROXY, HTTPS_PROXY and NO_PROXY; never for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or is_insecure(host, RegistryConfig()):
        return None
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)
