"""Devices of the host that a container gets: nodes, and rules of the device control group.

Source: the Engine API's DeviceMapping and DeviceCgroupRules; dockerd's DevicesFromPath.
"""

from __future__ import annotations

import os
import re
import stat

from barque.errors import InvalidArgument
from barque.models import oci
from barque.models.api import DeviceMapping

_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
_PERMISSIONS = re.compile(r"[rwm]{1,3}")
_MAX_ENTRIES = 8192


def parse_device_rule(text: str) -> oci.DeviceRule:
    """Parse ``c 1:3 rwm`` (``*`` for any number). Raises InvalidArgument."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return oci.DeviceRule(
        allow=True,
        type=kind,
        major=None if major == "*" else int(major),
        minor=None if minor == "*" else int(minor),
        access=access,
    )


def _device_at(path: str, inside: str) -> oci.Device | None:
    """Describe the node at ``path``, not following a link; None if it is not a device."""
    info = os.lstat(path)
    if stat.S_ISCHR(info.st_mode):
        kind = "c"
    elif stat.S_ISBLK(info.st_mode):
        kind = "b"
    else:
        return None
    return oci.Device(
        type=kind,
        path=inside,
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        file_mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
    )


def _below(directory: str, inside: str) -> list[oci.Device]:
    """Describe every device in a directory and in those below it, by name."""
    found: list[oci.Device] = []
    seen = 0
    for root, directories, files in os.walk(directory):
        directories.sort()
        seen += len(directories) + len(files)
        if seen > _MAX_ENTRIES:
            raise InvalidArgument(
                f'--device "{directory}" holds more than {_MAX_ENTRIES} files: name a '
                f"directory further down"
            )
        for name in sorted(files):
            path = os.path.join(root, name)
            try:
                device = _device_at(path, inside + path[len(directory) :])
            except FileNotFoundError:
                continue  # gone since the directory was read
            if device is not None:
                found.append(device)
    return found


def find_devices(mapping: DeviceMapping) -> list[oci.Device]:
    """Find what a mapping gives: one device, or all those below a directory.

    A link on the host is followed, one inside a directory is not. Raises InvalidArgument.
    """
    permissions = mapping.cgroup_permissions or "rwm"
    if not _PERMISSIONS.fullmatch(permissions):
        raise InvalidArgument(f"invalid device mode: {permissions}")
    inside = mapping.path_in_container or mapping.path_on_host
    if not inside.startswith("/"):
        raise InvalidArgument(f"{inside} is not an absolute path")
    path = os.path.realpath(mapping.path_on_host)
    problem = "not a device node"
    found: list[oci.Device] = []
    try:
        device = _device_at(path, inside)
        found = [device] if device else _below(path, inside.rstrip("/"))
    except OSError as error:
        problem = os.strerror(error.errno or 0).lower()
    if not found:
        raise InvalidArgument(
            "error gathering device information while adding custom device "
            f'"{mapping.path_on_host}": {problem}'
        )
    return found


def device_rules(devices: list[oci.Device], permissions: str) -> list[oci.DeviceRule]:
    """Return the rules that let a container use ``devices``."""
    return [
        oci.DeviceRule(
            allow=True, type=device.type, major=device.major, minor=device.minor, access=permissions
        )
        for device in devices
    ]


def find_device_number(path: str) -> tuple[int, int]:
    """Return major and minor of a block device given for an I/O limit. InvalidArgument."""
    try:
        info = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"stat {path}: {os.strerror(error.errno or 0).lower()}") from error
    if not stat.S_ISBLK(info.st_mode):
        raise InvalidArgument(f"{path} is not a block device: I/O limits need one")
    return os.major(info.st_rdev), os.minor(info.st_rdev)
