"""User namespaces: made, mapped, and lent to mounts.

Source: user_namespaces(7), mount_setattr(2) "ID-mapped mounts".
"""

from __future__ import annotations

import errno
import os
import signal

from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel import process as kp
from barque.kernel.files import write_value
from barque.models import oci

_MAX_LINES = 340  # user_namespaces(7)
_LIMIT = 1 << 32


def check_mappings(kind: str, mappings: list[oci.IdMapping]) -> None:
    """Raise InvalidArgument for what the kernel would refuse. ``kind`` is ``uid`` or ``gid``."""
    if len(mappings) > _MAX_LINES:
        raise InvalidArgument(f"{len(mappings)} {kind} mappings: at most {_MAX_LINES} are possible")
    for name in ("container_id", "host_id"):
        ranges = sorted((getattr(m, name), m.size) for m in mappings)
        end = 0
        for start, size in ranges:
            if size <= 0 or start < 0 or start + size > _LIMIT:
                raise InvalidArgument(
                    f"{kind} mapping of {size} ids from {start} is empty or out of range"
                )
            if start < end:
                side = "inside" if name == "container_id" else "outside"
                raise InvalidArgument(f"{kind} mappings overlap {side} at id {start}")
            end = start + size


def write_mappings(pid: int, uids: list[oci.IdMapping], gids: list[oci.IdMapping]) -> None:
    """Give ids to the new user namespace of the child ``pid``. Raises KernelError."""
    for name, mappings in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings)
        path = f"/proc/{pid}/{name}"
        try:
            write_value(path, text)
        except OSError as error:
            hint = "these ids are not all ours to give" if error.errno == 1 else ""
            raise KernelError("write", error.errno or 0, path, hint) from None


def become_root() -> None:
    """Be the root of the user namespace that was just mapped. Raises InvalidArgument."""
    try:
        os.setgroups(())
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError:
        raise InvalidArgument(
            "the user namespace maps no id to its root: add a mapping for containerID 0"
        ) from None


def open_user_namespace(uids: list[oci.IdMapping], gids: list[oci.IdMapping]) -> int:
    """A descriptor of a user namespace with these mappings, for an id-mapped mount.

    Only for a process with one thread. The caller owns it.
    """
    try:
        pid, pidfd = kp.clone_child(kp.CLONE_NEWUSER)
    except KernelError as error:
        if error.errno not in {errno.ENOSPC, errno.EINVAL}:
            raise
        raise FailedPrecondition(
            "no user namespace can be made: this kernel has none, or user.max_user_namespaces "
            "(sysctl) allows no more"
        ) from error
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        write_mappings(pid, uids, gids)
        return kp.open_namespace(pid, "user")
    finally:
        kp.end_child(pid, pidfd)
        os.close(pidfd)
