"""Device nodes and links in the container's /dev.

Source: runtime-spec config-linux.md "Default Devices".
"""

from __future__ import annotations

import errno
import os
import stat

from barque.errors import InvalidArgument, KernelError
from barque.kernel import mount as km
from barque.models import oci
from barque.runtime.rootfs import Root

DEFAULT_DEVICES = (
    oci.Device(type="c", path="/dev/null", major=1, minor=3, file_mode=0o666),
    oci.Device(type="c", path="/dev/zero", major=1, minor=5, file_mode=0o666),
    oci.Device(type="c", path="/dev/full", major=1, minor=7, file_mode=0o666),
    oci.Device(type="c", path="/dev/random", major=1, minor=8, file_mode=0o666),
    oci.Device(type="c", path="/dev/urandom", major=1, minor=9, file_mode=0o666),
    oci.Device(type="c", path="/dev/tty", major=5, minor=0, file_mode=0o666),
)

DEFAULT_LINKS = (
    ("pts/ptmx", "ptmx"),
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
)

ALWAYS_ALLOWED = (
    oci.DeviceRule(allow=True, type="c", access="m"),
    oci.DeviceRule(allow=True, type="b", access="m"),
    *(
        oci.DeviceRule(allow=True, type="c", major=device.major, minor=device.minor)
        for device in DEFAULT_DEVICES
    ),
    oci.DeviceRule(allow=True, type="c", major=136),
    oci.DeviceRule(allow=True, type="c", major=5, minor=2),
)
"""Cgroup rules without which /dev would not work: its nodes, making nodes, terminals."""

_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make_devices(
    root: Root, devices: list[oci.Device], *, fresh_dev: bool, by_bind: bool = False
) -> None:
    """Make the default nodes and links (where /dev is ours) and those of the spec.

    ``by_bind``: in a user namespace nobody makes nodes; the host's are shown instead.
    Precondition: umask 0. Raises InvalidArgument if something else is in a node's place.
    """
    make = _bind_device if by_bind else _make_device
    if fresh_dev:
        dev_fd = root.make_directory("/dev")
        for device in DEFAULT_DEVICES:
            name = device.path[5:]
            if by_bind:
                _bind_device(root, device)
                continue
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(device.major, device.minor),
                     dir_fd=dev_fd)  # fmt: skip
        for target, name in DEFAULT_LINKS:
            os.symlink(target, name, dir_fd=dev_fd)
        os.close(dev_fd)
    defaults = {device.path for device in DEFAULT_DEVICES} if fresh_dev else frozenset()
    for device in devices:
        if device.path not in defaults:
            make(root, device)


def _bind_device(root: Root, device: oci.Device) -> None:
    """Show the host's node of the same name, if it is the device that is meant."""
    try:
        source = km.clone_tree(device.path)
    except KernelError as error:
        raise KernelError(
            error.syscall, error.errno, device.path,
            "in a user namespace only devices that the host has under this name can be shown",
        ) from None  # fmt: skip
    info = os.fstat(source)
    number = os.makedev(device.major, device.minor)
    if stat.S_IFMT(info.st_mode) != _KINDS[device.type] or info.st_rdev != number:
        raise InvalidArgument(
            f"the host's {device.path} is not device {device.type} {device.major}:{device.minor}, "
            "and in a user namespace no other can be made"
        )
    target = root.make_file(device.path)
    km.move_mount(source, target, device.path)
    os.close(target)
    os.close(source)


def _make_device(root: Root, device: oci.Device) -> None:
    if device.type not in _KINDS:
        raise InvalidArgument(f"device {device.path} has type {device.type!r}: use c, b, u or p")
    parent, _, name = device.path.rpartition("/")
    parent_fd = root.make_directory(parent or "/")
    number = os.makedev(device.major, device.minor)
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    try:
        os.mknod(name, _KINDS[device.type] | mode, number, dir_fd=parent_fd)
    except FileExistsError:
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_IFMT(found.st_mode) != _KINDS[device.type] or (
            device.type != "p" and found.st_rdev != number
        ):
            raise InvalidArgument(
                f"{device.path} exists in the image and is not device {device.type} "
                f"{device.major}:{device.minor}"
            ) from None
    except OSError as error:
        if error.errno == errno.EPERM:
            raise KernelError(
                "mknod", error.errno, device.path, "the engine itself may not make devices"
            ) from None
        raise KernelError("mknod", error.errno or 0, device.path) from None
    if device.uid or device.gid:
        os.chown(name, device.uid or 0, device.gid or 0, dir_fd=parent_fd, follow_symlinks=False)
    os.close(parent_fd)


_NOT_HOST_DEVICES = frozenset(
    {"pts", "ptmx", "shm", "fd", "mqueue", "console", ".udev", ".udevdb", "lxc", "lxd-fuse", "core"}
)


def host_devices(directory: str = "/dev") -> list[oci.Device]:
    """Every device node below the host's /dev, for a privileged container."""
    found: list[oci.Device] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if directory == "/dev" and entry.name in _NOT_HOST_DEVICES:
                continue
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                found += host_devices(entry.path)
            elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
                found.append(
                    oci.Device(
                        type="c" if stat.S_ISCHR(info.st_mode) else "b",
                        path=entry.path,
                        major=os.major(info.st_rdev),
                        minor=os.minor(info.st_rdev),
                        file_mode=stat.S_IMODE(info.st_mode),
                        uid=info.st_uid,
                        gid=info.st_gid,
                    )
                )
    return found
