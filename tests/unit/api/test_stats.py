"""The document that ContainerStats answers with, for both cgroup versions."""

from __future__ import annotations

from typing import Any

from barque.api.stats import render
from barque.cgroups import usage as u
from barque.engine.stats import Sample, parse_networks

CPU = u.CpuUsage(
    total_ns=30, user_ns=20, system_ns=10, periods=3, throttled_periods=2, throttled_ns=7
)
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:  100       1    0    0    0     0          0         0     100       1    0    0    0     0
  eth0: 1010      11    1    2    0     0          0         0      84       2    3    4    0     0
 tunl0:    0       0    0    0    0     0          0         0       0       0    0    0    0     0
"""


def sample(usage: u.Usage) -> Sample:
    networks = parse_networks(NET_DEV)
    return Sample("c" * 64, "box", 10**18, usage, 5_000, 2, 1 << 30, networks)


def document(usage: u.Usage) -> dict[str, Any]:
    return render(sample(usage), None)


def test_version_1() -> None:
    shown = document(
        u.Usage(
            version=1,
            cpu=CPU._replace(per_cpu_ns=[10, 20]),
            memory=u.MemoryUsage(
                100, u.UNLIMITED, 4, {"cache": 5, "total_inactive_file": 6, "new": 1}, 200
            ),
            pids=u.PidsUsage(3, u.UNLIMITED),
            block_io={"io_service_bytes_recursive": u.parse_blkio("8:0 Read 4096\nTotal 4096")},
        )
    )
    assert shown["read"] == "2001-09-09T01:46:40.000000000Z"
    assert shown["preread"] == "0001-01-01T00:00:00Z"
    assert shown["name"] == "/box"
    assert shown["pids_stats"] == {"current": 3}
    assert shown["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 30,
            "percpu_usage": [10, 20],
            "usage_in_kernelmode": 10,
            "usage_in_usermode": 20,
        },
        "system_cpu_usage": 5_000,
        "online_cpus": 2,
        "throttling_data": {"periods": 3, "throttled_periods": 2, "throttled_time": 7},
    }
    memory = shown["memory_stats"]
    assert (memory["usage"], memory["max_usage"], memory["failcnt"]) == (100, 200, 4)
    assert memory["limit"] == 1 << 30, "the machine's, without a limit"
    assert memory["stats"]["cache"] == 5
    assert memory["stats"]["total_inactive_file"] == 6
    assert len(memory["stats"]) == 32
    assert shown["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 4096}
    ]
    assert shown["networks"] == {
        "eth0": {
            "rx_bytes": 1010,
            "rx_packets": 11,
            "rx_errors": 1,
            "rx_dropped": 2,
            "tx_bytes": 84,
            "tx_packets": 2,
            "tx_errors": 3,
            "tx_dropped": 4,
        }
    }


def test_version_2() -> None:
    io_stat = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n(unknown)"
    shown = document(
        u.Usage(
            version=2,
            cpu=CPU,
            memory=u.MemoryUsage(
                100, 50, 0, {"anon": 5, "workingset_refault_anon": 1, "workingset_refault_file": 2}
            ),
            pids=u.PidsUsage(3, u.UNLIMITED),
            block_io={"io_service_bytes_recursive": u.parse_io_stat(io_stat)},
        )
    )
    assert shown["pids_stats"] == {"current": 3, "limit": 2**64 - 1}
    assert "percpu_usage" not in shown["cpu_stats"]["cpu_usage"]
    memory = shown["memory_stats"]
    assert (memory["usage"], memory["limit"]) == (100, 50)
    assert "max_usage" not in memory
    assert memory["stats"]["anon"] == 5
    assert memory["stats"]["workingset_refault"] == 3
    assert len(memory["stats"]) == 31
    assert shown["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "read", "value": 1},
        {"major": 8, "minor": 0, "op": "write", "value": 2},
    ]
    assert shown["blkio_stats"]["io_serviced_recursive"] is None


def test_a_reading_beside_the_one_before() -> None:
    now = sample(u.Usage(2, CPU, None, None, {}))
    before = now._replace(time_ns=10**18 - 10**9, system_cpu_ns=1)
    shown = render(now, before)
    assert shown["preread"] == "2001-09-09T01:46:39.000000000Z"
    assert shown["precpu_stats"]["system_cpu_usage"] == 1
    assert shown["memory_stats"] == {}


def test_a_container_that_does_not_run() -> None:
    shown = render(Sample("c" * 64, "box"), None)
    assert shown["read"] == "0001-01-01T00:00:00Z"
    assert shown["cpu_stats"] == shown["precpu_stats"]
    assert "system_cpu_usage" not in shown["cpu_stats"]
    assert set(shown["blkio_stats"].values()) == {None}
    assert "networks" not in shown
