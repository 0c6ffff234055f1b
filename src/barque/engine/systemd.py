"""``--security-opt systemd=true``: systemd is at home in a container without ``--privileged``.

It stands for what podman's ``--systemd`` gives: a /run, /run/lock and /tmp in memory, the
environment variable by which systemd knows a container, SIGRTMIN+3 to stop, and the container's
own control groups writable: on version 1 only those of the hierarchy in which systemd keeps its
services, so that no limit can be lifted from inside. Never taken from an image or guessed from a
command: only who runs the container can ask for it.

Source: systemd's CONTAINER_INTERFACE; podman-run(1) ``--systemd``.
"""

from __future__ import annotations

from pathlib import Path

from barque.engine.facts import HostFacts
from barque.engine.security import parse_security_options
from barque.errors import InvalidArgument
from barque.models import oci
from barque.models.api import ContainerConfig, HostConfig

STOP_SIGNAL = "SIGRTMIN+3"
"""``systemctl poweroff`` as a signal. SIGTERM makes systemd start itself anew."""
ENVIRONMENT = "container=barque"

_TMPFS = {
    "/run": "exec,nosuid,nodev,mode=755",
    "/run/lock": "noexec,nosuid,nodev,mode=1777",
    "/tmp": "exec,nosuid,nodev,mode=1777",
}


def check_systemd(host: HostConfig, facts: HostFacts) -> None:
    """Raise InvalidArgument where the option is given and this machine cannot give it."""
    cgroups = facts.cgroups
    if cgroups.version == 1 and not cgroups.systemd_mount and _wants(host) and not host.privileged:
        raise InvalidArgument(
            "systemd=true needs the control group hierarchy name=systemd, which is not mounted on "
            "this host: mkdir /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd "
            "cgroup /sys/fs/cgroup/systemd"
        )


def fill_systemd(config: ContainerConfig, host: HostConfig) -> None:
    """Write what the option stands for into the container's own settings, which come first."""
    if not _wants(host):
        return
    host.tmpfs = _TMPFS | (host.tmpfs or {})
    config.env = [ENVIRONMENT, *(config.env or ())]
    config.stop_signal = config.stop_signal or STOP_SIGNAL


def systemd_cgroup(host: HostConfig, facts: HostFacts, cgroups_path: str) -> oci.Mount | None:
    """Return the writable mount of systemd's hierarchy, on version 1."""
    mount = facts.cgroups.systemd_mount
    if not mount or not _wants(host):
        return None
    return oci.Mount(
        destination=f"/sys/fs/cgroup/{Path(mount).name}",
        type="bind",
        source=mount + cgroups_path,
        options=["bind", "rw", "nosuid", "noexec", "nodev", "rprivate"],
    )


def runs_systemd(pid: int) -> bool:
    """Whether the process's program is systemd. For choosing a signal only: it may pretend."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "systemd"
    except OSError:
        return False


def _wants(host: HostConfig) -> bool:
    return parse_security_options(host.security_opt).systemd
