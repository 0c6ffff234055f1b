from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from barque.engine.resources import build_resources
from barque.models.api import HostConfig, ThrottleDevice


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (
            {"memory": 100, "memory_swap": 200, "memory_reservation": 50, "memory_swappiness": 0},
            {"memory": {"limit": 100, "swap": 200, "reservation": 50, "swappiness": 0}},
        ),
        ({"memory": 100, "memory_swap": -1}, {"memory": {"limit": 100, "swap": -1}}),
        ({"memory_swap": -1}, {}),
        ({"oom_kill_disable": True}, {"memory": {"disableOOMKiller": True}}),
        ({"oom_kill_disable": False}, {}),
        ({"nano_cpus": 1500000000}, {"cpu": {"quota": 150000, "period": 100000}}),
        (
            {"cpu_quota": 5, "cpu_period": 6, "cpu_shares": 7, "cpuset_cpus": "0"},
            {"cpu": {"quota": 5, "period": 6, "shares": 7, "cpus": "0"}},
        ),
        ({"pids_limit": 0}, {}),
        ({"pids_limit": -1}, {}),
        ({"pids_limit": 9}, {"pids": {"limit": 9}}),
        ({"blkio_weight": 10}, {"blockIO": {"weight": 10}}),
    ],
)
def test_resources(host: dict[str, Any], expected: dict[str, Any]) -> None:
    assert msgspec.to_builtins(build_resources(HostConfig(**host))) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to find a block device")
def test_throttled_devices_are_found_by_number() -> None:
    block = next((p for p in Path("/dev").iterdir() if p.is_block_device()), None)
    if block is None:
        pytest.skip("needs a block device in /dev")
    host = HostConfig(blkio_device_read_i_ops=[ThrottleDevice(path=str(block), rate=5)])
    block_io = build_resources(host).block_io
    assert block_io is not None
    (limit,) = block_io.throttle_read_iops_device
    assert (limit.major, limit.minor, limit.rate) == (
        os.major(block.stat().st_rdev),
        os.minor(block.stat().st_rdev),
        5,
    )


# -- user namespaces -----------------------------------------------------------------------
