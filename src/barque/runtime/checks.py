"""What a spec asks that no kernel or specification allows, found before anything is done.

Source: runtime-spec config.md, config-linux.md; runc's libcontainer/configs/validate for the
rules that its users rely on.
"""

from __future__ import annotations

import os

from barque.errors import InvalidArgument
from barque.kernel.process import NAMESPACES
from barque.models import oci
from barque.runtime.attributes import parse_list, plan_attributes
from barque.runtime.hooks import check_hooks
from barque.runtime.mounts import PROC_FILES, plain_path, plan_mounts, propagation_flag
from barque.runtime.network import check_devices
from barque.runtime.process import rlimit_number
from barque.runtime.resctrl import check_rdt, find_resctrl
from barque.runtime.seccomp import notifies, plan_flags, plan_rules
from barque.runtime.userns import check_mappings

_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
_CLOCKS = frozenset({"monotonic", "boottime"})
_SECOND_NS = 10**9
_MAX_NAME_BYTES = 64  # __NEW_UTS_LEN of linux/utsname.h


def check_spec(spec: oci.Spec) -> None:
    """Raise for a spec that cannot be carried out.

    InvalidArgument, FailedPrecondition for what the host lacks, NotImplementedHere.
    """
    _check_version(spec.oci_version)
    if "" in spec.annotations:
        raise InvalidArgument("annotations: the empty string is no key")
    _check_namespaces(spec)
    _check_mounts(spec)
    _check_sysctls(spec)
    for kind, paths in (
        ("maskedPaths", spec.linux.masked_paths),
        ("readonlyPaths", spec.linux.readonly_paths),
    ):
        for path in paths:
            if not path.startswith("/"):
                raise InvalidArgument(f"{kind}: {path!r} is not absolute")
    if spec.linux.rootfs_propagation:
        propagation_flag(spec.linux.rootfs_propagation)
    if spec.linux.seccomp is not None:
        _check_seccomp(spec.linux.seccomp)
    if spec.linux.intel_rdt is not None:
        check_rdt(spec.linux.intel_rdt)
        find_resctrl()
    for rule in spec.linux.resources.devices if spec.linux.resources else ():
        if rule.type not in {"", "a", "b", "c"} or not set(rule.access) <= set("rwm"):
            raise InvalidArgument(
                f"resources.devices: type {rule.type!r} with access {rule.access!r}: give a, b or "
                "c, and of r, w and m what is meant"
            )
    check_devices(spec)
    if spec.linux.net_devices and any(
        ns.type == "network" and _is_ours(ns) for ns in spec.linux.namespaces
    ):
        raise InvalidArgument("unable to move network devices: they are in the namespace joined")
    check_hooks(spec.hooks)
    if spec.process is not None:
        check_process(spec.process, spec.linux)


def _check_version(version: str) -> None:
    major, dot, _ = version.partition(".")
    if not dot or not major.isdecimal():
        raise InvalidArgument(f"ociVersion {version!r} is not a version such as 1.2.0")
    if major != "1":
        raise InvalidArgument(f"ociVersion {version} is not supported: barque knows 1.x")


def _check_namespaces(spec: oci.Spec) -> None:
    seen: set[str] = set()
    for namespace in spec.linux.namespaces:
        if namespace.type not in NAMESPACES:
            raise InvalidArgument(f"unknown namespace type {namespace.type!r}")
        if namespace.type in seen:
            raise InvalidArgument(f"namespace {namespace.type!r} is listed twice")
        seen.add(namespace.type)
        if namespace.path and not namespace.path.startswith("/"):
            raise InvalidArgument(f"{namespace.type} namespace path is not absolute")
    for name, what in ((spec.hostname, "hostname"), (spec.domainname, "domainname")):
        if name and "uts" not in seen:
            raise InvalidArgument(f"unable to set {what} without a private UTS namespace")
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise InvalidArgument(f"{what} {name!r} is longer than {_MAX_NAME_BYTES} bytes")
    linux = spec.linux
    joined = {ns.type for ns in linux.namespaces if ns.path}
    if linux.uid_mappings or linux.gid_mappings:
        if "user" not in seen:
            raise InvalidArgument("user namespace mappings specified, but no user namespace")
        check_mappings("uid", linux.uid_mappings)
        check_mappings("gid", linux.gid_mappings)
    elif "user" in seen - joined:
        raise InvalidArgument("a new user namespace needs uidMappings and gidMappings")
    if linux.time_offsets:
        if "time" not in seen:
            raise InvalidArgument("time namespace offsets specified, but no time namespace")
        if unknown := linux.time_offsets.keys() - _CLOCKS:
            raise InvalidArgument(f"no such clock to offset: {', '.join(sorted(unknown))}")
        for clock, offset in linux.time_offsets.items():
            if not 0 <= offset.nanosecs < _SECOND_NS:
                raise InvalidArgument(
                    f"timeOffsets: {clock} nanosecs {offset.nanosecs} is not in 0 to 999999999"
                )


def _check_mounts(spec: oci.Spec) -> None:
    for step in plan_mounts(spec.mounts, spec.linux):
        path = plain_path(step.destination)
        if path in {"/proc", "/sys"}:
            allowed = {"proc"} if path == "/proc" else {"sysfs"}
            if step.kind == "filesystem" and step.fstype not in allowed:
                raise InvalidArgument(f"{path} must be a {allowed.pop()} mount, not {step.fstype}")
        elif path.startswith("/proc/") and path not in PROC_FILES:
            raise InvalidArgument(f"{step.destination} cannot be mounted: it is inside /proc")


def _check_sysctls(spec: oci.Spec) -> None:
    namespaces = {ns.type for ns in spec.linux.namespaces if not _is_ours(ns)}
    for given in spec.linux.sysctl:
        name = given.replace("/", ".")
        if name == "kernel.hostname":
            raise InvalidArgument('sysctl "kernel.hostname" is set by hostname')
        needed = (
            "ipc" if name in _IPC_SYSCTLS or name.startswith("fs.mqueue.")
            else "network" if name.startswith("net.")
            else "uts" if name == "kernel.domainname"
            else ""
        )  # fmt: skip
        if needed not in namespaces:
            raise InvalidArgument(f'sysctl "{given}" is not in a separate kernel namespace')


def _check_seccomp(seccomp: oci.Seccomp) -> None:
    plan_rules(seccomp)
    plan_flags(seccomp.flags)
    if not seccomp.listener_path:
        if notifies(seccomp):
            raise InvalidArgument("seccomp listenerPath is needed with SCMP_ACT_NOTIFY")
        if seccomp.listener_metadata:
            raise InvalidArgument("seccomp listenerMetadata is for who listens: give listenerPath")


def _is_ours(namespace: oci.Namespace) -> bool:
    """Whether joining it would be staying where we are: what is set there is the host's."""
    if not namespace.path:
        return False
    try:
        joined = os.stat(namespace.path)
        own = os.stat(f"/proc/self/ns/{NAMESPACES[namespace.type][1]}")
    except OSError as error:
        text = os.strerror(error.errno or 0).lower()
        raise InvalidArgument(f"{namespace.type} namespace {namespace.path}: {text}") from None
    return (joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino)


def check_process(process: oci.Process, linux: oci.Linux | None) -> None:
    """Raise InvalidArgument for a process, first or exec'ed, that cannot be run."""
    if not process.args:
        raise InvalidArgument("process.args is empty: there is nothing to run")
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f"process.cwd {process.cwd!r} is not absolute")
    umask = process.user.umask
    if umask is not None and not 0 <= umask <= 0o777:
        raise InvalidArgument(f"process.user.umask {umask} is not in 0 to {0o777}, which is 0777")
    seen: set[str] = set()
    for limit in process.rlimits:
        rlimit_number(limit)
        if limit.type in seen:
            raise InvalidArgument(f"rlimit {limit.type} is listed twice")
        if limit.soft > limit.hard:
            raise InvalidArgument(f"{limit.type}: soft limit {limit.soft} is above {limit.hard}")
        seen.add(limit.type)
    score = process.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        raise InvalidArgument(f"oomScoreAdj {score} is not in -1000 to 1000")
    affinity = process.exec_cpu_affinity
    for text in (affinity.initial, affinity.final) if affinity else ():
        if text:
            parse_list(text, "execCPUAffinity")
    plan_attributes(process, linux)
