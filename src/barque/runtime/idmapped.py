"""Mounts whose owners a user namespace sees as its own.

On the disk, layers and volumes keep the ids that images have: 0 is root. A container in a user
namespace sees them through clones of their mounts on which the kernel translates, so that layers
are shared by all containers and nothing is ever copied or chowned::

    <layer>/fs       clone, mapped ─┐
    <layer>/fs       clone, mapped ─┼─ overlay, made by the host's root
    <number>         clone, mapped ─┘  (fs and work of the writable layer: on one mount)

Overlayfs works on its layers with the ids of who mounts it. The host's root has none in a mapped
layer, and overlayfs would be read-only: so the mounter's files belong to the container's root.

Source: mount_setattr(2) "ID-mapped mounts"; the kernel's filesystems/overlayfs.rst, idmappings.rst.
Needs Linux 5.12, for overlays 5.19.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from barque.errors import FailedPrecondition, KernelError
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.kernel.files import find_filesystem
from barque.models.idmap import IdMap
from barque.models.launch import RootfsMount
from barque.runtime import capabilities
from barque.runtime.rootfs import classic_overlay, open_overlay, remove_volatile_mark
from barque.runtime.userns import open_user_namespace

_NOT_MAPPABLE = frozenset({errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP})


class Mapper:
    """Maps mounts, with one user namespace for each mapping that is asked for."""

    def __init__(self, own: IdMap, own_fd: int = -1) -> None:
        """``own_fd`` is a user namespace with the mapping ``own``; it stays the caller's."""
        self._namespaces = [(own, own_fd)] if own_fd >= 0 else []
        self._lent = own_fd

    def clone(
        self, path: str, mapping: IdMap, *, recursive: bool = False, below: bool = False
    ) -> int:
        """The mount at ``path``, detached and mapped; the caller owns it.

        ``recursive``: with the mounts below it, and ``below``: these mapped as well.
        Raises FailedPrecondition where its file system does not have that, KernelError.
        """
        fd = km.clone_tree(path, recursive=recursive)
        try:
            km.set_id_mapping(fd, self._open(mapping), recursive=below, what=path)
        except KernelError as error:
            os.close(fd)
            if error.errno not in _NOT_MAPPABLE:
                raise
            raise FailedPrecondition(
                f"{path} cannot be shown to a user namespace: its file system, "
                f"{find_filesystem(path)}, has no id-mapped mounts on this kernel. Keep it on "
                "ext4, xfs, btrfs or tmpfs, or run the container with --userns=host"
            ) from error
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open(self, mapping: IdMap) -> int:
        for known, fd in self._namespaces:
            if known == mapping:
                return fd
        fd = open_user_namespace(mapping.uids, mapping.gids)
        self._namespaces.append((mapping, fd))
        return fd

    def close(self) -> None:
        """Let go of the user namespaces. Mounts keep their mappings."""
        for _, fd in self._namespaces:
            if fd != self._lent:
                os.close(fd)
        self._namespaces.clear()


@contextmanager
def making_files_as(uid: int, gid: int) -> Iterator[None]:
    """Have what the calling thread makes in file systems belong to these ids of the host.

    It keeps its capabilities. Raises KernelError.
    """
    held = capabilities.held()
    kp.set_filesystem_ids(uid, gid)
    try:
        capabilities.set_capabilities(*held)
        yield
    finally:
        kp.set_filesystem_ids(os.geteuid(), os.getegid())


@contextmanager
def private_mounts() -> Iterator[None]:
    """Be in a mount namespace of one's own meanwhile. For a process with one thread."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kp.unshare(kp.CLONE_NEWNS)
        try:
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            km.set_attributes(root, propagation=km.MS_PRIVATE, recursive=True, what="/")
            os.close(root)
            yield
        finally:
            kp.setns(own, kp.CLONE_NEWNS)
    finally:
        os.close(own)


def open_mapped(rootfs: RootfsMount, mapping: IdMap, mapper: Mapper, mount_point: str) -> int:
    """The snapshot as a detached mount that shows its owners mapped; the caller owns it.

    ``mount_point`` is any directory; kernels before 6.15 use it, in a private mount namespace.
    For a process with one thread. Raises FailedPrecondition, KernelError.
    """
    if rootfs.type != "overlay" or not (rootfs.upper or len(rootfs.lower) > 1):
        return mapper.clone(rootfs.source or rootfs.lower[0], mapping)
    with ExitStack() as stack:
        layers = [mapper.clone(path, mapping) for path in rootfs.lower]
        for fd in layers:
            stack.callback(os.close, fd)
        shown = RootfsMount(
            type="overlay",
            lower=[f"/proc/self/fd/{fd}" for fd in layers],
            volatile=rootfs.volatile,
        )
        if rootfs.upper:
            both = os.path.dirname(rootfs.upper)
            fd = mapper.clone(both, mapping)
            layers.append(fd)
            stack.callback(os.close, fd)
            shown.upper = f"/proc/self/fd/{fd}/{os.path.relpath(rootfs.upper, both)}"
            shown.work = f"/proc/self/fd/{fd}/{os.path.relpath(rootfs.work, both)}"
        if shown.volatile:
            remove_volatile_mark(rootfs.work)
        stack.enter_context(making_files_as(*mapping.root))
        try:
            return open_overlay(shown)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
        # Kernels before 6.15 take layers that are mounted somewhere only.
        stack.enter_context(private_mounts())
        for fd in layers:
            target = os.open(mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            km.move_mount(fd, target, mount_point)
            os.close(target)
        return _overlay_of_mounts(shown, mount_point)


def _overlay_of_mounts(rootfs: RootfsMount, mount_point: str) -> int:
    try:
        try:
            return open_overlay(rootfs)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
        classic_overlay(rootfs, mount_point)  # before 6.5
        return km.clone_tree(mount_point)
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FailedPrecondition(
            "this kernel makes no overlay of id-mapped layers, which user namespaces need: use "
            "Linux 5.19 or newer, the storage driver vfs or btrfs, or --userns=host"
        ) from error
