"""The mount plan: what an OCI spec's mounts mean, as data.

``plan_mounts`` is pure: it turns mount(8) words into attributes, propagation and file system
options. ``rootfs.py`` executes the plan.

Source: runtime-spec config.md "Mounts" and config-linux.md, mount(8).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from barque.errors import InvalidArgument
from barque.kernel.mount import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from barque.models import oci


class MountStep(NamedTuple):
    """One mount to be made at ``destination`` inside the root.

    ``kind`` is ``bind``, ``cgroup`` or ``filesystem``. ``set``/``clear`` are MOUNT_ATTR_* bits
    of the mount itself, ``recursive_set``/``recursive_clear`` of the whole tree under a bind.
    """

    kind: str
    destination: str
    source: str
    fstype: str
    number: int = 0
    """Its place among the spec's mounts."""
    options: tuple[str, ...] = ()
    """What the file system itself is told; SELinux's ``context`` among it."""
    set: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    propagation_recursive: bool = False
    recursive: bool = False
    copy_up: bool = False
    uid_mappings: tuple[oci.IdMapping, ...] = ()
    gid_mappings: tuple[oci.IdMapping, ...] = ()
    """Owners as the bind shows them; empty shows them as they are."""
    mapped_below: bool = False
    """So do the mounts below it that come along."""


_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "atime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "relatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "norelatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
}
_PROPAGATION = {
    "private": MS_PRIVATE,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
}
_SUPERBLOCK_FLAGS = frozenset(
    {"sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"}
)
_UNLABELLED = frozenset({"proc", "sysfs", "mqueue"})
"""File systems whose files have labels of the policy's, one a kind: as with runc they keep them."""
_WITHOUT_EFFECT = frozenset({"defaults", "loud", "silent", "iversion", "noiversion", "remount"})
"""``iversion``: file systems that count versions do so unasked; fsconfig(2) has no word for it."""
OPTIONS = frozenset(
    {
        *_ATTRIBUTES,
        *(f"r{word}" for word in _ATTRIBUTES),
        *_PROPAGATION,
        *(f"r{word}" for word in _PROPAGATION),
        *_SUPERBLOCK_FLAGS,
        *_WITHOUT_EFFECT,
        *("bind", "rbind", "idmap", "ridmap", "tmpcopyup"),
    }
)
"""All words with a meaning of their own; any other is the file system's."""


PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo diskstats loadavg meminfo net/dev slabinfo stat swaps sys/kernel/ns_last_pid "
        "sys/crypto/fips_enabled uptime"
    ).split()
)
"""What LXCFS and the like show in place of the kernel's own."""


def plain_path(path: str) -> str:
    """An absolute path without the words that mean nothing: ``//proc/.`` is ``/proc``."""
    return os.path.normpath(f"/{path.lstrip('/')}")


def propagation_flag(word: str) -> tuple[int, bool]:
    """``rslave`` → (MS_SLAVE, True). Raises InvalidArgument for an unknown word."""
    recursive = word not in _PROPAGATION
    try:
        return _PROPAGATION[word[1:] if recursive else word], recursive
    except KeyError:
        raise InvalidArgument(
            f"invalid mount propagation {word!r}: choose one of private, rprivate, shared, "
            f"rshared, slave, rslave, unbindable, runbindable"
        ) from None


def plan_mount(mount: oci.Mount, container: oci.Linux) -> MountStep:
    """The step for one OCI mount of ``container``. Raises InvalidArgument."""
    if not mount.destination.startswith("/"):
        raise InvalidArgument(f"mount destination {mount.destination!r} is not absolute")
    set_ = clear = recursive_set = recursive_clear = propagation = 0
    propagation_recursive = recursive = copy_up = mapped_below = False
    bind = mount.type == "bind"
    idmap = bool(mount.uid_mappings or mount.gid_mappings)
    options: list[str] = []
    for option in mount.options:
        if option in {"bind", "rbind"}:
            bind = True
            recursive = recursive or option == "rbind"
        elif option in _ATTRIBUTES:
            on, off = _ATTRIBUTES[option]
            set_ = set_ & ~off | on
            clear = clear & ~on | off
        elif option.startswith("r") and option[1:] in _ATTRIBUTES:
            on, off = _ATTRIBUTES[option[1:]]
            recursive_set |= on
            recursive_clear |= off
        elif option in _PROPAGATION or option[1:] in _PROPAGATION:
            propagation, propagation_recursive = propagation_flag(option)
        elif option in {"idmap", "ridmap"}:
            idmap = True
            mapped_below = mapped_below or option == "ridmap"
        elif option == "tmpcopyup":
            copy_up = True
        elif option in _SUPERBLOCK_FLAGS or option not in _WITHOUT_EFFECT:
            options.append(option)
    kind = "bind" if bind else "cgroup" if mount.type in {"cgroup", "cgroup2"} else "filesystem"
    if kind == "bind" and not mount.source.startswith("/"):
        raise InvalidArgument(f"bind mount source {mount.source!r} is not absolute")
    if kind != "bind" and not mount.type:
        raise InvalidArgument(f"the mount at {mount.destination} has no type")
    if kind != "bind":  # there is nothing below it that a recursive word could mean beside it
        set_ = set_ & ~recursive_clear | recursive_set
        recursive_set = recursive_clear = 0
    if container.mount_label and kind == "filesystem" and mount.type not in _UNLABELLED:
        options.append(f"context={container.mount_label}")
    uids, gids = _id_mappings(mount, container) if idmap else ((), ())
    return MountStep(
        kind=kind,
        destination=mount.destination,
        source=mount.source,
        fstype=mount.type,
        options=() if bind else tuple(options),
        set=set_,
        clear=clear,
        recursive_set=recursive_set,
        recursive_clear=recursive_clear,
        propagation=propagation,
        propagation_recursive=propagation_recursive,
        recursive=recursive,
        copy_up=copy_up,
        uid_mappings=uids,
        gid_mappings=gids,
        mapped_below=mapped_below,
    )


def _id_mappings(
    mount: oci.Mount, container: oci.Linux
) -> tuple[tuple[oci.IdMapping, ...], tuple[oci.IdMapping, ...]]:
    """The mount's own mappings, or those of the container's user namespace."""
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise InvalidArgument(
            f"the mount at {mount.destination} has only one of uidMappings and gidMappings"
        )
    uids = mount.uid_mappings or container.uid_mappings
    gids = mount.gid_mappings or container.gid_mappings
    if not uids or not gids:
        raise InvalidArgument(
            f"the mount at {mount.destination} is to be id-mapped, but neither it nor the "
            "container has mappings"
        )
    if mount.type != "bind" and not {"bind", "rbind"} & set(mount.options):
        raise InvalidArgument(f"the mount at {mount.destination} is no bind: it has no owners yet")
    return tuple(uids), tuple(gids)


def plan_mounts(mounts: list[oci.Mount], container: oci.Linux) -> list[MountStep]:
    """The steps for a spec's mounts, in order. Raises InvalidArgument."""
    return [plan_mount(mount, container)._replace(number=n) for n, mount in enumerate(mounts)]
