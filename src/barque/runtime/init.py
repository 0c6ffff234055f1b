"""The container's init: everything between clone3 and execve.

The shim has made the process with its new namespaces; from here it builds its own world and
then becomes the user's program. What is done, in this order (``reporter.stage`` names where a
failure was):

1. the compiled filter is read; cgroup: make the group, set limits, join it; then a cgroup
   namespace rooted there
2. namespaces: join those of other containers
3. network: loopback, veth, addresses, route
4. root file system: receive-only propagation, the snapshot, the mounts, /dev, the terminal
5. pivot_root; the host's tree is gone
6. read-only root, read-only and masked paths
7. host name, sysctls, resource limits, OOM score, session keyring
8. user, capabilities, seccomp, working directory, execve (process.py)

Source: runtime-spec runtime.md "Lifecycle"; runc's order for the same steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import NamedTuple, NoReturn

from barque.cgroups import cgroup_version, open_cgroup
from barque.errors import InvalidArgument, NotImplementedHere
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.models import oci
from barque.models.launch import ContainerLaunch, CopyUp
from barque.runtime import terminal
from barque.runtime.devices import ALWAYS_ALLOWED, host_devices, make_devices
from barque.runtime.mounts import plan_mounts
from barque.runtime.network import configure
from barque.runtime.process import apply_oom_score, apply_rlimits, execute, read_filter
from barque.runtime.rootfs import Root, copy_tree
from barque.runtime.seccomp import compile_filter
from barque.runtime.status import Reporter
from barque.runtime.users import Identity, resolve


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


def clone_flags(spec: oci.Spec, joins: Collection[str]) -> int:
    """The flags for clone3: new namespaces, but the cgroup one, which is made after joining.

    Raises InvalidArgument and NotImplementedHere for what cannot be.
    """
    flags = 0
    seen: set[str] = set()
    for namespace in spec.linux.namespaces:
        if namespace.type not in kp.NAMESPACES:
            raise InvalidArgument(f"unknown namespace type {namespace.type!r}")
        if namespace.type in seen:
            raise InvalidArgument(f"namespace {namespace.type!r} is listed twice")
        seen.add(namespace.type)
        if namespace.type in {"user", "time"}:
            raise NotImplementedHere(
                f"{namespace.type} namespaces are not implemented by barque yet"
            )
        if not namespace.path and namespace.type not in joins and namespace.type != "cgroup":
            flags |= kp.NAMESPACES[namespace.type][0]
    if not flags & kp.CLONE_NEWNS:
        raise InvalidArgument("a container needs a mount namespace of its own")
    return flags


def run_init(read_launch: Callable[[], ContainerLaunch], io: InitIo) -> NoReturn:
    """Build the container and become its program; report and leave on any failure."""
    try:
        _run(read_launch(), io)
    except BaseException as error:  # noqa: BLE001 - reported to the shim, then the process ends
        io.reporter.fail(error)


def _run(launch: ContainerLaunch, io: InitIo) -> NoReturn:
    spec = launch.spec
    process = spec.process
    reporter = io.reporter
    if process is None or not process.args:
        raise InvalidArgument("the spec has no process to run: args is empty")
    own = {ns.type for ns in spec.linux.namespaces if not ns.path and ns.type not in io.joins}

    reporter.stage = "seccomp"
    bpf = _filter(launch, spec)
    reporter.stage = "cgroup"
    _enter_cgroup(spec, new_namespace="cgroup" in own)
    cgroup_root = _visible_cgroup(spec)
    reporter.stage = "namespaces"
    for kind, fd in io.joins.items():
        if kind != "pid":
            kp.setns(fd, kp.NAMESPACES[kind][0])
    reporter.stage = "network"
    if "network" in own:
        configure(launch.interfaces, io.host_netns)

    reporter.stage = "root file system"
    os.umask(0)
    root = Root(io.mount_point)
    steps = plan_mounts(spec.mounts)
    root.hold_shared(steps)
    _stop_propagation()
    root.mount_root(launch.rootfs)
    for copy_up in launch.copy_ups:
        _fill_volume(root, copy_up)
    fresh_dev = False
    for step in steps:
        reporter.stage = f"mount {step.destination}"
        root.mount(step, cgroup_root)
        fresh_dev = fresh_dev or (step.destination == "/dev" and step.kind == "filesystem")
    reporter.stage = "devices"
    devices = [*spec.linux.devices, *(host_devices() if launch.host_devices else ())]
    make_devices(root, devices, fresh_dev=fresh_dev)
    reporter.stage = "terminal"
    slave = _make_terminal(root, io) if process.terminal else -1
    proc = km.new_filesystem("proc")
    identity = _identify(launch, process, root)
    if launch.create_cwd:
        reporter.stage = "working directory"
        _make_cwd(root, process.cwd, identity)

    reporter.stage = "root file system"
    root.enter()
    if spec.root.readonly or launch.rootfs.readonly:
        root.make_readonly()
    root.protect(spec.linux.readonly_paths, spec.linux.masked_paths)

    reporter.stage = "host name"
    if spec.hostname:
        kp.set_host_name(spec.hostname)
    if spec.domainname:
        kp.set_domain_name(spec.domainname)
    for name, value in spec.linux.sysctl.items():
        reporter.stage = f"sysctl {name}"
        _set_sysctl(proc, name, value)
    reporter.stage = "limits"
    apply_rlimits(process.rlimits, reporter)
    if process.oom_score_adj is not None:
        apply_oom_score(process.oom_score_adj, proc, reporter)
    kp.new_session_keyring()
    os.close(proc)

    reporter.stage = "standard streams"
    _connect_stdio(io, slave)
    execute(process, identity, bpf, reporter, as_init=launch.init)


def _enter_cgroup(spec: oci.Spec, *, new_namespace: bool) -> None:
    if spec.linux.cgroups_path:
        cgroup = open_cgroup(spec.linux.cgroups_path)
        cgroup.create()
        resources = spec.linux.resources or oci.Resources()
        if resources.devices:
            resources.devices = [*resources.devices, *ALWAYS_ALLOWED]
        cgroup.apply(resources)
        cgroup.join()
    if new_namespace:
        kp.unshare(kp.CLONE_NEWCGROUP)


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


def _fill_volume(root: Root, copy_up: CopyUp) -> None:
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
    user = process.user
    return Identity(user.uid, user.gid, (user.gid, *user.additional_gids), "")


def _make_cwd(root: Root, path: str, identity: Identity) -> None:
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
    fd = os.open(f"sys/{path}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=proc)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _filter(launch: ContainerLaunch, spec: oci.Spec) -> bytes:
    if spec.linux.seccomp is not None:
        return compile_filter(spec.linux.seccomp)
    return read_filter(launch.seccomp_path)


def _connect_stdio(io: InitIo, slave: int) -> None:
    if slave >= 0:
        terminal.adopt(slave)
        return
    os.setsid()
    for number, fd in enumerate(io.stdio or ()):
        os.dup2(fd, number)
