"""What the administrator says about registries. Source: dockerd's options of these names."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from barque.errors import InvalidArgument

HUB = "docker.io"
_LOOPBACK = ("127.0.0.0/8", "::1/128")


class RegistryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator says about registries: dockerd's options, checked."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    """Hosts, with port if it matters, and networks in CIDR notation."""
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    certs_dirs: tuple[str, ...] = ("/etc/barque/certs.d", "/etc/docker/certs.d")

    @property
    def insecure_networks(self) -> list[str]:
        """The CIDRs among ``insecure``, those of this machine first."""
        own = list(_LOOPBACK)
        return own + [entry for entry in self.insecure if "/" in entry]

    @property
    def insecure_hosts(self) -> list[str]:
        """The hosts among ``insecure``."""
        return [entry for entry in self.insecure if "/" not in entry]


def check_config(
    mirrors: Sequence[str], insecure: Sequence[str], downloads: int, uploads: int, attempts: int
) -> RegistryConfig:
    """Make the configuration of daemon.json's values. Raises InvalidArgument."""
    for name, number in (
        ("max-concurrent-downloads", downloads),
        ("max-concurrent-uploads", uploads),
        ("max-download-attempts", attempts),
    ):
        if not 0 < number <= 100:
            raise InvalidArgument(f"invalid {name} {number}: give a number from 1 to 100")
    return RegistryConfig(
        mirrors=tuple(map(_check_mirror, mirrors)),
        insecure=tuple(map(_check_insecure, insecure)),
        max_concurrent_downloads=downloads,
        max_concurrent_uploads=uploads,
        max_download_attempts=attempts,
    )


def _check_mirror(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.netloc:
        raise InvalidArgument(f"invalid mirror: {text!r} must be an http or https URL")
    if url.path not in {"", "/"} or url.query or url.fragment or "@" in url.netloc:
        raise InvalidArgument(f"invalid mirror: path, query, or user info in the URL {text!r}")
    return f"{url.scheme}://{url.netloc}"


def _check_insecure(text: str) -> str:
    entry = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    if "://" in entry:
        raise InvalidArgument(f"insecure registry {text!r} should not contain '://'")
    if "/" in entry:
        try:
            return str(ipaddress.ip_network(entry, strict=False))
        except ValueError as error:
            raise InvalidArgument(f"insecure registry {text!r} is not valid: {error}") from None
    if not entry or entry.startswith("-"):
        raise InvalidArgument(f"insecure registry {text!r} is not valid: give host[:port] or CIDR")
    return entry
