"""What the host's root does for an init that is born into a user namespace.

Such an init may not walk to the layers, write to the control groups or reach the bridge. So its
parent opens what it needs beforehand (``prepare``), makes it (``clone_inside`` where the namespace
is another container's), and does the rest from outside while the init waits for its ids
(``settle``).

Source: user_namespaces(7).
"""

from __future__ import annotations

import os
import select
import signal

from barque.errors import BarqueError, FailedPrecondition, KernelError
from barque.kernel import process as kp
from barque.kernel.files import write_value
from barque.models import oci
from barque.models.idmap import IdMap
from barque.models.launch import ContainerLaunch, RootfsMount
from barque.runtime.idmapped import Mapper, open_mapped, private_mounts
from barque.runtime.init import Ground, fill_volume, make_cgroup, set_clocks
from barque.runtime.mounts import MountStep, plan_mounts
from barque.runtime.network import configure, move_devices
from barque.runtime.process import find_filter, lift_rlimits
from barque.runtime.rootfs import Root, open_bind, open_rootfs
from barque.runtime.userns import check_mappings, write_mappings

_TIMEOUT_S = 120.0


def wants_ground(spec: oci.Spec, joins: dict[str, int]) -> bool:
    """Whether the container runs in a user namespace, made for it or joined."""
    return "user" in joins or any(ns.type == "user" for ns in spec.linux.namespaces)


def prepare(
    launch: ContainerLaunch, joins: dict[str, int], mount_point: str
) -> tuple[Ground | None, dict[int, int]]:
    """Open what the init cannot: its ground, and the sources of binds by the number of their step.

    Without a user namespace there is no ground, and only id-mapped binds are opened: mapping
    takes a process of its own, whose /proc entry an init in a new PID namespace would look for in
    vain. ``mount_point`` is any directory. The caller owns the descriptors, and has one thread.
    Raises InvalidArgument, FailedPrecondition, KernelError.
    """
    linux = launch.spec.linux
    check_mappings("uid", linux.uid_mappings)
    check_mappings("gid", linux.gid_mappings)
    inside = wants_ground(launch.spec, joins)
    mapping = IdMap(uids=linux.uid_mappings, gids=linux.gid_mappings)
    mapper = Mapper(mapping, joins.get("user", -1))
    try:
        binds = {}
        for step in plan_mounts(launch.spec.mounts, linux):
            if step.kind == "bind" and (inside or step.uid_mappings):
                binds[step.number] = _open_source(step, mapper)
        return _lay_ground(launch, mapping, mapper, mount_point) if inside else None, binds
    finally:
        mapper.close()


def _open_source(step: MountStep, mapper: Mapper) -> int:
    if not step.uid_mappings:
        return open_bind(step)
    mapping = IdMap(uids=[*step.uid_mappings], gids=[*step.gid_mappings])
    return mapper.clone(step.source, mapping, recursive=step.recursive, below=step.mapped_below)


def _lay_ground(
    launch: ContainerLaunch, mapping: IdMap, mapper: Mapper, mount_point: str
) -> Ground:
    bpf = find_filter(launch.spec.linux.seccomp, launch.seccomp_path)
    make_cgroup(launch.spec)
    if launch.copy_ups:
        _fill_volumes(launch, mount_point)
    if launch.rootfs.mapped:
        return Ground(bpf, open_mapped(launch.rootfs, mapping, mapper, mount_point))
    return Ground(bpf, open_rootfs(launch.rootfs))


def _fill_volumes(launch: ContainerLaunch, mount_point: str) -> None:
    """Copy from the image to volumes, neither of them mapped: owners stay the image's."""
    before = os.umask(0)
    try:
        with private_mounts():
            root = Root(mount_point)
            root.mount_root(_all_lower(launch.rootfs))
            try:
                for copy_up in launch.copy_ups:
                    fill_volume(root, copy_up)
            finally:
                os.close(root.fd)
    finally:
        os.umask(before)


def _all_lower(rootfs: RootfsMount) -> RootfsMount:
    """To look at only: what is written is nobody's, and the writable layer is not in use."""
    if rootfs.type != "overlay":
        return rootfs
    return RootfsMount(type="overlay", lower=[*filter(None, [rootfs.upper]), *rootfs.lower])


def clone_inside(
    flags: int, joins: dict[str, int], *, sibling: bool = False
) -> tuple[int, int, int]:
    """Fork a process that is born into the namespaces ``user`` and ``pid`` of ``joins``.

    By way of a process that has joined them: (pid, pidfd, pid of that one, to be reaped by the
    new one's parent) in the caller, (0, -1, 0) in the new one. That parent is the caller, or with
    ``sibling`` the caller's. Only for a process with one thread. Raises FailedPrecondition.
    """
    reads, writes = os.pipe2(os.O_CLOEXEC)
    between, pidfd = kp.clone_sibling(0) if sibling else kp.clone_child(0)
    if between == 0:
        born = False
        try:
            for kind in ("user", "pid"):
                if kind in joins:
                    kp.setns(joins[kind], kp.NAMESPACES[kind][0])
            pid, _ = kp.clone_sibling(flags)
            born = pid == 0
            if not born:
                os.write(writes, str(pid).encode())
        except BarqueError as error:
            os.write(writes, str(error).encode())
        finally:
            if not born:
                os._exit(0)
        os.close(reads)
        os.close(writes)
        return 0, -1, 0
    os.close(writes)
    poll = select.poll()
    poll.register(reads, select.POLLIN)
    try:
        if not poll.poll(_TIMEOUT_S * 1000):
            told = f"not done within {_TIMEOUT_S:g} s"
        else:
            told = os.read(reads, 4096).decode() or "the process was killed"
        if told.isdecimal():
            return int(told), os.pidfd_open(int(told)), between
        if sibling:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        else:
            kp.end_child(between, pidfd)
        raise FailedPrecondition(f"joining namespaces: {told}")
    finally:
        os.close(reads)
        os.close(pidfd)


def settle(pid: int, launch: ContainerLaunch, *, joined: bool) -> list[str]:
    """Do what the waiting init ``pid`` cannot; return warnings. The caller has one thread.

    ``joined``: its user namespace was there before and has its ids. Raises KernelError.
    """
    spec = launch.spec
    if not joined:
        write_mappings(pid, spec.linux.uid_mappings, spec.linux.gid_mappings)
    set_clocks(str(pid), spec.linux.time_offsets)
    for namespace in spec.linux.namespaces:
        if namespace.type == "network":
            _configure_network(pid, launch, namespace.path)
    if spec.process is None:
        return []
    lift_rlimits(spec.process.rlimits, pid)
    return _set_oom_score(pid, spec.process.oom_score_adj)


def _configure_network(pid: int, launch: ContainerLaunch, joined: str) -> None:
    """From inside the network namespace, the init's or ``joined``, but with the host's rights."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    path = joined or f"/proc/{pid}/ns/net"
    theirs = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kp.setns(theirs, kp.CLONE_NEWNET)
        try:
            if not joined:
                configure(launch.interfaces, own)
            move_devices(launch.spec.linux.net_devices, own)
        finally:
            kp.setns(own, kp.CLONE_NEWNET)
    finally:
        os.close(theirs)
        os.close(own)


def _set_oom_score(pid: int, score: int | None) -> list[str]:
    if score is None:
        return []
    path = f"/proc/{pid}/oom_score_adj"
    try:
        write_value(path, str(score))
    except PermissionError:
        return [f"oom_score_adj is not lowered to {score}: we may not"]
    except OSError as error:
        raise KernelError("write", error.errno or 0, path) from None
    return []
