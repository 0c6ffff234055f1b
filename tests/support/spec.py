"""Hosts, records and documents for tests of what a container is told."""

from __future__ import annotations

from typing import Any

from barque.engine.facts import MASKED_PATHS, CgroupFacts, HostFacts
from barque.models.api import ContainerConfig, HostConfig
from barque.models.container import ContainerRecord, MountPoint
from barque.models.ids import ContainerId, ImageId
from barque.runtime import capabilities


def make_facts(*, cgroups: CgroupFacts | None = None, **changes: Any) -> HostFacts:
    """Describe a host of four CPUs with everything but Linux security modules."""
    values: dict[str, Any] = {
        "cgroups": cgroups or CgroupFacts(cpuset_cpus="0-3", cpuset_mems="0", cpu_realtime=True),
        "cpus": 4,
        "memory_bytes": 8 << 30,
        "kernel": (6, 1),
        "capabilities": frozenset(capabilities.NAMES),
        "masked_paths": MASKED_PATHS,
        "default_sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"},
    }
    return HostFacts(**{**values, **changes})


def make_record(
    config: ContainerConfig | None = None,
    host: HostConfig | None = None,
    *,
    mounts: list[MountPoint] | None = None,
    started_once: bool = False,
) -> ContainerRecord:
    """Make the record of a container that runs ``true``."""
    return ContainerRecord(
        id=ContainerId("c" * 64),
        name="test",
        created="2024-01-01T00:00:00Z",
        image_id=ImageId("sha256:" + "0" * 64),
        config=config or ContainerConfig(hostname="box"),
        host_config=host or HostConfig(),
        path="true",
        args=["-x"],
        mounts=mounts or [],
        started_once=started_once,
    )
