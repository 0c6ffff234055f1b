"""``HostConfig.SecurityOpt``, parsed.

Source: the Engine API's HostConfig, and dockerd's parseSecurityOpt for the error texts;
podman-run(1) for ``mask`` and ``unmask``.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from barque.errors import InvalidArgument

UNCONFINED = "unconfined"
BUILTIN = "builtin"

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_EVERYTHING = "all"


class SecurityOptions(NamedTuple):
    """What the options ask for. "" and None: nothing said."""

    no_new_privileges: bool | None = None
    seccomp: str = ""
    """``unconfined``, ``builtin``, or the JSON text of a profile."""
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    """SELinux options: ``disable``, ``type:…`` and so on."""
    writable_cgroups: bool | None = None
    systemd: bool = False
    mask: tuple[str, ...] = ()
    """Paths to be masked beside the usual ones."""
    unmask: tuple[str, ...] = ()
    """Paths, with wildcards, that are neither masked nor read-only; ``ALL`` are all."""

    def masked(self, usual: Iterable[str]) -> list[str]:
        """Return what is masked: the usual paths but those unmasked, and those asked for."""
        return list(dict.fromkeys((*self.kept(usual), *self.mask)))

    def kept(self, usual: Iterable[str]) -> list[str]:
        """Return those of the usual paths that are not unmasked."""
        if _EVERYTHING in (pattern.lower() for pattern in self.unmask):
            return []
        return [
            path for path in usual if not any(matches(pattern, path) for pattern in self.unmask)
        ]


NONE = SecurityOptions()
"""No options."""


def matches(pattern: str, path: str) -> bool:
    """Whether a path fits a pattern part by part: ``*`` stops at a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _parse_bool(text: str, option: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidArgument(f'invalid --security-opt 2: "{option}"')


def _parse_paths(text: str, option: str) -> list[str]:
    """``/a:/b``. Raises InvalidArgument."""
    paths = text.split(":")
    if not all(path.startswith("/") and ".." not in path.split("/") for path in paths):
        raise InvalidArgument(
            f'invalid --security-opt 2: "{option}": give absolute paths, with colons between them'
        )
    return [path.rstrip("/") or "/" for path in paths]


def parse_security_options(options: list[str] | None) -> SecurityOptions:
    """Parse the list. ``key=value``, the old ``key:value``, or one of the lone words.

    Raises InvalidArgument with docker's texts.
    """
    if not options:
        return NONE
    no_new_privileges: bool | None = None
    systemd = False
    writable_cgroups: bool | None = None
    seccomp = apparmor = ""
    labels: list[str] = []
    mask: list[str] = []
    unmask: list[str] = []
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
            case "systempaths" if value == UNCONFINED:
                unmask.append(_EVERYTHING)
            case "mask":
                mask += _parse_paths(value, option)
            case "unmask" if value.lower() == _EVERYTHING:
                unmask.append(_EVERYTHING)
            case "unmask":
                unmask += _parse_paths(value, option)
            case _:
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        apparmor=apparmor,
        labels=tuple(labels),
        writable_cgroups=writable_cgroups,
        systemd=systemd,
        mask=tuple(mask),
        unmask=tuple(unmask),
    )
