"""Options of tmpfs mounts, as docker takes them.

Source: the Engine API's Tmpfs and TmpfsOptions; dockerd's MergeTmpfsOptions; tmpfs(5).
"""

from __future__ import annotations

from barque.errors import InvalidArgument
from barque.models.api import TmpfsOptions

DEFAULT_OPTIONS = ("noexec", "nosuid", "nodev", "rprivate")

_GROUPS = {
    word: group
    for group, words in {
        "ro": "ro rw",
        "suid": "suid nosuid",
        "dev": "dev nodev",
        "exec": "exec noexec",
        "sync": "sync async",
        "dirsync": "dirsync",
        "mand": "mand nomand",
        "atime": "atime noatime",
        "diratime": "diratime nodiratime",
        "relatime": "relatime norelatime",
        "strictatime": "strictatime nostrictatime",
        "propagation": "private rprivate shared rshared slave rslave unbindable runbindable",
    }.items()
    for word in words.split()
}
"""Flags by what they decide: of those in one group the last one counts."""

_VALUES = frozenset("size mode uid gid nr_inodes nr_blocks mpol".split())


def merge_tmpfs_options(options: list[str]) -> list[str]:
    """Take defaults and ``options`` together, later ones over earlier ones, in order.

    Raises InvalidArgument with docker's text.
    """
    merged: dict[str, str] = {}
    for option in (*DEFAULT_OPTIONS, *options):
        if option == "defaults":
            continue
        key = _GROUPS.get(option)
        if key is None:
            name, equals, _ = option.partition("=")
            if not equals or name not in _VALUES:
                parts = " ".join(f'"{part}"' for part in option.split("=", 1))
                raise InvalidArgument(f"Invalid tmpfs option [{parts}]")
            key = name
        merged.pop(key, None)
        merged[key] = option
    return list(merged.values())


def parse_tmpfs_text(text: str) -> list[str]:
    """Split ``HostConfig.Tmpfs``' comma list and merge it. Raises InvalidArgument."""
    return merge_tmpfs_options(text.split(",") if text else [])


def convert_tmpfs_options(options: TmpfsOptions | None, *, readonly: bool) -> list[str]:
    """Write a mount's TmpfsOptions as mount options. Raises InvalidArgument."""
    words = ["ro"] if readonly else []
    if options is None:
        return words
    if options.mode:
        words.append(f"mode={options.mode:o}")
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    for option in options.options or ():
        if not 1 <= len(option) <= 2:
            raise InvalidArgument("invalid option array length")
        if option[0] not in {"exec", "noexec"}:
            raise InvalidArgument(f"invalid option: {option[0]}")
        words.append("=".join(option))
    return words
