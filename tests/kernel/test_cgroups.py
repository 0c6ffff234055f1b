"""Control groups on the kernel: the contract on this machine's version, devices on version 2."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.cgroups import cgroup_version, hierarchies, open_cgroup
from barque.cgroups.v1 import CgroupV1
from barque.cgroups.v2 import CgroupV2
from barque.errors import BarqueError, FailedPrecondition, KernelError
from barque.models import oci
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes control groups: needs root")

Joined = CgroupV1 | CgroupV2
PARENT = "/barque-test-cgroups"
MIB = 1 << 20


@pytest.fixture
def group() -> Iterator[Joined]:
    made = open_cgroup(f"{PARENT}/one")
    assert isinstance(made, Joined)
    made.create()
    try:
        yield made
    finally:
        made.kill()
        parent = open_cgroup(PARENT)
        parent.remove(5)
        assert not parent.exists()


def spawn(group: Joined, script: str = "import time; time.sleep(60)") -> subprocess.Popen[bytes]:
    """Run Python inside the group, which it has joined before it runs ``script``."""
    joined = (
        f"from {type(group).__module__} import {type(group).__name__}\n"
        f"{type(group).__name__}({group.path!r}, {hierarchies()[type(group) is CgroupV2]!r}).join()\n"
        "print('in', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", joined + script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return process


def read(group: Joined, controller: str, v1_file: str, v2_file: str) -> str:
    v1, v2 = hierarchies()
    place = f"{v2}{group.path}/{v2_file}"
    if cgroup_version() == 1:
        place = f"{v1[controller]}{group.path}/{v1_file}"
    with open(place, encoding="ascii") as file:
        return file.read().strip()


def memory_limit(group: Joined) -> int:
    return int(read(group, "memory", "memory.limit_in_bytes", "memory.max"))


def test_life(group: Joined) -> None:
    group.create()
    assert group.exists()
    assert "one" in open_cgroup(PARENT).children()
    process = spawn(group)
    assert group.pids() == [process.pid]
    with pytest.raises(KernelError, match="busy"):
        group.remove(0.05)
    group.kill()
    assert process.wait(10) == -signal.SIGKILL
    group.remove()
    group.remove()
    assert not group.exists()
    assert group.pids() == []


def test_frozen_processes_stand_still_and_can_be_killed(group: Joined) -> None:
    process = spawn(group, "while True: print('x', flush=True)")
    assert process.stdout is not None
    process.stdout.read(10)
    group.freeze()
    assert group.frozen()
    used = group.usage().cpu.total_ns
    time.sleep(0.2)
    assert group.usage().cpu.total_ns - used < 10**7
    group.thaw()
    assert not group.frozen()
    process.stdout.read(10)
    group.freeze()
    group.kill()
    assert process.wait(10) == -signal.SIGKILL


def test_limits_are_set(group: Joined) -> None:
    group.apply(
        oci.Resources(
            memory=oci.Memory(limit=64 * MIB, swap=64 * MIB, reservation=32 * MIB),
            cpu=oci.Cpu(shares=512, quota=20_000, period=50_000, cpus="0", mems="0"),
            pids=oci.Pids(limit=17),
        )
    )
    assert memory_limit(group) == 64 * MIB
    assert read(group, "cpu", "cpu.shares", "cpu.weight") in {"512", "50"}
    assert read(group, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "20000"
    assert read(group, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    usage = group.usage()
    assert usage.pids is not None
    assert usage.memory is not None
    assert usage.pids.limit == 17
    assert usage.memory.limit == 64 * MIB


def test_limits_that_bound_each_other_move_in_either_direction(group: Joined) -> None:
    for size in (64, 256, 32, 512, 16):
        group.update(oci.Resources(memory=oci.Memory(limit=size * MIB, swap=2 * size * MIB)))
        assert memory_limit(group) == size * MIB
    for quota, period in ((50_000, 100_000), (2_000, 2_000), (900_000, 900_000), (-1, 1_000)):
        group.update(oci.Resources(cpu=oci.Cpu(quota=quota, period=period)))


def test_an_update_is_done_wholly_or_not_at_all(group: Joined) -> None:
    before = oci.Resources(
        memory=oci.Memory(limit=64 * MIB, swap=128 * MIB),
        cpu=oci.Cpu(quota=20_000, period=50_000, cpus="0"),
        pids=oci.Pids(limit=17),
    )
    group.apply(before)
    with pytest.raises(BarqueError, match="--cpuset-cpus"):
        group.update(
            oci.Resources(
                memory=oci.Memory(limit=256 * MIB, swap=512 * MIB),
                cpu=oci.Cpu(quota=30_000, period=60_000, cpus="4095"),
                pids=oci.Pids(limit=18),
            )
        )
    assert memory_limit(group) == 64 * MIB
    quota = read(group, "cpu", "cpu.cfs_quota_us", "cpu.max")
    period = read(group, "cpu", "cpu.cfs_period_us", "cpu.max")
    assert (quota.split()[0], period.split()[-1]) == ("20000", "50000")
    assert read(group, "pids", "pids.max", "pids.max") == "17"


def test_an_error_names_flag_and_value(group: Joined) -> None:
    with pytest.raises(KernelError, match=r"write '1( 100000)?' to .*\(--cpus or") as caught:
        group.apply(oci.Resources(cpu=oci.Cpu(quota=1, period=100_000)))
    assert "cpu" in caught.value.path
    with pytest.raises(FailedPrecondition, match="hugetlb"):
        group.apply(oci.Resources(hugepage_limits=[oci.HugepageLimit(page_size="3MB", limit=MIB)]))


@pytest.mark.skipif(cgroup_version() != 1, reason="version 2 kills what is over the new limit")
def test_less_memory_than_is_in_use_is_refused_by_its_name(group: Joined) -> None:
    group.apply(oci.Resources(memory=oci.Memory(limit=64 * MIB, swap=64 * MIB)))
    process = spawn(
        group,
        "held = bytes(range(256)) * (40 << 12)\nprint('.', flush=True)\nimport time; time.sleep(60)",
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(KernelError, match=r"--memory: more than this is in use"):
        group.update(oci.Resources(memory=oci.Memory(limit=16 * MIB, swap=16 * MIB)))
    assert memory_limit(group) == 64 * MIB


def test_memory_running_out_is_told(group: Joined) -> None:
    group.apply(oci.Resources(memory=oci.Memory(limit=32 * MIB, swap=32 * MIB)))
    notice, event = group.open_oom_notice()
    with select.epoll() as epoll:
        epoll.register(notice, event)
        assert epoll.poll(0) == []
        assert group.oom_kills() == 0
        assert spawn(group, "bytearray(100 << 20)").wait(30) == -signal.SIGKILL
        assert epoll.poll(5)
        wait_until(lambda: group.oom_kills() == 1, "the kill is counted")
        (os.read(notice, 8) if cgroup_version() == 1 else os.pread(notice, 4096, 0))
        assert epoll.poll(0) == []
    os.close(notice)


def test_usage_grows(group: Joined) -> None:
    before = group.usage()
    script = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    assert spawn(group, script).wait(30) == 0
    cpu = group.usage().cpu
    assert cpu.total_ns - before.cpu.total_ns > 3 * 10**8
    assert cpu.user_ns + cpu.system_ns > 2 * 10**8


@pytest.mark.skipif(cgroup_version() != 1, reason="version 2 lets a group inside have any set")
def test_a_cpuset_is_taken_from_the_groups_inside_first(group: Joined) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two processors")
    group.apply(oci.Resources(cpu=oci.Cpu(cpus="0-1")))
    inside = open_cgroup(f"{group.path}/inside")
    assert isinstance(inside, Joined)
    inside.create()
    inside.apply(oci.Resources(cpu=oci.Cpu(cpus="0-1")))
    group.update(oci.Resources(cpu=oci.Cpu(cpus="0")))
    assert read(inside, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"


@pytest.mark.skipif(cgroup_version() == 1, reason="version 1 lets any group hold processes")
def test_a_parent_with_processes_is_refused(group: Joined) -> None:
    bare = CgroupV2(f"{PARENT}-bare", hierarchies().v2)
    os.mkdir(f"{hierarchies().v2}{bare.path}")
    try:
        process = spawn(bare)
        with pytest.raises(FailedPrecondition, match=rf"holds processes \({process.pid}\).*parent"):
            open_cgroup(f"{bare.path}/child").create()
    finally:
        bare.kill()
        process.wait(10)
        bare.remove(5)


@pytest.fixture
def device_group() -> Iterator[CgroupV2]:
    if not hierarchies().v2:
        pytest.skip("needs a mounted cgroup version 2 hierarchy")
    path = f"{PARENT}-devices"
    made = CgroupV2(path, hierarchies().v2)
    made.create()
    yield made
    made.kill()
    made.remove(5)


def can_open(group: CgroupV2, path: str, flags: int = os.O_RDONLY) -> bool:
    script = (
        f"import os\ntry: os.open({path!r}, {flags})\nexcept PermissionError: raise SystemExit(1)"
    )
    return spawn(group, script).wait(30) == 0


def test_device_rules_decide_and_are_replaced(device_group: CgroupV2) -> None:
    group = device_group

    def allow(*rules: oci.DeviceRule) -> None:
        group.apply(oci.Resources(devices=[oci.DeviceRule(allow=False), *rules]))

    null = oci.DeviceRule(allow=True, type="c", major=1, minor=3, access="rwm")
    zero = oci.DeviceRule(allow=True, type="c", major=1, minor=5, access="r")
    urandom = oci.DeviceRule(allow=True, type="c", major=1, minor=9, access="r")
    allow(null, zero, urandom)
    assert can_open(group, "/dev/zero")
    assert not can_open(group, "/dev/zero", os.O_RDWR)
    assert not can_open(group, "/dev/full")
    allow(null, oci.DeviceRule(allow=True, type="c", major=1, minor=7), urandom)
    assert not can_open(group, "/dev/zero"), "the program before is gone"
    assert can_open(group, "/dev/full", os.O_RDWR)
    group.apply(oci.Resources(devices=[oci.DeviceRule(allow=True)]))
    assert can_open(group, "/dev/zero", os.O_RDWR)


def test_inside_a_container_the_root_group_is_emptied_first(
    device_group: CgroupV2, tmp_path: Path
) -> None:
    """As in a nested engine: the root that it sees is a group with processes, its own."""
    if not (Path(hierarchies().v2) / "cgroup.controllers").read_text().strip():
        pytest.skip("needs a controller on the version 2 hierarchy")
    script = f"""
import os
from barque.kernel import mount, process
process.unshare(process.CLONE_NEWCGROUP | process.CLONE_NEWNS)
fd = os.open("/", os.O_PATH)
mount.set_attributes(fd, propagation=mount.MS_PRIVATE, recursive=True, what="/")
mount.mount("cgroup2", {str(tmp_path)!r}, "cgroup2", 0, "")
group = CgroupV2("/engine/one", {str(tmp_path)!r})
group.create()
root = {str(tmp_path)!r}
assert open(root + "/cgroup.procs").read() == ""
assert open(root + "/init/cgroup.procs").read().split() == [str(os.getpid())]
assert open(root + "/cgroup.subtree_control").read() == open(root + "/cgroup.controllers").read()
group.join()
assert group.pids() == [os.getpid()]
"""
    assert spawn(device_group, script).wait(30) == 0
