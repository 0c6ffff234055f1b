"""Whether two trees are the same, byte for byte: for the check of layers."""

from __future__ import annotations

import os
import stat
import threading
from errno import ENODATA, EOPNOTSUPP
from itertools import zip_longest

from barque.snapshots.trees import entry_path, open_directory, walk_tree

_PIECE = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def find_difference(wanted_fd: int, found_fd: int, stop: threading.Event) -> str:
    """Say where the tree ``found_fd`` is not what ``wanted_fd`` is; "" if nowhere.

    Compared are names, kinds, modes, owners, devices, links, extended attributes and contents;
    of what is no directory and no whiteout also the date. Blocks: for a thread, which ``stop``
    ends early. Raises KernelError or OSError.
    """
    difference = _compare_status(os.fstat(wanted_fd), os.fstat(found_fd))
    if difference:
        return f"/ has {difference}"
    for wanted, found in zip_longest(walk_tree(wanted_fd), walk_tree(found_fd)):
        if stop.is_set():
            return ""
        if found is None or (wanted is not None and wanted[0] < found[0]):
            return f"{_show(wanted[0])} is missing"
        if wanted is None or wanted[0] != found[0]:
            return f"{_show(found[0])} does not belong there"
        path, status = wanted
        difference = _compare_status(status, found[1])
        if not difference:
            parent, _, name = path.rpartition(b"/")
            with (
                open_directory(wanted_fd, parent) as wanted_parent,
                open_directory(found_fd, parent) as found_parent,
            ):
                difference = _compare_entry(wanted_parent, found_parent, name, status)
        if difference:
            return f"{_show(path)} has {difference}"
    return ""


def _show(path: bytes) -> str:
    return f"/{path.decode(errors='backslashreplace')}"


def _compare_status(wanted: os.stat_result, found: os.stat_result) -> str:
    if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(found.st_mode):
        return "another kind"
    if wanted.st_mode != found.st_mode:
        return "another mode"
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        return "another owner"
    if stat.S_ISDIR(wanted.st_mode):
        return ""
    if wanted.st_rdev != found.st_rdev:
        return "another device number"
    if wanted.st_size != found.st_size:
        return "another size"
    whiteout = stat.S_ISCHR(wanted.st_mode) and not wanted.st_rdev  # its date says nothing
    if not whiteout and wanted.st_mtime_ns != found.st_mtime_ns:
        return "another date"
    return ""


def _compare_entry(wanted: int, found: int, name: bytes, status: os.stat_result) -> str:
    if _read_xattrs(entry_path(wanted, name)) != _read_xattrs(entry_path(found, name)):
        return "other extended attributes"
    if stat.S_ISLNK(status.st_mode):
        same = os.readlink(name, dir_fd=wanted) == os.readlink(name, dir_fd=found)
        return "" if same else "another target"
    if stat.S_ISREG(status.st_mode) and not _is_same_content(wanted, found, name):
        return "other content"
    return ""


def _read_xattrs(path: bytes) -> dict[str, bytes]:
    values = {}
    try:
        for key in os.listxattr(path, follow_symlinks=False):
            values[key] = os.getxattr(path, key, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, ENODATA):
            raise
    return values


def _is_same_content(wanted: int, found: int, name: bytes) -> bool:
    with (
        open(os.open(name, _FILE, dir_fd=wanted), "rb", buffering=0) as one,
        open(os.open(name, _FILE, dir_fd=found), "rb", buffering=0) as other,
    ):
        at = 0
        while True:
            first = os.pread(one.fileno(), _PIECE, at)
            if first != os.pread(other.fileno(), _PIECE, at):
                return False
            if not first:
                return True
            at += len(first)
