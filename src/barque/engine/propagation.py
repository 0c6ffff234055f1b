"""Mount propagation between a container and the host.

A bind can only be ``shared`` (mounts travel both ways) or ``slave`` (into the container) if
the host's mount that holds its source shares its own. Source: mount_namespaces(7), proc(5)
"mountinfo"; dockerd's ensureShared for the texts.
"""

from __future__ import annotations

import os

from barque.errors import InvalidArgument

_SHARED = frozenset({"shared", "rshared"})
_SLAVE = frozenset({"slave", "rslave"})


def _find_mount(path: str, table: str) -> tuple[str, str]:
    """Return mount point and optional fields of the mount that holds ``path``."""
    best, optional = "", ""
    for line in table.splitlines():
        fields = line.partition(" - ")[0].split(" ")
        point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        below = path == point or path.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best):
            best, optional = point, " ".join(fields[6:])
    return best, optional


def asks_for_more(propagation: str) -> bool:
    """Tell whether ``propagation`` asks something of the host's mount: it is not private."""
    return propagation in _SHARED | _SLAVE


def root_propagation(binds: list[tuple[str, str]]) -> str:
    """Return what the container's root must be for its (source, propagation) pairs.

    "" where nothing asks for more than private; else ``shared`` or ``rslave``. Raises
    InvalidArgument for a source whose mount on the host shares nothing. Blocks, for ever where a
    source's file system does not answer: for a thread.
    """
    wanted = ""
    table = ""
    for source, propagation in binds:
        if not asks_for_more(propagation):
            continue
        if not table:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                table = file.read()
        point, optional = _find_mount(os.path.realpath(source), table)
        if propagation in _SHARED:
            if "shared:" not in optional:
                raise InvalidArgument(
                    f"path {source} is mounted on {point} but it is not a shared mount"
                )
            wanted = "shared"
        elif "shared:" not in optional and "master:" not in optional:
            raise InvalidArgument(
                f"path {source} is mounted on {point} but it is not a shared or slave mount"
            )
        else:
            wanted = wanted or "rslave"
    return wanted
