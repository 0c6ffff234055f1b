from __future__ import annotations

from typing import Any

import pytest

from barque.engine.facts import CgroupFacts
from barque.engine.limits import check_limits
from barque.errors import InvalidArgument
from barque.models.api import HostConfig, ThrottleDevice
from support.spec import make_facts

MIB = 1 << 20


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"memory": 4 * MIB}, "Minimum memory limit allowed is 6MB"),
        ({"memory": -1}, "Minimum memory limit allowed is 6MB"),
        (
            {"memory": 16 * MIB, "memory_swap": 8 * MIB},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            {"memory_swap": 8 * MIB},
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            {"memory_swappiness": 101},
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        ({"memory_reservation": MIB}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory": 8 * MIB, "memory_reservation": 9 * MIB},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            {"nano_cpus": 5 * 10**9},
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            {"nano_cpus": 9 * 10**6},
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            {"nano_cpus": -1},
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            {"nano_cpus": 10**9, "cpu_period": 1000},
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            {"nano_cpus": 10**9, "cpu_quota": 1000},
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        ({"cpu_shares": -1}, "invalid CPU shares (-1): value must be a positive integer"),
        (
            {"cpu_period": 999},
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        ({"cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (
            {"cpu_realtime_period": 1000, "cpu_realtime_runtime": 2000},
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
        (
            {"cpuset_cpus": "0-7"},
            "Requested CPUs are not available - requested 0-7, available: 0-3",
        ),
        ({"cpuset_cpus": "zero"}, "Invalid value zero for cpuset cpus"),
        (
            {"cpuset_mems": "1"},
            "Requested memory nodes are not available - requested 1, available: 0",
        ),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
    ],
)
def test_what_can_never_be(limits: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_limits(HostConfig(**limits), make_facts())
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"memory": 6 * MIB, "memory_swap": -1},
        {"memory": 6 * MIB, "memory_swap": 6 * MIB, "memory_reservation": 6 * MIB},
        {"nano_cpus": 4 * 10**9},
        {"cpu_quota": -1, "cpu_period": 100000, "cpu_shares": 2},
        {"cpuset_cpus": "0,2-3", "cpuset_mems": "0"},
        {"pids_limit": -1},
    ],
)
def test_what_may_be_stays_as_it_is(limits: dict[str, Any]) -> None:
    host = HostConfig(**limits)
    assert check_limits(host, make_facts()) == []
    assert host == HostConfig(**limits)


def test_clients_say_minus_one_for_no_swappiness() -> None:
    host = HostConfig(memory_swappiness=-1)
    assert check_limits(host, make_facts()) == []
    assert host.memory_swappiness is None


def test_a_running_container_may_get_a_swap_limit_alone() -> None:
    assert check_limits(HostConfig(memory_swap=8 * MIB), make_facts(), update=True) == []


def test_what_the_kernel_lacks_is_taken_out_with_a_warning() -> None:
    nothing = CgroupFacts(
        memory_limit=False,
        memory_reservation=False,
        memory_swappiness=False,
        swap_limit=False,
        oom_kill_disable=False,
        cpu_shares=False,
        cpu_cfs=False,
        cpuset=False,
        pids=False,
        blkio_weight=False,
        blkio_weight_device=False,
        blkio_read_bps=False,
        blkio_write_bps=False,
        blkio_read_iops=False,
        blkio_write_iops=False,
    )
    host = HostConfig(
        memory=8 * MIB,
        memory_reservation=8 * MIB,
        memory_swappiness=10,
        oom_kill_disable=True,
        cpu_shares=5,
        cpu_quota=5000,
        cpuset_cpus="0",
        pids_limit=10,
        blkio_weight=100,
        blkio_device_read_i_ops=[ThrottleDevice(path="/dev/vda", rate=1)],
    )
    warnings = check_limits(host, make_facts(cgroups=nothing))
    assert len(warnings) == 10
    assert (
        "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. "
        "Block I/O IOPS read limit discarded."
    ) in warnings
    assert host == HostConfig(memory_swap=-1, blkio_device_read_i_ops=[])


def test_switching_the_oom_killer_off_without_a_limit_warns() -> None:
    (warning,) = check_limits(HostConfig(oom_kill_disable=True), make_facts())
    assert warning.startswith("OOM killer is disabled for the container")
