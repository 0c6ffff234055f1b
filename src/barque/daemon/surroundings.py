"""What an engine needs of where it runs. A container may lack it: then say which flag gives it.

Source: docs/nesting.md; docker run(1) for the flags.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from barque.cgroups import hierarchies
from barque.errors import FailedPrecondition, KernelError
from barque.kernel.mount import pivot_root
from barque.kernel.process import clone3_is_filtered
from barque.runtime.capabilities import NUMBERS, held

_CAPABILITIES = (
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_MKNOD",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SYS_CHROOT",
)
"""Without one of these no container can be made, whatever it asks for."""
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
_UNFILTERED = "--security-opt seccomp=unconfined"


class Missing(NamedTuple):
    """Something that an engine needs and does not have, and docker's flag for it."""

    what: str
    flag: str


def check_surroundings(*, bridged: bool) -> None:
    """Raise FailedPrecondition that names all that is missing. ``bridged``: with networks."""
    if missing := find_missing(bridged=bridged):
        raise FailedPrecondition(explain(missing, inside=is_container()))


def explain(missing: Sequence[Missing], *, inside: bool) -> str:
    """Return the message. ``inside``: we are in a container, which somebody can start anew."""
    listed = "".join(f"\n  {what}" for what, _ in missing)
    if not inside:
        return f"an engine cannot work here, for it lacks:{listed}"
    flags = " ".join(dict.fromkeys(flag for _, flag in missing))
    return (
        f"an engine cannot work in this container, for it lacks:{listed}\n"
        f"start the container with --privileged, or with {flags}"
    )


def is_container() -> bool:
    """Whether we see the processes of a container only."""
    return Path("/proc/self/ns/pid").stat().st_ino != _FIRST_PID_NAMESPACE


def find_missing(*, bridged: bool) -> list[Missing]:
    """Return what is missing here. ``bridged``: the engine has a bridge."""
    effective = held().effective
    missing = [*_find_missing_capabilities(effective), *_find_filtered(effective)]
    if bridged and _is_readonly("/proc/sys/net"):
        missing.append(
            Missing("a /proc/sys that can be written to", "--security-opt systempaths=unconfined")
        )
    v1, v2 = hierarchies()
    mounts = [*dict.fromkeys(v1.values()), *([v2] if v2 else [])]
    if any(_is_readonly(mount) for mount in mounts):
        missing.append(
            Missing("control groups that can be written to", "--security-opt writable-cgroups=true")
        )
    return missing


def _find_missing_capabilities(effective: int) -> Iterable[Missing]:
    for name in _CAPABILITIES:
        if not effective >> NUMBERS[name] & 1:
            yield Missing(f"the capability {name}", f"--cap-add {name.removeprefix('CAP_')}")


def _find_filtered(effective: int) -> Iterable[Missing]:
    """Look for system calls that a seccomp filter keeps from us, by calls that do nothing.

    Who lacks CAP_SYS_ADMIN may not make them anyway: then any filter is one that does.
    """
    if not effective >> NUMBERS["CAP_SYS_ADMIN"] & 1:
        if "\nSeccomp:\t2\n" in Path("/proc/self/status").read_text(encoding="ascii"):
            yield Missing("system calls that make containers (seccomp)", _UNFILTERED)
        return
    try:
        pivot_root("", "")
    except KernelError as error:
        if error.errno in {errno.EPERM, errno.ENOSYS}:
            yield Missing("the system call pivot_root", _UNFILTERED)
    if clone3_is_filtered():
        yield Missing("the system call clone3", _UNFILTERED)


def _is_readonly(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return False
