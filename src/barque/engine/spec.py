"""From a container's record to what its init is told.

``build_launch`` is for every start and stands in the way of it, so that parts which are the same
for all containers are made once. The documents made here share those parts: they are to be
encoded, not changed.

Source: the Engine API's ContainerConfig and HostConfig; runtime-spec config.md; dockerd's
daemon/oci_linux.go for what docker fills in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from barque.engine.defaults import ContainerDefaults
from barque.engine.devices import (
    device_rules,
    find_devices,
    parse_device_rule,
)
from barque.engine.facts import HostFacts
from barque.engine.mounts import clean_path
from barque.engine.resources import build_resources
from barque.engine.security import UNCONFINED, parse_security_options
from barque.engine.systemd import systemd_cgroup
from barque.engine.tmpfs import merge_tmpfs_options, parse_tmpfs_text
from barque.engine.validate import normal_sysctl
from barque.errors import InvalidArgument
from barque.models import oci
from barque.models.api import ContainerConfig, HostConfig
from barque.models.container import ContainerRecord, ExecRecord, MountPoint
from barque.models.idmap import NOBODY, IdMap, to_host
from barque.models.ids import ContainerId
from barque.models.launch import (
    ContainerLaunch,
    CopyUp,
    ExecLaunch,
    Interface,
    RootfsMount,
    UserNames,
)
from barque.runtime import capabilities

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INFINITY = 2**64 - 1
_PING = "net.ipv4.ping_group_range"

# -- what is the same for many containers ---------------------------------------------------

_PROC = oci.Mount(
    destination="/proc", type="proc", source="proc", options=["nosuid", "noexec", "nodev"]
)
_DEV = oci.Mount(
    destination="/dev",
    type="tmpfs",
    source="tmpfs",
    options=["nosuid", "strictatime", "mode=755", "size=65536k"],
)
_MQUEUE = oci.Mount(
    destination="/dev/mqueue",
    type="mqueue",
    source="mqueue",
    options=["nosuid", "noexec", "nodev"],
)
_HOST_MQUEUE = oci.Mount(
    destination="/dev/mqueue", type="bind", source="/dev/mqueue", options=["bind", "rprivate"]
)
_HOST_SHM = oci.Mount(
    destination="/dev/shm", type="bind", source="/dev/shm", options=["rbind", "rprivate"]
)
_JOINED_SHM = oci.Mount(
    destination="/dev/shm", type="bind", source="/dev/shm", options=["bind", "rprivate"]
)
"""What is bound was cloned in the other container's mount namespace beforehand."""
_NAMESPACES = {
    kind: oci.Namespace(type=kind)
    for kind in ("mount", "network", "uts", "pid", "ipc", "cgroup", "user")
}
_TTY_GID = 5
_DENY_ALL = oci.DeviceRule(allow=False)
_ALLOW_ALL = oci.DeviceRule(allow=True)
_CONSOLE = oci.DeviceRule(allow=True, type="c", major=5, minor=1)


@lru_cache(maxsize=2)
def _pts(*, with_group: bool) -> oci.Mount:
    options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    return oci.Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=[*options, f"gid={_TTY_GID}"] if with_group else options,
    )


@lru_cache(maxsize=2)
def _sys(*, writable: bool) -> oci.Mount:
    options = ["nosuid", "noexec", "nodev"]
    return oci.Mount(
        destination="/sys",
        type="sysfs",
        source="sysfs",
        options=options if writable else [*options, "ro"],
    )


@lru_cache(maxsize=2)
def _cgroup(*, writable: bool) -> oci.Mount:
    options = ["nosuid", "noexec", "nodev"]
    return oci.Mount(
        destination="/sys/fs/cgroup",
        type="cgroup",
        source="cgroup",
        options=options if writable else ["ro", *options],
    )


@lru_cache(maxsize=16)
def _shm(size_bytes: int) -> oci.Mount:
    return oci.Mount(
        destination="/dev/shm",
        type="tmpfs",
        source="shm",
        options=["nosuid", "noexec", "nodev", "mode=1777", f"size={size_bytes}"],
    )


@lru_cache(maxsize=64)
def _capabilities(
    names: tuple[str, ...],
) -> oci.Capabilities:
    chosen = list(names)
    return oci.Capabilities(bounding=chosen, effective=chosen, permitted=chosen)


# -- the parts ------------------------------------------------------------------------------


def environment(config: ContainerConfig, *, tty: bool, extra: Iterable[str] = ()) -> list[str]:
    """Return docker's environment: PATH, HOSTNAME, TERM with a terminal, then the config's.

    A later entry replaces an earlier one in its place; one without ``=`` takes it out. An
    image's entry without a name, which no program could read, is left out.
    ``extra`` is an exec's own. HOME is set by the runtime, which knows the user.
    """
    variables = {"PATH": f"PATH={DEFAULT_PATH}", "HOSTNAME": f"HOSTNAME={config.hostname}"}
    if tty:
        variables["TERM"] = "TERM=xterm"
    for entries in (config.env or (), extra):
        for entry in entries:
            name, equals, _ = entry.partition("=")
            if equals and name:
                variables[name] = entry
            elif not equals:
                variables.pop(name, None)
    return list(variables.values())


def cgroups_path(host: HostConfig, container_id: ContainerId, parent: str = "/barque") -> str:
    """Return the container's control group: below ``CgroupParent``, or below ``parent``."""
    chosen = host.cgroup_parent or parent
    return clean_path(f"/{chosen}/{container_id}")


def _process(
    record: ContainerRecord,
    args: list[str],
    env: list[str],
    cwd: str,
    *,
    terminal: bool,
    defaults: ContainerDefaults,
) -> oci.Process:
    """Describe what the container's own process and its execs have in common."""
    if cwd and not cwd.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{cwd}' is invalid, it needs to be an absolute path"
        )
    for text in (*args, *env):
        if "\0" in text:
            raise InvalidArgument(
                f"{text[:40]!r} contains a NUL character, which no program can be given"
            )
    host = record.host_config
    security = parse_security_options(host.security_opt)
    no_new_privileges = security.no_new_privileges
    return oci.Process(
        terminal=terminal,
        args=args,
        env=env,
        cwd=cwd or "/",
        capabilities=_capabilities(defaults.choose_capabilities(host)),
        rlimits=[
            oci.Rlimit(
                type=f"RLIMIT_{limit.name.upper()}",
                soft=_INFINITY if limit.soft == -1 else limit.soft,
                hard=_INFINITY if limit.hard == -1 else limit.hard,
            )
            for limit in defaults.choose_ulimits(host)
        ],
        no_new_privileges=(
            defaults.no_new_privileges if no_new_privileges is None else no_new_privileges
        ),
        oom_score_adj=host.oom_score_adj,
        apparmor_profile="" if security.apparmor == UNCONFINED else security.apparmor,
    )


def _bind(point: MountPoint, ids: IdMap | None) -> oci.Mount:
    """Volumes keep the container's ids, and are shown mapped; the host's files keep theirs."""
    options = ["rbind" if point.recursive else "bind"]
    if not point.rw:
        options.append("rro" if point.recursive and point.recursive_readonly else "ro")
    options.append(point.propagation or "rprivate")
    mount = oci.Mount(
        destination=point.destination, type="bind", source=point.source, options=options
    )
    return _mapped(mount, ids) if point.type == "volume" or point.idmap else mount


def _mapped(bind: oci.Mount, ids: IdMap | None) -> oci.Mount:
    if ids is not None:
        bind.options = [*bind.options, "ridmap"]
        bind.uid_mappings, bind.gid_mappings = ids.uids, ids.gids
    return bind


def _tmpfs(destination: str, options: list[str]) -> oci.Mount:
    return oci.Mount(destination=destination, type="tmpfs", source="tmpfs", options=options)


def _depth(mount: oci.Mount) -> int:
    return mount.destination.count("/")


def _mounts(
    record: ContainerRecord, files: Path, facts: HostFacts, cgroups_path: str
) -> list[oci.Mount]:
    """Return docker's mounts and then the user's, those nearer to the root first.

    A mount of the user takes the place of a default one; one on /dev of all below it.
    """
    host, ids = record.host_config, record.ids
    user = [
        _tmpfs(point.destination, merge_tmpfs_options(point.options))
        if point.type == "tmpfs"
        else _bind(point, ids)
        for point in record.mounts
    ]
    for destination, text in (host.tmpfs or {}).items():
        user.append(_tmpfs(clean_path(destination), parse_tmpfs_text(text)))
    taken = {mount.destination for mount in user}
    if not record.config.network_disabled:
        options = ["rbind", "ro", "rprivate"] if host.readonly_rootfs else ["rbind", "rprivate"]
        for name in ("resolv.conf", "hostname", "hosts"):
            place = f"/etc/{name}"
            if place not in taken:
                source = f"{files}/{name}"
                bind = oci.Mount(destination=place, type="bind", source=source, options=options)
                user.append(_mapped(bind, ids))
    user.sort(key=_depth)
    security = parse_security_options(host.security_opt)
    writable = security.writable_cgroups
    if writable is None:
        writable = host.privileged or (security.systemd and facts.cgroups.version == 2)
    defaults = [
        _PROC,
        _DEV,
        _pts(with_group=ids is None or to_host(ids.gids, _TTY_GID) != NOBODY),
        _sys(writable=host.privileged),
        _cgroup(writable=writable),
    ]
    if ids is None or host.ipc_mode != "host":
        defaults.append(_MQUEUE)
    elif os.path.isdir(_HOST_MQUEUE.source):  # of its own it may not mount the host's
        defaults.append(_HOST_MQUEUE)
    if host.ipc_mode == "host":
        defaults.append(_HOST_SHM)
    elif host.ipc_mode.startswith("container:"):
        defaults.append(_JOINED_SHM)
    elif host.ipc_mode != "none":
        defaults.append(_shm(host.shm_size))
    if not writable and (own := systemd_cgroup(host, facts, cgroups_path)):
        defaults.append(own)
    if taken:
        own_dev = "/dev" in taken
        defaults = [
            mount
            for mount in defaults
            if mount.destination not in taken
            and not (own_dev and mount.destination.startswith("/dev/"))
        ]
    return defaults + user


def _namespaces(host: HostConfig, ids: IdMap | None) -> list[oci.Namespace]:
    """Return the namespaces that are not the host's, be they new or another container's."""
    shared = {
        "network": host.network_mode == "host",
        "uts": host.uts_mode == "host",
        "pid": host.pid_mode == "host",
        "ipc": host.ipc_mode == "host",
        "cgroup": host.cgroupns_mode == "host",
        "user": ids is None,
    }
    return [value for kind, value in _NAMESPACES.items() if not shared.get(kind)]


def _devices(host: HostConfig) -> tuple[list[oci.Device], list[oci.DeviceRule]]:
    """Return the nodes to make and the rules to set.

    The runtime adds the nodes of every /dev and their rules; only docker's others stand here.
    """
    devices: list[oci.Device] = []
    if host.privileged:
        for mapping in host.devices or ():
            if mapping.path_in_container not in {"", mapping.path_on_host}:
                devices += find_devices(mapping)
        return devices, [_ALLOW_ALL]
    rules = [_DENY_ALL, _CONSOLE]
    for mapping in host.devices or ():
        found = find_devices(mapping)
        devices += found
        rules += device_rules(found, mapping.cgroup_permissions or "rwm")
    rules += [parse_device_rule(text) for text in host.device_cgroup_rules or ()]
    return devices, rules


def _sysctls(host: HostConfig, facts: HostFacts, ids: IdMap | None) -> dict[str, str]:
    own_network = host.network_mode != "host" and not host.network_mode.startswith("container:")
    sysctls = dict(facts.default_sysctls) if own_network else {}
    if ids is not None and _PING in sysctls:  # no other groups exist there
        first = next(m for m in ids.gids if m.container_id == 0)
        sysctls[_PING] = f"0 {first.size - 1}"
    for name, value in (host.sysctls or {}).items():
        sysctls[normal_sysctl(name)] = value
    return sysctls


# -- the whole ------------------------------------------------------------------------------


def build_launch(
    record: ContainerRecord,
    *,
    rootfs: RootfsMount,
    files: Path,
    interfaces: list[Interface],
    joins: Mapping[str, int],
    propagation: str,
    seccomp_path: str,
    facts: HostFacts,
    defaults: ContainerDefaults,
    cgroups_path: str,
) -> ContainerLaunch:
    """Describe a container's task.

    ``files`` is the directory with hosts, hostname and resolv.conf (of the container whose
    network is joined, if one is). ``joins`` has the index of a descriptor for each namespace of
    another container, ``propagation`` is the root's. Volumes are filled from the image at the
    first start only.

    Raises InvalidArgument where the host has changed since create (a device is gone), and for an
    image's relative working directory.
    """
    config, host, ids = record.config, record.host_config, record.ids
    devices, rules = _devices(host)
    resources = build_resources(host, rules)
    pids_limit = defaults.choose_pids_limit(host.pids_limit)
    if pids_limit > 0 and facts.cgroups.pids:
        resources.pids = oci.Pids(limit=pids_limit)
    own_uts = host.uts_mode != "host"
    own_pids = host.pid_mode != "host" and not host.pid_mode.startswith("container:")
    spec = oci.Spec(
        root=oci.Root(path="", readonly=host.readonly_rootfs),
        process=_process(
            record,
            [record.path, *record.args],
            environment(config, tty=config.tty),
            config.working_dir,
            terminal=config.tty,
            defaults=defaults,
        ),
        hostname=config.hostname if own_uts else "",
        domainname=config.domainname if own_uts else "",
        mounts=_mounts(record, files, facts, cgroups_path),
        annotations=host.annotations or {},
        linux=oci.Linux(
            namespaces=_namespaces(host, ids),
            uid_mappings=ids.uids if ids is not None else [],
            gid_mappings=ids.gids if ids is not None else [],
            devices=devices,
            cgroups_path=cgroups_path,
            resources=resources,
            rootfs_propagation=propagation,
            sysctl=_sysctls(host, facts, ids),
            masked_paths=host.masked_paths or [],
            readonly_paths=host.readonly_paths or [],
        ),
    )
    return ContainerLaunch(
        spec=spec,
        rootfs=rootfs,
        names=UserNames(user=config.user, groups=host.group_add or []),
        interfaces=interfaces,
        seccomp_path=seccomp_path,
        joins=dict(joins),
        copy_ups=[
            CopyUp(source=point.destination, target=point.source)
            for point in record.mounts
            if point.copy_up and not record.started_once
        ],
        init=bool(host.init) and own_pids,
        host_devices=host.privileged,
    )


def build_exec(
    record: ContainerRecord,
    exec_: ExecRecord,
    *,
    seccomp_path: str,
    defaults: ContainerDefaults,
    cgroups_path: str,
) -> ExecLaunch:
    """Describe a further process of a running container.

    It is like the container's own but for what the exec says: command, user, directory,
    terminal, and all capabilities if privileged. ``seccomp_path`` is the container's filter,
    which docker keeps for privileged execs as well. Raises InvalidArgument for a relative
    working directory.
    """
    config = record.config
    process = _process(
        record,
        exec_.cmd,
        environment(config, tty=exec_.tty, extra=exec_.env),
        exec_.working_dir or config.working_dir,
        terminal=exec_.tty,
        defaults=defaults,
    )
    if exec_.privileged:
        process.capabilities = _capabilities(capabilities.known())
    return ExecLaunch(
        process=process,
        names=UserNames(user=exec_.user or config.user, groups=record.host_config.group_add or []),
        seccomp_path=seccomp_path,
        cgroups_path=cgroups_path,
        namespaces=["user"] if record.ids is not None else [],
    )
