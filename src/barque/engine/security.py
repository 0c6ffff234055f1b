"""``HostConfig.SecurityOpt``, parsed.

Source: the Engine API's HostConfig, and dockerd's parseSecurityOpt for the error texts.
"""

from __future__ import annotations

from typing import NamedTuple

from barque.errors import InvalidArgument

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class SecurityOptions(NamedTuple):
    """What the options ask for. "" and None: nothing said."""

    no_new_privileges: bool = False
    seccomp: str = ""
    """``unconfined``, ``builtin``, or the JSON text of a profile."""
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    """SELinux options: ``disable``, ``type:…`` and so on."""
    writable_cgroups: bool | None = None
    systemd: bool = False


NONE = SecurityOptions()
"""No options."""


def _parse_bool(text: str, option: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidArgument(f'invalid --security-opt 2: "{option}"')


def parse_security_options(options: list[str] | None) -> SecurityOptions:
    """Parse the list. ``key=value``, the old ``key:value``, or one of the lone words.

    Raises InvalidArgument with docker's texts.
    """
    if not options:
        return NONE
    no_new_privileges = systemd = False
    writable_cgroups: bool | None = None
    seccomp = apparmor = ""
    labels: list[str] = []
    for option in options:
        separator = "=" if "=" in option else ":"
        key, found, value = option.partition(separator)
        match key:
            case "no-new-privileges" if not found:
                no_new_privileges = True
            case "writable-cgroups" if not found:
                writable_cgroups = True
            case "disable" if not found:
                labels.append("disable")
            case _ if not found:
                raise InvalidArgument(f'invalid --security-opt 1: "{option}"')
            case "label":
                labels.append(value)
            case "apparmor":
                apparmor = value
            case "seccomp":
                seccomp = value
            case "no-new-privileges":
                no_new_privileges = _parse_bool(value, option)
            case "writable-cgroups":
                writable_cgroups = _parse_bool(value, option)
            case "systemd":
                systemd = _parse_bool(value, option)
            case _:
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(
        no_new_privileges, seccomp, apparmor, tuple(labels), writable_cgroups, systemd
    )
