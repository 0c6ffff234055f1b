"""What the engine knows of itself and of its host."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import msgspec

from barque.engine.defaults import ContainerDefaults
from barque.engine.facts import CgroupFacts, HostFacts
from barque.kernel.files import find_filesystem
from barque.store.settings import SettingStore

_ID_KEY = "engine-id"


class SystemFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts for ``info`` and ``version``. ``architecture`` is the kernel's name (x86_64)."""

    id: str
    hostname: str
    kernel_version: str
    operating_system: str
    os_version: str
    architecture: str
    cpus: int
    memory_bytes: int
    cgroups: CgroupFacts
    storage_driver: str
    storage_status: list[list[str]]
    security_options: list[str]
    ipv4_forwarding: bool
    warnings: list[str]


class SystemInfo:
    """Answers what the engine and its host are."""

    def __init__(
        self,
        settings: SettingStore,
        host: HostFacts,
        storage_driver: str,
        storage_path: Path,
        defaults: ContainerDefaults | None = None,
        *,
        userns: bool = False,
    ) -> None:
        """``userns``: containers are in a user namespace unless they say otherwise."""
        self._host = host
        self._userns = userns
        self._defaults = defaults or ContainerDefaults()
        self._driver = storage_driver
        self._storage = storage_path
        self.id = settings.find(_ID_KEY) or ""
        """Of this data-root, for ever."""
        if not self.id:
            self.id = str(uuid.uuid4())
            settings.put(_ID_KEY, self.id)
        self._system, self._version = read_os_release()

    def facts(self) -> SystemFacts:
        """Return what is so now."""
        host = self._host
        kernel = os.uname()
        forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="ascii").strip()
        warnings = list_missing(host.cgroups)
        if forwarding != "1":
            warnings.append("WARNING: IPv4 forwarding is disabled")
        return SystemFacts(
            id=self.id,
            hostname=kernel.nodename,
            kernel_version=kernel.release,
            operating_system=self._system,
            os_version=self._version,
            architecture=kernel.machine,
            cpus=host.cpus,
            memory_bytes=host.memory_bytes,
            cgroups=host.cgroups,
            storage_driver=self._driver,
            storage_status=[["Backing Filesystem", find_filesystem(str(self._storage))]],
            security_options=_security_options(host, self._defaults, userns=self._userns),
            ipv4_forwarding=forwarding == "1",
            warnings=warnings,
        )


def list_missing(cgroups: CgroupFacts) -> list[str]:
    """Return docker's warnings of limits that cannot be set here."""
    first = cgroups.version == 1
    missing = (
        (cgroups.memory_limit, "memory limit"),
        (cgroups.swap_limit, "swap limit"),
        (cgroups.oom_kill_disable or not first, "oom kill disable"),
        (cgroups.cpu_cfs, "cpu cfs quota"),
        (cgroups.cpu_cfs, "cpu cfs period"),
        (cgroups.cpu_shares, "cpu shares"),
        (cgroups.cpuset, "cpuset"),
        (cgroups.pids, "pids limit"),
        (cgroups.blkio_weight or not first, "blkio weight"),
        (cgroups.blkio_weight_device or not first, "blkio weight_device"),
        (cgroups.blkio_read_bps, "blkio throttle.read_bps_device" if first else "io.max (rbps)"),
        (cgroups.blkio_write_bps, "blkio throttle.write_bps_device" if first else "io.max (wbps)"),
        (cgroups.blkio_read_iops, "blkio throttle.read_iops_device" if first else "io.max (riops)"),
        (
            cgroups.blkio_write_iops,
            "blkio throttle.write_iops_device" if first else "io.max (wiops)",
        ),
    )
    return [f"WARNING: No {what} support" for there, what in missing if not there]


def _security_options(host: HostFacts, defaults: ContainerDefaults, *, userns: bool) -> list[str]:
    options = []
    if host.apparmor:
        options.append("name=apparmor")
    if host.seccomp:
        options.append(f"name=seccomp,profile={defaults.seccomp_name}")
    if userns:
        options.append("name=userns")
    if Path("/proc/self/ns/cgroup").exists():
        options.append("name=cgroupns")
    if defaults.no_new_privileges:
        options.append("name=no-new-privileges")
    return options


def read_os_release() -> tuple[str, str]:
    """Return the host's PRETTY_NAME and VERSION_ID. Source: os-release(5)."""
    values = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        lines = (line.partition("=") for line in text.splitlines() if "=" in line)
        values = {key: value.strip("\"'") for key, _, value in lines}
        break
    return values.get("PRETTY_NAME", "Linux"), values.get("VERSION_ID", "")
