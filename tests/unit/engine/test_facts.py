from __future__ import annotations

import os
from pathlib import Path

import pytest

from barque.engine.facts import HostFacts, _gather_v1, _gather_v2, parse_kernel


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-generic", (6, 18)), ("5.4", (5, 4)), ("6.1.0-13-amd64", (6, 1)), ("odd", (0, 0))],
)
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    assert parse_kernel(release) == version


def test_this_host() -> None:
    facts = HostFacts.gather()
    assert facts.kernel_release == os.uname().release
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert facts.memory_bytes > 1 << 24
    assert facts.cgroups.version in {1, 2}
    assert "/proc/kcore" in facts.masked_paths


def test_a_v1_hierarchy_says_what_it_can(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "cpuset", "blkio"):
        (tmp_path / name).mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").touch()
    (tmp_path / "cpu" / "cpu.shares").touch()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-7\n")
    (tmp_path / "blkio" / "child").mkdir()
    (tmp_path / "blkio" / "child" / "blkio.bfq.weight").touch()
    mounts = {name: str(tmp_path / name) for name in ("memory", "cpu", "cpuset", "blkio")}
    facts = _gather_v1(mounts)
    assert facts.memory_limit
    assert not facts.swap_limit
    assert facts.cpu_shares
    assert not facts.cpu_cfs
    assert facts.cpuset_cpus == "0-7"
    assert not facts.pids
    assert facts.blkio_weight
    assert not facts.blkio_weight_device
    assert not facts.blkio_read_bps


def test_a_v2_hierarchy_goes_by_controllers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset memory pids\n")
    (tmp_path / "cpuset.cpus.effective").write_text("0-1\n")
    (tmp_path / "child").mkdir()
    (tmp_path / "child" / "memory.swap.max").touch()
    facts = _gather_v2(tmp_path)
    assert facts.version == 2
    assert facts.memory_limit
    assert facts.swap_limit
    assert facts.pids
    assert facts.cpuset_cpus == "0-1"
    assert not facts.cpu_cfs
    assert not facts.memory_swappiness
    assert not facts.oom_kill_disable
