"""Options of one endpoint (``--network name=N,driver-opt=K=V``), with dockerd's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from barque.errors import InvalidArgument, NotImplementedHere

OPTION_NAME = "com.docker.network.endpoint.ifname"
OPTION_SYSCTLS = "com.docker.network.endpoint.sysctls"

_SYSCTL = re.compile(
    r"net\.(ipv4|ipv6|mpls)\.([a-z0-9_]+)\.(?:IFNAME|ifname)\.([a-z0-9_]+)=([^,]+)"
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,14}")


def check_options(options: Mapping[str, str] | None) -> None:
    """Refuse options that make no sense (InvalidArgument) or that we do not have."""
    for option, value in (options or {}).items():
        if option == OPTION_SYSCTLS:
            parse_sysctls(options)
        elif option == OPTION_NAME:
            if not _NAME.fullmatch(value) or value in {"lo", "all", "default"}:
                raise InvalidArgument(
                    f"invalid {OPTION_NAME} {value!r}: 1 to 15 of the characters A-Z a-z 0-9 _ . -"
                )
        else:
            raise NotImplementedHere(
                f"endpoint option {option} is not implemented in this version of barque"
            )


def parse_sysctls(options: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Return (path below /proc/sys/net with ``IFNAME``, value). Raises InvalidArgument.

    Of the form ``net.X.Y.IFNAME.Z=V``: nothing but settings of the endpoint's own interface.
    """
    found = []
    for text in filter(None, (options or {}).get(OPTION_SYSCTLS, "").split(",")):
        match = _SYSCTL.fullmatch(text.strip())
        if match is None:
            raise InvalidArgument(
                f"invalid endpoint settings:\nunable to parse sysctl {text.strip()!r}: it must be "
                "net.{ipv4|ipv6|mpls}.X.IFNAME.Y=VALUE"
            )
        family, group, key, value = match.groups()
        found.append((f"{family}/{group}/IFNAME/{key}", value))
    return found


def get_name(options: Mapping[str, str] | None) -> str:
    """Return the name that the interface is to have, or ""."""
    return (options or {}).get(OPTION_NAME, "")
