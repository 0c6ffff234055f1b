"""Limits as settings of control files, both versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cgroups import v1_plan, v2_plan
from barque.cgroups.lists import parse_list
from barque.cgroups.settings import Setting, previous
from barque.errors import FailedPrecondition, InvalidArgument
from barque.models import oci

EVERYTHING = oci.Resources(
    memory=oci.Memory(limit=64 << 20, reservation=32 << 20, swap=96 << 20),
    cpu=oci.Cpu(shares=512, quota=50_000, period=100_000, burst=1000, cpus="0-1", mems="0"),
    pids=oci.Pids(limit=20),
    block_io=oci.BlockIO(
        weight=100,
        weight_device=[oci.WeightDevice(major=8, minor=0, weight=500)],
        throttle_read_bps_device=[oci.ThrottleDevice(major=8, minor=0, rate=1 << 20)],
        throttle_write_iops_device=[oci.ThrottleDevice(major=8, minor=16, rate=50)],
    ),
    hugepage_limits=[oci.HugepageLimit(page_size="2MB", limit=4 << 20)],
    rdma={"mlx5_0": oci.Rdma(hca_handles=3)},
)


def v1(resources: oci.Resources, *files: str) -> list[tuple[str, str]]:
    return [(s.file, s.value) for s in v1_plan.plan(resources, lambda _, file: file in files)]


def v2(resources: oci.Resources, *files: str) -> list[tuple[str, str]]:
    return [(s.file, s.value) for s in v2_plan.plan(resources, lambda file: file in files)]


def test_version_1() -> None:
    assert v1(EVERYTHING, "memory.memsw.limit_in_bytes", "blkio.bfq.weight") == [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "100663296"),
        ("memory.soft_limit_in_bytes", "33554432"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.cfs_burst_us", "1000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "20"),
        ("blkio.bfq.weight", "100"),
        ("blkio.bfq.weight_device", "8:0 500"),
        ("blkio.throttle.read_bps_device", "8:0 1048576"),
        ("blkio.throttle.write_iops_device", "8:16 50"),
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("rdma.max", "mlx5_0 hca_handle=3"),
    ]


def test_version_2() -> None:
    assert v2(EVERYTHING) == [
        ("memory.swap.max", "33554432"),
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("cpu.weight", "50"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "20"),
        ("io.weight", "910"),
        ("io.weight", "8:0 4950"),
        ("io.max", "8:0 rbps=1048576"),
        ("io.max", "8:16 wiops=50"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
        ("rdma.max", "mlx5_0 hca_handle=3"),
    ]


def test_bfq_has_weights_of_its_own() -> None:
    assert v2(oci.Resources(block_io=oci.BlockIO(weight=300)), "io.bfq.weight") == [
        ("io.bfq.weight", "300")
    ]


@pytest.mark.parametrize(
    ("memory", "written"),
    [
        (oci.Memory(limit=-1), {"memory.swap.max": "max", "memory.max": "max"}),
        (oci.Memory(limit=10, swap=-1), {"memory.swap.max": "max", "memory.max": "10"}),
        (oci.Memory(limit=10, swap=10), {"memory.swap.max": "0", "memory.max": "10"}),
        (oci.Memory(limit=10), {"memory.max": "10"}),
        (oci.Memory(swap=-1), {"memory.swap.max": "max"}),
        (oci.Memory(swappiness=10, disable_oom_killer=True), {}),
    ],
)
def test_memory_and_swap_on_version_2(memory: oci.Memory, written: dict[str, str]) -> None:
    assert dict(v2(oci.Resources(memory=memory))) == written


@pytest.mark.parametrize(
    "memory", [oci.Memory(swap=10), oci.Memory(limit=20, swap=10), oci.Memory(limit=-1, swap=10)]
)
def test_impossible_swap(memory: oci.Memory) -> None:
    with pytest.raises(InvalidArgument, match="memory"):
        v2(oci.Resources(memory=memory))


@pytest.mark.parametrize(
    ("cpu", "value"),
    [
        (oci.Cpu(quota=-1), "max 100000"),
        (oci.Cpu(period=50_000), "max 50000"),
        (oci.Cpu(quota=20_000), "20000 100000"),
    ],
)
def test_cpu_max(cpu: oci.Cpu, value: str) -> None:
    assert v2(oci.Resources(cpu=cpu)) == [("cpu.max", value)]


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000), (512, 50), (3072, 300)]
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert v2_plan.cpu_weight(shares) == weight


@given(st.integers(2, 262143))
def test_more_shares_never_weigh_less(shares: int) -> None:
    assert 1 <= v2_plan.cpu_weight(shares) <= v2_plan.cpu_weight(shares + 1) <= 10000


@given(st.integers(10, 999))
def test_io_weights_keep_their_order(weight: int) -> None:
    assert 1 <= v2_plan.io_weight(weight) < v2_plan.io_weight(weight + 1) <= 10000


def test_what_only_version_1_has() -> None:
    network = oci.Resources(network=oci.Network(class_id=5))
    assert v1(network) == [("net_cls.classid", "5")]
    with pytest.raises(FailedPrecondition, match="version 1"):
        v2(network)
    with pytest.raises(FailedPrecondition, match="--cpu-rt-period"):
        v2(oci.Resources(cpu=oci.Cpu(realtime_runtime=10)))


def test_unified() -> None:
    resources = oci.Resources(
        unified={"memory.high": "1000", "io.max": "8:0 rbps=1\n8:16 wbps=2", "cpu.weight.nice": "3"}
    )
    assert v2(resources) == [
        ("memory.high", "1000"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 wbps=2"),
        ("cpu.weight.nice", "3"),
    ]
    with pytest.raises(FailedPrecondition, match="version 2"):
        v1(resources)


@pytest.mark.parametrize("name", ["../x.y", "memory", "a/b.c", ".hidden"])
def test_unified_names_stay_in_the_group(name: str) -> None:
    with pytest.raises(InvalidArgument, match="control file"):
        v2(oci.Resources(unified={name: "1"}))


@pytest.mark.parametrize(
    ("file", "device", "text", "back"),
    [
        ("pids.max", "", "20", "20"),
        ("memory.oom_control", "", "oom_kill_disable 1\nunder_oom 0\noom_kill 3", "1"),
        ("io.max", "8:0", "7:0 rbps=1\n8:0 rbps=5 wbps=max", "8:0 rbps=5 wbps=max"),
        ("io.max", "8:0", "", "reset"),
    ],
)
def test_what_was_there_can_be_put_back(file: str, device: str, text: str, back: str) -> None:
    setting = Setting("", file, "", "", device, "reset")
    assert previous(setting, text) == back


@given(st.sets(st.integers(0, 8191), min_size=1))
def test_lists(numbers: set[int]) -> None:
    assert parse_list(",".join(map(str, numbers))) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "1,,2", "0-99999", "1 2", "+1"])
def test_bad_lists(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_list(text)
