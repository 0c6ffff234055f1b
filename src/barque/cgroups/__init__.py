"""Control groups, versions 1 and 2 behind one contract."""

from barque.cgroups.contract import Cgroup
from barque.cgroups.hierarchy import cgroup_version, hierarchies, open_cgroup

__all__ = ["Cgroup", "cgroup_version", "hierarchies", "open_cgroup"]
