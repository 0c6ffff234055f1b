"""A container's root with all that is mounted in it, as a descriptor.

==========  ===================================================================================
runs        the root of the container's own mount namespace: a thread joins it for as long as
            ``open`` takes, and runs nothing of the container's
stopped     the snapshot, the container's binds and volumes on it, mounted in a namespace that
            nobody else is in
==========  ===================================================================================

The host's mount table is not touched. The descriptor is to be used with openat2 only
(``kernel.paths``): the container may change what is below it at any time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from errno import ENOENT
from typing import NamedTuple

from barque.errors import FailedPrecondition, KernelError
from barque.images.feed import run_bounded, run_in_thread
from barque.kernel import mount as km
from barque.kernel.process import CLONE_FS, CLONE_NEWNS, setns, unshare
from barque.models.container import MountPoint
from barque.models.launch import RootfsMount
from barque.runtime.mounts import MountStep
from barque.runtime.rootfs import Root

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_OWN_NAMESPACE = "/proc/thread-self/ns/mnt"


class Mounted(NamedTuple):
    """A root and the namespace without which nothing is mounted in it any more."""

    root: int
    namespace: int


@asynccontextmanager
async def join_root(namespace_fd: int) -> AsyncIterator[int]:
    """Give the root of the mount namespace ``namespace_fd``, which is taken and closed.

    Raises KernelError.
    """
    try:
        root = await run_in_thread(lambda _stop: _look_in(namespace_fd), "join-root")
    finally:
        os.close(namespace_fd)
    try:
        yield root
    finally:
        os.close(root)


def _look_in(namespace_fd: int) -> int:
    """Open the root of another mount namespace. For a thread that ends afterwards."""
    own = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_FS)  # a thread joins a mount namespace with a root of its own only
        setns(namespace_fd, CLONE_NEWNS)
        try:
            return os.open("/", _ROOT)
        finally:
            setns(own, CLONE_NEWNS)
    finally:
        os.close(own)


@asynccontextmanager
async def mount_root(
    rootfs: RootfsMount,
    mounts: Sequence[MountPoint],
    mount_point: str,
    *,
    readonly: bool = False,
) -> AsyncIterator[Mounted]:
    """Mount a snapshot and, on it, ``mounts``; give the root until the block is left.

    Whoever may go on for longer needs copies of both descriptors.

    A read-only snapshot gets a scratch layer, so that mount points can be made. ``mount_point``
    is any directory of ours; it is used in the private namespace only. With ``readonly`` only
    the mounts can be written. Raises KernelError, FailedPrecondition.
    """

    def build() -> Mounted:
        return _build(rootfs, mounts, mount_point, readonly=readonly)

    def give_up(built: Mounted) -> None:
        for fd in built:
            os.close(fd)

    what = "a file system that is mounted in the container"
    mounted = await run_bounded(build, "mount-root", what, give_up)
    try:
        yield mounted
    finally:
        give_up(mounted)  # with the last copy of the namespace all the mounts go


def _build(
    rootfs: RootfsMount, mounts: Sequence[MountPoint], mount_point: str, *, readonly: bool
) -> Mounted:
    """Build what ``mount_root`` gives. For a thread that ends afterwards."""
    own = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    namespace = -1
    try:
        unshare(CLONE_NEWNS)
        try:
            km.mount("", "/", "", km.MS_REC | km.MS_PRIVATE, "")
            namespace = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            root = Root(mount_point)
            root.mount_root(_add_scratch(rootfs, mount_point))
            try:
                for mount in sorted(mounts, key=lambda mount: mount.destination):
                    if mount.type in ("bind", "volume"):
                        root.mount(_plan(mount), "")
                if readonly:
                    root.make_readonly()
                root.enter()
            finally:
                os.close(root.fd)
            return Mounted(os.open("/", _ROOT), namespace)
        finally:
            setns(own, CLONE_NEWNS)
    except BaseException:
        if namespace >= 0:
            os.close(namespace)
        raise
    finally:
        os.close(own)


def _add_scratch(rootfs: RootfsMount, mount_point: str) -> RootfsMount:
    """Put a layer in memory on a read-only overlay: nothing written to it is kept."""
    if rootfs.type != "overlay" or rootfs.upper:
        return rootfs
    scratch = km.new_filesystem("tmpfs", ("mode=700",))
    try:
        target = os.open(mount_point, _ROOT)
        try:
            km.move_mount(scratch, target, mount_point)
        finally:
            os.close(target)
        for name in ("upper", "work"):
            os.mkdir(name, 0o755, dir_fd=scratch)
    finally:
        os.close(scratch)
    return RootfsMount(
        type="overlay",
        lower=rootfs.lower,
        upper=f"{mount_point}/upper",
        work=f"{mount_point}/work",
    )


def _plan(mount: MountPoint) -> MountStep:
    if not os.path.lexists(mount.source):
        raise FailedPrecondition(
            f"{mount.source}, which is mounted at {mount.destination}, does not exist any more"
        ) from KernelError("stat", ENOENT, mount.source)
    return MountStep(
        kind="bind",
        destination=mount.destination,
        source=mount.source,
        fstype="",
        recursive=mount.recursive,
        recursive_set=0 if mount.rw else km.MOUNT_ATTR_RDONLY,
        propagation=km.MS_PRIVATE,
        propagation_recursive=True,
    )
