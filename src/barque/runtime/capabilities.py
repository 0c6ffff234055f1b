"""Capabilities: names and numbers, docker's way of choosing them, and the system calls.

The first half is pure and serves the engine. The second half changes the calling process and
is made for the moment between fork and execve: it imports nothing, reads no file once
``last_cap`` was called, and needs one thread. Sets travel as bit masks, bit N for capability N.

Source: capabilities(7), capset(2), prctl(2), linux/capability.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from barque.errors import InvalidArgument
from barque.kernel.libc import check, function
from barque.models import oci

NAMES: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Every capability by its number."""

NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}
"""Number of every capability by its ``CAP_`` name."""

DOCKER: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What docker gives an unprivileged container, in docker's order."""

DEFAULT: tuple[str, ...] = tuple(
    name for name in DOCKER if name not in {"CAP_MKNOD", "CAP_NET_RAW", "CAP_AUDIT_WRITE"}
)
"""What barque gives: the eleven that Podman keeps. See docs/adr/0014."""

ALL = "ALL"
"""The word that stands for every capability in ``CapAdd`` and ``CapDrop``."""


@cache
def last_cap() -> int:
    """Return the number of the newest capability that the kernel knows.

    Read once: a process that forks calls it first, so that its children need no file.
    """
    fd = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 16))
    finally:
        os.close(fd)


def known() -> tuple[str, ...]:
    """Return the names of the capabilities that both the kernel and we know, by number."""
    return NAMES[: last_cap() + 1]


def parse_names(names: Iterable[str]) -> list[str]:
    """Normalise ``CapAdd`` or ``CapDrop``: upper case with ``CAP_``, ``ALL`` as it is.

    Raises InvalidArgument, with docker's text, for a name that nobody or the kernel does not
    know.
    """
    normalised = []
    for name in names:
        upper = name.upper()
        if upper == ALL:
            normalised.append(upper)
            continue
        if not upper.startswith("CAP_"):
            upper = "CAP_" + upper
        number = NUMBERS.get(upper)
        if number is None:
            raise InvalidArgument(f'unknown capability: "{upper}"')
        if number > last_cap():
            raise InvalidArgument(
                "capability not supported by your kernel or not available in the current "
                f'environment: "{upper}"'
            )
        normalised.append(upper)
    return normalised


def choose(
    add: Iterable[str] | None,
    drop: Iterable[str] | None,
    *,
    default: tuple[str, ...] = DEFAULT,
    privileged: bool = False,
) -> tuple[str, ...]:
    """Choose the capabilities of a container: the ``default`` set, adjusted.

    Privileged: all that the kernel knows. ``ALL`` added: all but those dropped by name.
    ``ALL`` dropped: only those added. Otherwise the default less ``drop``, then ``add``.
    Without repetition, in the order in which they were found. Raises InvalidArgument.
    """
    if privileged:
        return known()
    if not add and not drop:
        return default
    added, dropped = parse_names(add or ()), parse_names(drop or ())
    if ALL in added:
        return tuple(name for name in known() if name not in dropped)
    if ALL in dropped:
        return tuple(dict.fromkeys(added))
    kept = (name for name in default if name not in dropped)
    return tuple(dict.fromkeys((*kept, *added)))


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of ``CAP_*`` names, leaving out those that nobody knows, as OCI asks."""
    bits = 0
    for name in names:
        number = NUMBERS.get(name)
        if number is not None:
            bits |= 1 << number
    return bits


def find_missing(capabilities: oci.Capabilities, available: int) -> list[str]:
    """Return the names in any of the sets that nobody knows, or that are not ``available``."""
    sets = (getattr(capabilities, name) for name in capabilities.__struct_fields__)
    wanted = dict.fromkeys(name for names in sets for name in names)
    return [name for name in wanted if not mask([name]) & available]


def names_of(bits: int) -> list[str]:
    """Return the ``CAP_*`` names of a bit mask, by number."""
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


class Held(NamedTuple):
    """The calling process's sets, as masks."""

    effective: int
    permitted: int
    inheritable: int


_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3; the calling thread
_DATA = struct.Struct("=6I")  # (effective, permitted, inheritable) low words, then high words
_LOW = 0xFFFFFFFF

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 23, 24, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4

_capget = function("capget", ctypes.c_char_p, ctypes.c_char_p)
_capset = function("capset", ctypes.c_char_p, ctypes.c_char_p)
_prctl = function("prctl", ctypes.c_int, *(ctypes.c_ulong,) * 4)


def held() -> Held:
    """Return what the calling process has. Raises KernelError."""
    data = ctypes.create_string_buffer(_DATA.size)
    check(_capget(_HEADER, data), "capget")
    low = _DATA.unpack(data.raw)
    return Held(*(low[index] | low[index + 3] << 32 for index in range(3)))


def bounding() -> int:
    """Return the calling process's bounding set, as a mask. Raises KernelError."""
    bits = 0
    for number in range(last_cap() + 1):
        if check(_prctl(_PR_CAPBSET_READ, number, 0, 0, 0), "prctl", "PR_CAPBSET_READ"):
            bits |= 1 << number
    return bits


def drop_bounding(keep: int) -> None:
    """Take every capability that is not in the mask ``keep`` out of the bounding set.

    Irrevocable; needs CAP_SETPCAP. Covers capabilities newer than we know. Raises KernelError.
    """
    for number in range(last_cap() + 1):
        if not keep >> number & 1:
            check(_prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl", "PR_CAPBSET_DROP")


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets, as masks. What the process lacks it is not given, silently.

    Raises KernelError.
    """
    now = held()
    permitted &= now.permitted
    effective &= permitted
    inheritable &= now.inheritable | now.permitted
    data = _DATA.pack(
        effective & _LOW,
        permitted & _LOW,
        inheritable & _LOW,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
    check(_capset(_HEADER, data), "capset")


def set_ambient(bits: int) -> None:
    """Make the mask ``bits`` the ambient set, as far as permitted and inheritable allow it.

    To be called after ``set_capabilities`` and the change of user. Raises KernelError.
    """
    check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl", "PR_CAP_AMBIENT")
    now = held()
    bits &= now.permitted & now.inheritable
    for number in range(last_cap() + 1):
        if bits >> number & 1:
            check(
                _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0),
                "prctl",
                "PR_CAP_AMBIENT",
            )


def keep_for_filter(capabilities: oci.Capabilities) -> None:
    """Have in effect what the spec says, and CAP_SYS_ADMIN, without giving anything up yet."""
    now = held()
    effective = mask(capabilities.effective) | 1 << NUMBERS["CAP_SYS_ADMIN"]
    set_capabilities(effective, now.permitted, now.inheritable)


def set_final(capabilities: oci.Capabilities) -> None:
    """Set all but the bounding set, which must be cut before the user changes. KernelError."""
    set_capabilities(
        mask(capabilities.effective),
        mask(capabilities.permitted),
        mask(capabilities.inheritable),
    )
    set_ambient(mask(capabilities.ambient))
