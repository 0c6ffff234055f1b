"""Which control groups this machine has, read once from the mount table."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from barque.cgroups.contract import Cgroup
from barque.cgroups.v1 import CgroupV1
from barque.cgroups.v2 import CgroupV2
from barque.errors import FailedPrecondition


class Hierarchies(NamedTuple):
    """Mounted cgroup hierarchies: version 1 mount points by controller, and version 2's."""

    v1: dict[str, str]
    v2: str


@cache
def hierarchies() -> Hierarchies:
    """Read ``/proc/self/mountinfo`` once. Named hierarchies count as ``name=systemd``."""
    v1: dict[str, str] = {}
    v2 = ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields, _, rest = line.partition(" - ")
            mount_point = fields.split(" ")[4]
            fstype, _, options = rest.split(" ")[:3]
            if fstype == "cgroup2" and not v2:
                v2 = mount_point
            elif fstype == "cgroup":
                for option in options.strip().split(","):
                    if option.startswith("name=") or option in _CONTROLLERS:
                        v1.setdefault(option, mount_point)
    return Hierarchies(v1, v2)


_CONTROLLERS = frozenset(
    "cpu cpuacct cpuset memory devices freezer net_cls blkio perf_event net_prio hugetlb pids "
    "rdma misc".split()
)


def cgroup_version() -> int:
    """1 where any controller is on a version 1 hierarchy, else 2."""
    return 1 if _CONTROLLERS & hierarchies().v1.keys() else 2


def open_cgroup(path: str) -> Cgroup:
    """The control group at ``path`` (absolute, from the hierarchies' roots).

    Opening makes nothing. Raises FailedPrecondition where no hierarchy is mounted.
    """
    mounted = hierarchies()
    if cgroup_version() == 1:
        return CgroupV1(path, mounted.v1, mounted.v2)
    if not mounted.v2:
        raise FailedPrecondition(
            "no control groups are mounted on this host: mount -t cgroup2 none /sys/fs/cgroup"
        )
    return CgroupV2(path, mounted.v2)
