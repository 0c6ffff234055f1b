"""What the host's root does for an init that is born into a user namespace.

Such an init may not walk to the layers, write to the control groups or reach the bridge. So its
parent opens what it needs beforehand (``lay_ground``), and does the rest from outside while the
init waits for its ids (``settle``).

Source: user_namespaces(7).
"""

from __future__ import annotations

import os

from barque.errors import KernelError
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.models import oci
from barque.models.launch import ContainerLaunch
from barque.runtime.init import Ground, enter_cgroup, fill_volume, set_clocks
from barque.runtime.mounts import plan_mounts
from barque.runtime.network import configure, move_devices
from barque.runtime.process import find_filter, lift_rlimits
from barque.runtime.rootfs import Root, open_bind, open_rootfs
from barque.runtime.userns import check_mappings, open_user_namespace, write_mappings


def wants_ground(spec: oci.Spec, joins: dict[str, int]) -> bool:
    """Whether the container runs in a user namespace, made for it or joined."""
    return "user" in joins or any(ns.type == "user" for ns in spec.linux.namespaces)


def lay_ground(launch: ContainerLaunch) -> Ground:
    """Open what the init cannot. Raises InvalidArgument, KernelError."""
    linux = launch.spec.linux
    check_mappings("uid", linux.uid_mappings)
    check_mappings("gid", linux.gid_mappings)
    rootfs = open_rootfs(launch.rootfs)
    for copy_up in launch.copy_ups:
        fill_volume(Root.of(rootfs), copy_up)
    return Ground(find_filter(linux.seccomp, launch.seccomp_path), rootfs)


def open_binds(spec: oci.Spec, *, everything: bool) -> dict[int, int]:
    """Sources of binds, detached, by the number of their step: the id-mapped ones, or all.

    Mapping takes a process of its own, whose /proc entry an init in a new PID namespace would
    look for in vain. The caller owns the descriptors.
    """
    binds = {}
    for step in plan_mounts(spec.mounts, spec.linux):
        if step.kind == "bind" and (everything or step.uid_mappings):
            fd = binds[step.number] = open_bind(step)
            if step.uid_mappings:
                userns = open_user_namespace([*step.uid_mappings], [*step.gid_mappings])
                km.set_id_mapping(fd, userns, recursive=step.recursive, what=step.destination)
                os.close(userns)
    return binds


def settle(pid: int, launch: ContainerLaunch, *, joined: bool) -> list[str]:
    """Do what the waiting init ``pid`` cannot; return warnings. The caller has one thread.

    ``joined``: its user namespace was there before and has its ids. Raises KernelError.
    """
    spec = launch.spec
    if not joined:
        write_mappings(pid, spec.linux.uid_mappings, spec.linux.gid_mappings)
    set_clocks(str(pid), spec.linux.time_offsets)
    enter_cgroup(spec, pid)
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
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        finally:
            os.close(fd)
    except PermissionError:
        return [f"oom_score_adj is not lowered to {score}: we may not"]
    except OSError as error:
        raise KernelError("write", error.errno or 0, path) from None
    return []
