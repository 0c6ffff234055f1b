"""The new mount API: mounts as descriptors, made detached and moved into place.

Source: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2),
pivot_root(2). Needs Linux 5.12 (mount_setattr). Descriptors returned are close-on-exec and
owned by the caller.
"""

from __future__ import annotations

import ctypes
import os
import struct

from barque.kernel.libc import check, function, syscall

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_MOUNT_SETATTR = 442

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6

MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x200000
_MOUNT_ATTR_IDMAP = 0x100000

MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_DETACH = 2

_umount2 = function("umount2", ctypes.c_char_p, ctypes.c_int)
_pivot_root = function("pivot_root", ctypes.c_char_p, ctypes.c_char_p)
_mount = function(
    "mount",
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def fsopen(fstype: str) -> int:
    """A configuration descriptor for a new file system of ``fstype``."""
    return syscall("fsopen", _FSOPEN, fstype.encode(), FSOPEN_CLOEXEC, path=fstype)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Set ``key=value``; the kernel takes at most 255 bytes of value."""
    syscall(
        "fsconfig",
        _FSCONFIG,
        fd,
        _FSCONFIG_SET_STRING,
        key.encode(),
        os.fsencode(value),
        0,
        path=f"{key}={value}",
    )


def fsconfig_flag(fd: int, key: str) -> None:
    """Set the option ``key`` that has no value."""
    syscall("fsconfig", _FSCONFIG, fd, _FSCONFIG_SET_FLAG, key.encode(), None, 0, path=key)


def fsmount(fd: int, attributes: int, what: str) -> int:
    """Create the configured file system and return it as a detached mount.

    ``what`` names it in errors. Takes ownership of ``fd``.
    """
    try:
        syscall("fsconfig", _FSCONFIG, fd, _FSCONFIG_CMD_CREATE, None, None, 0, path=what)
        return syscall("fsmount", _FSMOUNT, fd, FSMOUNT_CLOEXEC, attributes, path=what)
    finally:
        os.close(fd)


def new_filesystem(
    fstype: str, options: tuple[str, ...] = (), attributes: int = 0, source: str = ""
) -> int:
    """A detached mount of a new file system with mount(8)-like ``options`` (``k=v`` or ``k``)."""
    fd = fsopen(fstype)
    try:
        if source:
            fsconfig_string(fd, "source", source)
        for option in options:
            key, equals, value = option.partition("=")
            if equals:
                fsconfig_string(fd, key, value)
            else:
                fsconfig_flag(fd, key)
    except BaseException:
        os.close(fd)
        raise
    return fsmount(fd, attributes, fstype)


def new_overlay(
    lower: list[str], upper: str = "", work: str = "", *, volatile: bool = False
) -> int:
    """A detached overlay mount; ``lower`` is top layer first, without ``upper`` it is a view.

    Layers are appended one by one, which needs Linux 6.5: before, KernelError EINVAL names
    ``lowerdir+``.
    """
    fd = fsopen("overlay")
    try:
        fsconfig_string(fd, "source", "overlay")
        for path in lower:
            fsconfig_string(fd, "lowerdir+", path)
        if upper:
            fsconfig_string(fd, "upperdir", upper)
            fsconfig_string(fd, "workdir", work)
            if volatile:
                fsconfig_flag(fd, "volatile")
    except BaseException:
        os.close(fd)
        raise
    return fsmount(fd, 0, "overlay")


def clone_tree(
    path: str, *, dir_fd: int = AT_FDCWD, recursive: bool = False, follow: bool = True
) -> int:
    """A detached copy (bind) of the mount at ``path``; with ``""`` of ``dir_fd`` itself."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    if recursive:
        flags |= AT_RECURSIVE
    if not path:
        flags |= AT_EMPTY_PATH
    if not follow:
        flags |= AT_SYMLINK_NOFOLLOW
    return syscall("open_tree", _OPEN_TREE, dir_fd, os.fsencode(path), flags, path=path)


def move_mount(mount_fd: int, target_fd: int, what: str) -> None:
    """Attach the detached mount on the directory or file that ``target_fd`` refers to."""
    syscall(
        "move_mount",
        _MOVE_MOUNT,
        mount_fd,
        b"",
        target_fd,
        b"",
        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        path=what,
    )


def set_attributes(
    fd: int,
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    what: str = "",
) -> None:
    """Change a mount's attributes (MOUNT_ATTR_*) and propagation (MS_*) by its descriptor."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    attr = struct.pack("=QQQQ", set_, clear, propagation, 0)
    syscall("mount_setattr", _MOUNT_SETATTR, fd, b"", flags, attr, len(attr), path=what)


def set_id_mapping(fd: int, userns_fd: int, *, recursive: bool = False, what: str = "") -> None:
    """Show the owners of the detached mount ``fd`` as the user namespace maps them."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    attr = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, userns_fd)
    syscall("mount_setattr", _MOUNT_SETATTR, fd, b"", flags, attr, len(attr), path=what)


def mount(source: str, target: str, fstype: str, flags: int, options: str) -> None:
    """The classic mount(2); ``options`` at most a page. For kernels before 6.5 (overlay)."""
    check(
        _mount(
            os.fsencode(source),
            os.fsencode(target),
            os.fsencode(fstype),
            flags,
            os.fsencode(options),
        ),
        "mount",
        target,
    )


def umount(path: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(_umount2(os.fsencode(path), flags), "umount2", path)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2); with ``"."`` twice the old root is stacked on the new one."""
    check(_pivot_root(os.fsencode(new_root), os.fsencode(put_old)), "pivot_root", new_root)
