"""The config.json that ``spec`` writes. Source: runc-spec(8)."""

from __future__ import annotations

from typing import Any

import msgspec

from barque.models import oci


def default_document() -> dict[str, Any]:
    """What ``spec`` writes, with what others require and we take for granted."""
    document: dict[str, Any] = msgspec.to_builtins(_default_spec())
    document["process"].update(cwd="/", user={"uid": 0, "gid": 0})
    document["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    return document


def _default_spec() -> oci.Spec:
    """A shell with few privileges, in the oldest version that has it all, for all runtimes."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return oci.Spec(
        oci_version="1.0.2",
        process=oci.Process(
            terminal=True,
            args=["sh"],
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            cwd="/",
            capabilities=oci.Capabilities(
                bounding=capabilities, effective=capabilities, permitted=capabilities
            ),
            rlimits=[oci.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024)],
            no_new_privileges=True,
        ),
        root=oci.Root(path="rootfs", readonly=True),
        hostname="barque",
        mounts=[
            oci.Mount(destination="/proc", type="proc", source="proc"),
            _mount("/dev", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
            _mount("/dev/pts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
            _mount("/dev/shm", "tmpfs", "nosuid noexec nodev mode=1777 size=65536k", "shm"),
            _mount("/dev/mqueue", "mqueue", "nosuid noexec nodev"),
            _mount("/sys", "sysfs", "nosuid noexec nodev ro"),
            _mount("/sys/fs/cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
        ],
        linux=oci.Linux(
            resources=oci.Resources(),
            namespaces=[
                oci.Namespace(type=kind)
                for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            masked_paths=[
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi", "/proc/interrupts", "/sys/devices/virtual/powercap",
            ],
            readonly_paths=[
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        ),
    )  # fmt: skip


def _mount(destination: str, type_: str, options: str, source: str = "") -> oci.Mount:
    return oci.Mount(
        destination=destination, type=type_, source=source or type_, options=options.split()
    )
