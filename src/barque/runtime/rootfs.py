"""The root file system: mounted, filled, hardened and entered.

Runs in the container's own mount namespace, whose mounts have been made receivers only, so
that nothing done here is seen on the host and all of it ends with the last process. Paths
inside the root are opened with ``open_in_root`` and used as descriptors.

A root is put together in this order::

    mount_root     the snapshot (overlay or bind), detached, then attached on a mount point
    mount          each mount of the spec, in order
    make devices   /dev nodes and links (devices.py)
    enter          pivot_root, the host's tree detached
    protect        read-only root, read-only paths, masked paths
"""

from __future__ import annotations

import errno
import os
import stat

from barque.cgroups import cgroup_version, hierarchies
from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel import mount as km
from barque.kernel.paths import open_in_root
from barque.models.launch import RootfsMount
from barque.runtime.mounts import PROC_FILES, MountStep, plain_path

_KERNELS_PLACES = ("/proc", "/sys")
_NULL = os.makedev(1, 3)
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_DEEPEST = 256
"""Directories that are made for one path. They are made from the inside out, each by a call."""


def remove_volatile_mark(work: str) -> None:
    """Let a volatile overlay be mounted again after an orderly end.

    The kernel leaves ``work/incompat/volatile/dirty`` so that nobody trusts the layer after a
    crash of the machine. After an exit of the container the layer is sound.
    """
    incompat = f"{work}/work/incompat"
    try:
        os.unlink(f"{incompat}/volatile/dirty")
        os.rmdir(f"{incompat}/volatile")
        os.rmdir(incompat)
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError("remove", error.errno or 0, incompat) from None


def open_overlay(rootfs: RootfsMount) -> int:
    """The overlay as a detached mount, writable if it has a writable layer. As ``open_rootfs``."""
    fd = km.new_overlay(rootfs.lower, rootfs.upper, rootfs.work, volatile=rootfs.volatile)
    # Overlayfs is content to be read-only where it cannot write to its work directory.
    if rootfs.upper and os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        os.close(fd)
        below = os.statvfs(rootfs.work).f_flag & os.ST_RDONLY
        raise KernelError("write", errno.EROFS if below else errno.ENOSPC, rootfs.work)
    return fd


def open_rootfs(rootfs: RootfsMount) -> int:
    """The snapshot as a detached mount; the caller owns it.

    Raises KernelError: EINVAL at ``lowerdir+`` where the kernel is too old for it, ENOSPC or
    EROFS where the layer cannot be written.
    """
    if rootfs.type == "overlay" and (rootfs.upper or len(rootfs.lower) > 1):
        if rootfs.volatile:
            remove_volatile_mark(rootfs.work)
        return open_overlay(rootfs)
    return km.clone_tree(rootfs.source or rootfs.lower[0], recursive=rootfs.type == "bind")


def classic_overlay(rootfs: RootfsMount, mount_point: str) -> None:
    """Overlay by mount(2), for kernels before 6.5 that do not know ``lowerdir+``.

    Options are limited to one page, so the layers are named relative to their directory.
    """
    base = os.path.commonpath([*rootfs.lower, rootfs.upper or rootfs.lower[0]])
    lower = ":".join(os.path.relpath(path, base) for path in rootfs.lower)
    options = f"lowerdir={lower}"
    if rootfs.upper:
        upper, work = (os.path.relpath(path, base) for path in (rootfs.upper, rootfs.work))
        options += f",upperdir={upper},workdir={work}"
        if rootfs.volatile:
            remove_volatile_mark(rootfs.work)
            options += ",volatile"
    if len(options) >= os.sysconf("SC_PAGE_SIZE"):
        raise InvalidArgument(
            f"{len(rootfs.lower)} layers are more than this kernel's mount options hold: use "
            f"Linux 6.5 or newer, or an image with fewer layers"
        )
    os.chdir(base)
    km.mount("overlay", mount_point, "overlay", 0, options)
    os.chdir("/")


def open_bind(step: MountStep) -> int:
    """The source of a bind as a detached mount."""
    return km.clone_tree(step.source, recursive=step.recursive)


def _renew(held: int, step: MountStep) -> int:
    """A detached mount that was made before others, as one that is made now.

    Since Linux 6.8 the table lists mounts by age, and the order of a spec's mounts is a promise.
    Only Linux 6.15 clones detached mounts: in between, the order is all that is lost.
    """
    try:
        renewed = km.clone_tree("", dir_fd=held, recursive=step.recursive)
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        return held
    os.close(held)
    return renewed


class Root:
    """A container's root under construction, seen from the host's tree."""

    def __init__(self, mount_point: str, binds: dict[int, int] | None = None) -> None:
        """``mount_point``: an existing directory, used inside our namespace only.

        ``binds`` are detached sources of binds by the number of their step, which become ours.
        """
        self._mount_point = mount_point
        self._held = dict(binds or {})
        self._detached = False
        self._proc_device = -1
        self.fd = -1

    @classmethod
    def of(cls, fd: int) -> Root:
        """A finished root that ``fd`` refers to."""
        root = cls("")
        root.fd = fd
        return root

    def hold(self, steps: list[MountStep]) -> None:
        """Clone the sources of shared binds while they still are peers of the host's mounts."""
        for step in steps:
            shared = step.kind == "bind" and step.propagation == km.MS_SHARED
            if shared and step.number not in self._held:
                self._held[step.number] = open_bind(step)

    def mount_root(self, rootfs: RootfsMount) -> None:
        """Mount the snapshot on the mount point and open it."""
        try:
            detached = open_rootfs(rootfs)
        except KernelError as error:
            if error.errno != errno.EINVAL or rootfs.type != "overlay":
                raise
            # Kernels before 6.5 take any option, and refuse the whole when it is made.
            classic_overlay(rootfs, self._mount_point)
            self.fd = os.open(self._mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            self.attach_root(detached)

    def attach_root(self, detached: int) -> None:
        """Attach the root on the mount point. Takes ownership of ``detached``."""
        target = os.open(self._mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        km.move_mount(detached, target, self._mount_point)
        os.close(target)
        self.fd = detached

    def keep_detached(self, detached: int) -> None:
        """Build the root in no mount namespace at all (Linux 6.15).

        For a container that shares the mount namespace of others: they see nothing of its
        mounts, and these go with its last process.
        """
        km.set_attributes(detached, propagation=km.MS_PRIVATE, recursive=True, what="/")
        self._detached = True
        self.fd = detached

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """``path`` resolved inside the root, as a descriptor. Raises KernelError."""
        return open_in_root(self.fd, path, flags)

    def make_directory(self, path: str, mode: int = 0o755, hops: int = 40) -> int:
        """Open the directory ``path``, making it and what is missing above it.

        Links are followed inside the root, dangling ones too: what they name is made.
        ``hops`` bounds that. What was made is opened as such: in a volume that others write to,
        a link may be in its place by now. Raises KernelError.
        """
        try:
            return self.open(path, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            if error.errno != errno.ENOENT or not hops:
                raise
        parent, name, parent_fd = self._make_parent(path, hops)
        try:
            os.mkdir(name, mode, dir_fd=parent_fd)
            return os.open(name, os.O_PATH | os.O_DIRECTORY | _OPEN, dir_fd=parent_fd)
        except FileExistsError:
            target = _link_target(parent, name, parent_fd)
            return self.make_directory(target, mode, hops - 1)
        except OSError as error:
            raise KernelError("mkdir", error.errno or 0, path) from None
        finally:
            os.close(parent_fd)

    def make_file(self, path: str, hops: int = 40) -> int:
        """Open the file ``path``, making an empty one and the directories above it.

        As ``make_directory`` otherwise.
        """
        try:
            return self.open(path)
        except KernelError as error:
            if error.errno != errno.ENOENT or not hops:
                raise
        parent, name, parent_fd = self._make_parent(path, hops)
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _OPEN
            os.close(os.open(name, flags, 0o644, dir_fd=parent_fd))
            return os.open(name, os.O_PATH | _OPEN, dir_fd=parent_fd)
        except FileExistsError:
            return self.make_file(_link_target(parent, name, parent_fd), hops - 1)
        except OSError as error:
            raise KernelError("create", error.errno or 0, path) from None
        finally:
            os.close(parent_fd)

    def _make_parent(self, path: str, hops: int) -> tuple[str, str, int]:
        if path.count("/") > _DEEPEST:
            raise InvalidArgument(f"{path[:40]}… is deeper than {_DEEPEST} directories: not made")
        parent, _, name = path.rstrip("/").rpartition("/")
        return parent, name, self.make_directory(parent or "/", hops=hops)

    def mount(self, step: MountStep, cgroups_path: str) -> None:
        """Carry out one step of the mount plan."""
        if step.kind == "bind":
            self._bind(step)
        elif step.kind == "cgroup":
            self._mount_cgroups(step, cgroups_path)
        else:
            self._filesystem(step)

    def _put(self, mount_fd: int, target_fd: int, where: str) -> None:
        """Mount what is detached. Raises FailedPrecondition where the kernel is too old."""
        try:
            km.move_mount(mount_fd, target_fd, where)
        except KernelError as error:
            if not self._detached or error.errno != errno.EINVAL:
                raise
            raise FailedPrecondition(
                "a container without a mount namespace of its own needs Linux 6.15, which puts "
                f"mounts together outside of one; this is {os.uname().release}: let it have one (a "
                'namespace of type "mount" without path)'
            ) from None

    def _attach(self, mount_fd: int, target_fd: int, step: MountStep) -> None:
        self._keep_proc_whole(mount_fd, target_fd, step)
        # What is attached to a detached tree can be changed no more; elsewhere, kernels before
        # 6.15 want a mount attached before others are put on it.
        if not self._detached:
            self._put(mount_fd, target_fd, step.destination)
        if step.propagation:
            km.set_attributes(
                mount_fd,
                propagation=step.propagation,
                recursive=step.propagation_recursive,
                what=step.destination,
            )
        if self._detached:
            self._put(mount_fd, target_fd, step.destination)
        os.close(target_fd)
        os.close(mount_fd)

    def _bind(self, step: MountStep) -> None:
        mount_fd = self._held.pop(step.number, -1)
        mount_fd = open_bind(step) if mount_fd < 0 else _renew(mount_fd, step)
        if step.set or step.clear:
            km.set_attributes(mount_fd, set_=step.set, clear=step.clear, what=step.destination)
        if step.recursive_set or step.recursive_clear:
            km.set_attributes(
                mount_fd,
                set_=step.recursive_set,
                clear=step.recursive_clear,
                recursive=True,
                what=step.destination,
            )
        is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
        try:
            make = self.make_directory if is_directory else self.make_file
            target_fd = make(step.destination)
        except KernelError as error:
            if error.errno == errno.ENOTDIR and is_directory:
                raise _unlike(step, "directory") from None
            raise
        if not is_directory and stat.S_ISDIR(os.fstat(target_fd).st_mode):
            raise _unlike(step, "file")
        self._attach(mount_fd, target_fd, step)

    def _filesystem(self, step: MountStep) -> None:
        kernels = plain_path(step.destination) in _KERNELS_PLACES
        open_target = self._open_kernels_place if kernels else self.make_directory
        target_fd = open_target(step.destination)
        source = step.source or step.fstype
        mount_fd = km.new_filesystem(step.fstype, step.options, step.set, source)
        if step.copy_up:
            self._copy_up(target_fd, mount_fd)
        self._attach(mount_fd, target_fd, step)

    def _open_kernels_place(self, path: str) -> int:
        """Open /proc or /sys, which must be no link: it could move what is masked elsewhere.

        Looked up once: what was looked at is what is mounted on.
        """
        path = plain_path(path)
        flags = os.O_PATH | os.O_NOFOLLOW
        try:
            fd = self.open(path, flags)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            os.close(self.make_directory(path))
            fd = self.open(path, flags)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidArgument(
                f"{path} of the image is not a directory: mounting there would "
                f"leave the kernel's files unprotected; repair the image"
            )
        return fd

    def _keep_proc_whole(self, mount_fd: int, target_fd: int, step: MountStep) -> None:
        """Refuse a mount inside the container's /proc, by whatever links it has come there.

        Programs believe what is there. Those files that may be replaced are named as they are.
        """
        path = plain_path(step.destination)
        if path == "/proc":
            self._proc_device = os.fstat(mount_fd).st_dev
        elif path not in PROC_FILES and os.fstat(target_fd).st_dev == self._proc_device:
            raise InvalidArgument(f"{step.destination} cannot be mounted: it is inside /proc")

    def _copy_up(self, source_fd: int, mount_fd: int) -> None:
        copy_tree(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=source_fd), mount_fd)

    def _mount_cgroups(self, step: MountStep, cgroups_path: str) -> None:
        """The container's own groups, one directory a hierarchy, each a bind of its group.

        On version 2 a container that shares the host's cgroup namespace sees the whole tree, as
        the paths in its /proc/self/cgroup want it: ``cgroups_path`` is "" then.
        """
        target_fd = self.make_directory(step.destination)
        v1, v2 = hierarchies()
        if cgroup_version() != 1:
            mount_fd = km.clone_tree(v2 + cgroups_path)
            km.set_attributes(mount_fd, set_=step.set, what=step.destination)
            self._attach(mount_fd, target_fd, step)
            return
        attributes = step.set & ~km.MOUNT_ATTR_RDONLY
        tmpfs = km.new_filesystem("tmpfs", ("mode=755",), attributes)
        for mount_point in dict.fromkeys(v1.values()):
            name = os.path.basename(mount_point)
            os.mkdir(name, 0o755, dir_fd=tmpfs)
            for controller, where in v1.items():
                if where == mount_point and controller != name and "=" not in controller:
                    os.symlink(name, controller, dir_fd=tmpfs)
        if not self._detached:
            self._put(tmpfs, target_fd, step.destination)
        for mount_point in dict.fromkeys(v1.values()):
            mount_fd = km.clone_tree(mount_point + cgroups_path)
            km.set_attributes(mount_fd, set_=step.set, what=mount_point)
            inner = os.open(os.path.basename(mount_point), os.O_PATH, dir_fd=tmpfs)
            self._put(mount_fd, inner, mount_point)
            os.close(inner)
            os.close(mount_fd)
        if step.set & km.MOUNT_ATTR_RDONLY:
            km.set_attributes(tmpfs, set_=km.MOUNT_ATTR_RDONLY, what=step.destination)
        if self._detached:
            self._put(tmpfs, target_fd, step.destination)
        os.close(tmpfs)
        os.close(target_fd)

    def enter(self) -> None:
        """Make the root the process's root, and let go of the host's tree."""
        os.fchdir(self.fd)
        if self._detached:
            os.chroot(".")
            return
        km.pivot_root(".", ".")
        km.umount(".", km.MNT_DETACH)
        os.chdir("/")

    def set_propagation(self, propagation: int, *, recursive: bool) -> None:
        """Decide what the finished root passes on and receives (rootfsPropagation)."""
        km.set_attributes(self.fd, propagation=propagation, recursive=recursive, what="/")

    def make_readonly(self) -> None:
        """Make the root mount (not those on it) read-only."""
        km.set_attributes(self.fd, set_=km.MOUNT_ATTR_RDONLY, what="/")

    def protect(
        self, readonly_paths: list[str], masked_paths: list[str], mount_label: str = ""
    ) -> None:
        """Make paths read-only, cover others; a path that is not there needs neither.

        ``mount_label`` is SELinux's for what covers.
        """
        for path in readonly_paths:
            fd = self.find(path)
            if fd < 0:
                continue
            copy = km.clone_tree("", dir_fd=fd, recursive=True)
            km.set_attributes(copy, set_=km.MOUNT_ATTR_RDONLY, recursive=True, what=path)
            self._put(copy, fd, path)
            os.close(copy)
            os.close(fd)
        self._mask(masked_paths, mount_label)

    def _mask(self, paths: list[str], label: str) -> None:
        """Cover files with /dev/null and directories with one empty read-only tmpfs.

        The tmpfs is cloned where it is attached: kernels before 6.15 clone no detached mount.
        """
        empty = null = -1
        for path in paths:
            fd = self.find(path)
            if fd < 0:
                continue
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                null = self._open_null() if null < 0 else null
                cover = km.clone_tree("", dir_fd=null)
            elif empty < 0:
                options = ("size=0", "nr_inodes=2", "mode=755", *_context(label))
                cover = empty = km.new_filesystem("tmpfs", options, km.MOUNT_ATTR_RDONLY)
            else:
                cover = km.clone_tree("", dir_fd=empty)
            self._put(cover, fd, path)
            if cover != empty:
                os.close(cover)
            os.close(fd)
        for fd in (empty, null):
            if fd >= 0:
                os.close(fd)

    def _open_null(self) -> int:
        """The container's /dev/null, which in a /dev that is a volume may be anything.

        A link to a kernel's file there would be shown instead of what is masked.
        """
        fd = self.open("/dev/null", os.O_PATH | os.O_NOFOLLOW)
        info = os.fstat(fd)
        if not stat.S_ISCHR(info.st_mode) or info.st_rdev != _NULL:
            raise InvalidArgument(
                "/dev/null is not the null device (character device 1:3), so nothing can be "
                "masked: mount something else on /dev"
            )
        return fd

    def find(self, path: str) -> int:
        """``path`` as a descriptor, or -1 where there is nothing."""
        try:
            return self.open(path)
        except KernelError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return -1
            raise


def _unlike(step: MountStep, kind: str) -> InvalidArgument:
    there = "directory" if kind == "file" else "file"
    return InvalidArgument(
        f"not a directory: {step.source} is a {kind}, and {step.destination} is or leads through a "
        f"{there}. Are you trying to mount a directory onto a file (or vice-versa)? Check if the "
        "specified host path exists and is the expected type"
    )


def _context(label: str) -> tuple[str, ...]:
    return (f"context={label}",) if label else ()


def _link_target(parent: str, name: str, parent_fd: int) -> str:
    """Where the dangling link ``parent/name`` leads, as a path inside the root."""
    try:
        target = os.readlink(name, dir_fd=parent_fd)
    except OSError as error:
        raise KernelError("readlink", error.errno or 0, f"{parent}/{name}") from None
    return target if target.startswith("/") else f"{parent}/{target}"


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy what is below the directory ``source_fd`` into ``target_fd``: data, owners, modes,
    times, extended attributes, links, devices. Takes ownership of ``source_fd``.

    Names are opened without following links, so a hostile tree copies as what it is. The target
    may be a volume that a running container changes meanwhile: what has been made is looked at
    through its descriptor, or without following links. Precondition: umask 0.
    """
    with os.scandir(source_fd) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        info = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            _copy_directory(source_fd, target_fd, name)
        elif kind == stat.S_IFLNK:
            link = os.readlink(name, dir_fd=source_fd)
            os.symlink(link, name, dir_fd=target_fd)
        elif kind == stat.S_IFREG:
            _copy_file(source_fd, target_fd, name)
        elif kind != stat.S_IFSOCK:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target_fd)
        else:
            continue
        if kind not in {stat.S_IFDIR, stat.S_IFREG}:
            os.chown(name, info.st_uid, info.st_gid, dir_fd=target_fd, follow_symlinks=False)
        times = (info.st_atime_ns, info.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target_fd, follow_symlinks=False)
    os.close(source_fd)


def _copy_directory(source_fd: int, target_fd: int, name: str) -> None:
    os.mkdir(name, 0o700, dir_fd=target_fd)
    inner_source = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _OPEN, dir_fd=source_fd)
    inner_target = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _OPEN, dir_fd=target_fd)
    try:
        info = os.fstat(inner_source)
        _copy_attributes(inner_source, inner_target)
        copy_tree(inner_source, inner_target)
        _copy_owner(info, inner_target)
    finally:
        os.close(inner_target)


def _copy_file(source_fd: int, target_fd: int, name: str) -> None:
    source = os.open(name, os.O_RDONLY | _OPEN, dir_fd=source_fd)
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=target_fd)
    try:
        while os.sendfile(target, source, None, 1 << 24):
            pass
        _copy_owner(os.fstat(source), target)
        _copy_attributes(source, target)
    finally:
        os.close(source)
        os.close(target)


def _copy_owner(info: os.stat_result, target: int) -> None:
    """Owner, then mode: a change of owner takes set-user-ID away."""
    os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))


def _copy_attributes(source: int, target: int) -> None:
    """Extended attributes, those apart that belong to the overlay below."""
    for attribute in os.listxattr(source):
        if not attribute.startswith("trusted.overlay."):
            os.setxattr(target, attribute, os.getxattr(source, attribute))
