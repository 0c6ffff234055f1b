"""The container's init: everything between clone3 and execve.

Its parent (the shim, or ``barque-runtime``) has made the process with its new namespaces; from
here it builds its own world and then becomes the user's program. What is done, in this order
(``reporter.stage`` names where a failure was):

0. in a user namespace: its parent has opened what only the host's root may, and made the group
   (outside.py); it joins that, and has its ids mapped
1. the compiled filter is read; cgroup: make the group, set limits, join it; then a cgroup
   namespace rooted there
2. namespaces: join those of other containers; time offsets
3. network: loopback, veth, addresses, route
4. root file system: receive-only propagation, the snapshot, the mounts, /dev, the terminal
5. hooks: prestart and createRuntime by the parent, createContainer here
6. pivot_root; the host's tree is gone
7. read-only root, read-only and masked paths
8. host name, sysctls, scheduling, OOM score, session keyring
9. resource limits, user, capabilities, seccomp, working directory, start, execve (process.py)

Source: runtime-spec runtime.md "Lifecycle"; runc's order for the same steps.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from typing import NamedTuple, NoReturn

from barque.cgroups import cgroup_version, open_cgroup
from barque.errors import InvalidArgument
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.kernel.files import write_value
from barque.kernel.procfs import write_proc
from barque.models import oci
from barque.models.launch import SHM_OF, ContainerLaunch, CopyUp
from barque.runtime import terminal
from barque.runtime.attributes import plan_attributes
from barque.runtime.devices import ALWAYS_ALLOWED, host_devices, make_devices
from barque.runtime.gate import StartGate
from barque.runtime.hooks import run_hooks
from barque.runtime.mounts import MountStep, plan_mounts, propagation_flag
from barque.runtime.network import configure, move_devices
from barque.runtime.process import (
    Filter,
    apply_oom_score,
    connect_stdio,
    execute,
    find_filter,
)
from barque.runtime.rootfs import Root, copy_tree, open_rootfs
from barque.runtime.shm import SHM, clone_shm
from barque.runtime.status import Mounted, Reporter, Unmapped, describe
from barque.runtime.userns import become_root
from barque.runtime.users import Identity, by_numbers, resolve

_OPEN_MOUNT_POINT = "/proc/driver"
"""A directory on every host that the root of a user namespace may walk to; used in the init's
own mount namespace only."""


class InitIo(NamedTuple):
    """Descriptors and places that the shim prepared for the init.

    ``stdio`` is None where the init makes a terminal. ``joins`` is OCI namespace type to a
    descriptor. ``mount_point`` is an empty directory used in the new mount namespace only.
    """

    reporter: Reporter
    stdio: tuple[int, int, int] | None
    host_netns: int
    joins: dict[str, int]
    mount_point: str
    console_size: tuple[int, int] | None
    binds: dict[int, int]
    """Sources of binds that were opened beforehand, by the number of their step."""
    ground: Ground | None = None
    lifecycle: Lifecycle | None = None


class Ground(NamedTuple):
    """What the host's root has prepared for an init in a user namespace. See outside.py.

    ``rootfs`` is the root as a detached mount.
    """

    bpf: Filter
    rootfs: int


class Lifecycle(NamedTuple):
    """What the OCI life cycle has beside an init of the engine: hooks, and create before start.

    ``gate`` is None where the program is run at once.
    """

    hooks: oci.Hooks
    state: oci.State
    gate: StartGate | None
    preserved: tuple[int, ...] = ()
    """Descriptors that the program gets."""
    new_keyring: bool = True


def clone_flags(spec: oci.Spec, joins: Collection[str]) -> int:
    """The flags for clone3: new namespaces, but those that are made later.

    The cgroup namespace is made after the group was joined, the time namespace entered by
    execve, and the IPC namespace of who is in a user namespace made when it is root there, who
    then owns its message queues. Raises InvalidArgument for what cannot be.
    """
    flags = 0
    seen: set[str] = set()
    for namespace in spec.linux.namespaces:
        if namespace.type not in kp.NAMESPACES:
            raise InvalidArgument(f"unknown namespace type {namespace.type!r}")
        if namespace.type in seen:
            raise InvalidArgument(f"namespace {namespace.type!r} is listed twice")
        seen.add(namespace.type)
        if not namespace.path and namespace.type not in {*joins, "cgroup", "time"}:
            flags |= kp.NAMESPACES[namespace.type][0]
    return flags & ~kp.CLONE_NEWIPC if "user" in {*seen, *joins} else flags


def run_init(read_launch: Callable[[], ContainerLaunch], io: InitIo) -> NoReturn:
    """Build the container and become its program; report and leave on any failure."""
    try:
        _run(read_launch(), io)
    except BaseException as error:  # noqa: BLE001 - reported to the shim, then the process ends
        if io.lifecycle is not None and io.lifecycle.gate is not None:
            io.lifecycle.gate.tell(describe(io.reporter.stage, error).message)
        io.reporter.fail(error)


def _run(launch: ContainerLaunch, io: InitIo) -> NoReturn:
    process = launch.spec.process or oci.Process()
    reporter = io.reporter
    attributes = plan_attributes(process, launch.spec.linux)
    bpf = _enter_namespaces(launch, io)
    root = _build_root(launch, io)
    reporter.stage = "terminal"
    slave = _make_terminal(root, io) if process.terminal else -1
    proc = km.new_filesystem("proc")
    reporter.stage = "user"
    identity = _identify(launch, process, root)
    if launch.create_cwd:
        reporter.stage = "working directory"
        make_cwd(root, process.cwd, identity)
    if io.lifecycle is not None:
        reporter.stage = "hooks"
        _run_hooks(io.lifecycle, root, reporter)
    reporter.stage = "root file system"
    _enter_root(root, launch)
    _set_names(launch.spec, proc, reporter)
    reporter.stage = "scheduling"
    attributes.apply()
    if io.ground is None and process.oom_score_adj is not None:
        reporter.stage = "limits"
        apply_oom_score(process.oom_score_adj, proc, reporter)
    if io.lifecycle is None or io.lifecycle.new_keyring:
        kp.new_session_keyring()
    reporter.stage = "labels"
    attributes.apply_labels(proc)
    os.close(proc)
    reporter.stage = "standard streams"
    connect_stdio(io.stdio, slave)
    os.setsid()
    if process.terminal:
        terminal.control()
    lifecycle = io.lifecycle
    execute(
        process,
        identity,
        bpf,
        reporter,
        as_init=launch.init,
        gate=lifecycle.gate if lifecycle else None,
        preserved=lifecycle.preserved if lifecycle else (),
    )


def _enter_namespaces(launch: ContainerLaunch, io: InitIo) -> Filter:
    """Be in all namespaces and in the group; returns the filter, read while it could be."""
    spec, reporter, ground = launch.spec, io.reporter, io.ground
    own = {ns.type for ns in spec.linux.namespaces if not ns.path and ns.type not in io.joins}
    if "time" in own:
        reporter.stage = "time namespace"
        kp.unshare(kp.CLONE_NEWTIME)
    if ground is not None:
        reporter.stage = "cgroup"
        join_cgroup(spec)  # still by the ids of the host's root, whose files they are
        reporter.stage = "user namespace"
        reporter.ask(Unmapped())
        become_root()
        if "ipc" in own:
            kp.unshare(kp.CLONE_NEWIPC)
        if io.lifecycle is not None:
            kp.die_with_parent(signal.SIGKILL)  # what the change of user has ended
        bpf = ground.bpf
    else:
        reporter.stage = "seccomp"
        bpf = find_filter(spec.linux.seccomp, launch.seccomp_path)
        reporter.stage = "cgroup"
        make_cgroup(spec)
        join_cgroup(spec)
    if "cgroup" in own:
        kp.unshare(kp.CLONE_NEWCGROUP)
    reporter.stage = "namespaces"
    for number, mount in enumerate(spec.mounts):
        if SHM_OF in io.joins and mount.destination == mount.source == SHM:
            io.binds[number] = clone_shm(io.joins[SHM_OF])
    for kind, fd in io.joins.items():
        if kind not in {"pid", "user", "mount", SHM_OF}:
            kp.setns(fd, kp.NAMESPACES[kind][0])
    if "time" in own:
        if ground is None:
            set_clocks("self", spec.linux.time_offsets)
        _enter_time()
    reporter.stage = "network"
    if "network" in own and ground is None:
        configure(launch.interfaces, io.host_netns)
    if ground is None:
        move_devices(spec.linux.net_devices, io.host_netns)
    if ground is not None:
        _join_mounts(io)
    return bpf


def _join_mounts(io: InitIo) -> None:
    """Join another's mount namespace, where no path of the host is any more.

    So it comes last: when the root is put together, or before that where an init in a user
    namespace may mount in no other and has all it needs opened beforehand.
    """
    if "mount" in io.joins:
        kp.setns(io.joins["mount"], kp.CLONE_NEWNS)


def _build_root(launch: ContainerLaunch, io: InitIo) -> Root:
    """Mount the root and all that belongs on it."""
    spec, reporter = launch.spec, io.reporter
    reporter.stage = "root file system"
    os.umask(0)
    steps = plan_mounts(spec.mounts, spec.linux)
    root = _mount_root(launch, io, steps)
    cgroup_root = _visible_cgroup(spec)
    fresh_dev = False
    for step in steps:
        reporter.stage = f"mount {step.destination}"
        root.mount(step, cgroup_root)
        fresh_dev = fresh_dev or (step.destination == "/dev" and step.kind == "filesystem")
    reporter.stage = "devices"
    devices = [*spec.linux.devices, *(host_devices() if launch.host_devices else ())]
    make_devices(root, devices, fresh_dev=fresh_dev, by_bind=io.ground is not None)
    os.umask(0o22)  # modes are right as given up to here; hooks come next
    if io.ground is None:
        reporter.stage = "namespaces"
        _join_mounts(io)
    return root


def _run_hooks(lifecycle: Lifecycle, root: Root, reporter: Reporter) -> None:
    """Those that are due between the mounts and pivot_root; paths are the host's still."""
    hooks = lifecycle.hooks
    if hooks.prestart or hooks.create_runtime:
        reporter.ask(Mounted())
    where = f"/proc/self/fd/{root.fd}"
    run_hooks("createContainer", hooks.create_container, lifecycle.state, where)


def _enter_root(root: Root, launch: ContainerLaunch) -> None:
    linux = launch.spec.linux
    root.enter()
    if launch.spec.root.readonly or launch.rootfs.readonly:
        root.make_readonly()
    root.protect(linux.readonly_paths, linux.masked_paths, linux.mount_label)
    if linux.rootfs_propagation:
        flag, recursive = propagation_flag(linux.rootfs_propagation)
        root.set_propagation(flag, recursive=recursive)


def _set_names(spec: oci.Spec, proc: int, reporter: Reporter) -> None:
    reporter.stage = "host name"
    if spec.hostname:
        kp.set_host_name(spec.hostname)
    if spec.domainname:
        kp.set_domain_name(spec.domainname)
    for name, value in spec.linux.sysctl.items():
        reporter.stage = f"sysctl {name}"
        _set_sysctl(proc, name, value)


def make_cgroup(spec: oci.Spec) -> None:
    """Make the group and set its limits."""
    if not spec.linux.cgroups_path:
        return
    cgroup = open_cgroup(spec.linux.cgroups_path)
    cgroup.create(mountable=_may_mount_groups(spec))
    resources = spec.linux.resources or oci.Resources()
    if resources.devices:
        resources.devices = [*resources.devices, *ALWAYS_ALLOWED]
    cgroup.apply(resources)


def _may_mount_groups(spec: oci.Spec) -> bool:
    """Whether the container can mount the control groups that its own namespace shows."""
    capabilities = spec.process.capabilities if spec.process else None
    return (
        any(ns.type == "cgroup" and not ns.path for ns in spec.linux.namespaces)
        and capabilities is not None
        and "CAP_SYS_ADMIN" in capabilities.bounding
    )


def join_cgroup(spec: oci.Spec) -> None:
    """Join the group, which is there. See docs/adr/0005."""
    if spec.linux.cgroups_path:
        open_cgroup(spec.linux.cgroups_path).join()


def set_clocks(process: str, offsets: dict[str, oci.TimeOffset]) -> None:
    """Set the clocks of the time namespace that ``process`` (a pid, or ``self``) has made."""
    for clock, offset in offsets.items():
        line = f"{clock} {offset.secs} {offset.nanosecs}\n"
        write_value(f"/proc/{process}/timens_offsets", line)


def _enter_time() -> None:
    """Be in the time namespace that unshare has made for children, whose clocks are set."""
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    kp.setns(fd, kp.CLONE_NEWTIME)
    os.close(fd)


def _mount_root(launch: ContainerLaunch, io: InitIo, steps: list[MountStep]) -> Root:
    """The root on its mount point, in a tree from which nothing travels to the host."""
    root = Root(io.mount_point if io.ground is None else _OPEN_MOUNT_POINT, io.binds)
    if not any(ns.type == "mount" and not ns.path for ns in launch.spec.linux.namespaces):
        root.keep_detached(io.ground.rootfs if io.ground else open_rootfs(launch.rootfs))
        return root
    if io.ground is not None:
        _stop_propagation()
        root.attach_root(io.ground.rootfs)
        return root
    root.hold(steps)
    _stop_propagation()
    root.mount_root(launch.rootfs)
    for copy_up in launch.copy_ups:
        fill_volume(root, copy_up)
    return root


def _visible_cgroup(spec: oci.Spec) -> str:
    """The group that a cgroup mount shows as its root; see ``Root.mount``."""
    has_namespace = any(namespace.type == "cgroup" for namespace in spec.linux.namespaces)
    return spec.linux.cgroups_path if has_namespace or cgroup_version() == 1 else ""


def _stop_propagation() -> None:
    """Nothing that we mount may travel to the host; what the host mounts may come to us.

    Binds that were asked to be shared were cloned before, and stay peers of the host's mounts.
    """
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    km.set_attributes(fd, propagation=km.MS_SLAVE, recursive=True, what="/")
    os.close(fd)


def fill_volume(root: Root, copy_up: CopyUp) -> None:
    """Give an empty volume what the image has at its place, with the directory's own owner."""
    target = os.open(copy_up.target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.listdir(target):
            return
        source = root.find(copy_up.source)
        if source < 0:
            return
        os.close(source)
        source = root.open(copy_up.source, os.O_RDONLY | os.O_DIRECTORY)
        info = os.fstat(source)
        copy_tree(source, target)
        os.fchown(target, info.st_uid, info.st_gid)
        os.fchmod(target, info.st_mode & 0o7777)
    finally:
        os.close(target)


def _make_terminal(root: Root, io: InitIo) -> int:
    master, slave = terminal.open_pair(root)
    if io.console_size:
        terminal.resize(master, *io.console_size)
    terminal.bind_console(root, slave)
    io.reporter.pty(master)
    os.close(master)
    return slave


def _identify(launch: ContainerLaunch, process: oci.Process, root: Root) -> Identity:
    if launch.names is not None:
        return resolve(launch.names, root.open)
    return by_numbers(process, root.open)


def make_cwd(root: Root, path: str, identity: Identity) -> None:
    """Make the working directory if the image lacks it, as docker does at create."""
    if path == "/":
        return
    fd = root.find(path)
    if fd < 0:
        fd = root.make_directory(path)
        if identity.uid or identity.gid:
            writable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.fchown(writable, identity.uid, identity.gid)
            os.close(writable)
    os.close(fd)


_SYSCTL_PATH = str.maketrans("./", "/.")
"""sysctl(8): dots separate, and a slash stands for a dot inside a name (eth0/100)."""


def _set_sysctl(proc: int, name: str, value: str) -> None:
    """Set a sysctl of the container's namespaces.

    Which names are the container's own was decided by their beginning: a ``..`` behind it
    would lead to one of the host's.
    """
    path = name.translate(_SYSCTL_PATH)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise InvalidArgument(f"sysctl {name!r} has an empty part or one of dots alone")
    write_proc(proc, f"sys/{path}", value)
