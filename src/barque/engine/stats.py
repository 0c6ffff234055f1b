"""What a container uses, read at one moment.

Source: proc(5) for /proc/stat and /proc/PID/net/dev; the control group for the rest.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from barque.cgroups.contract import Cgroup
from barque.cgroups.usage import Usage
from barque.errors import BarqueError
from barque.models.container import ContainerRecord

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_BUSY_FIELDS = 7  # user nice system idle iowait irq softirq, as dockerd adds them up
_NOT_A_NETWORK = frozenset(
    "lo tunl0 gre0 gretap0 erspan0 ip_vti0 ip6_vti0 sit0 ip6tnl0 ip6gre0".split()
)
"""What the kernel itself makes in every network namespace."""


class InterfaceUsage(NamedTuple):
    """Counters of one network interface, in the order of /proc/net/dev."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class Sample(NamedTuple):
    """One reading. ``usage`` is None while the container does not run: then nothing else counts.

    ``system_cpu_ns`` is the time of all processors of the host together, idle or not.
    ``networks`` are the interfaces of a network namespace that is not the host's.
    """

    id: str
    name: str
    time_ns: int = 0
    usage: Usage | None = None
    system_cpu_ns: int = 0
    cpus: int = 0
    host_memory_bytes: int = 0
    networks: dict[str, InterfaceUsage] = {}  # noqa: RUF012 - never changed


def take_sample(record: ContainerRecord, cgroup: Cgroup) -> Sample:
    """Read what the container uses now. Blocks for a millisecond: call it from a thread.

    A container that has ended, be it while it is read, uses nothing.
    """
    state = record.state
    nothing = Sample(record.id, record.name)
    if not state.running or state.restarting:
        return nothing
    try:
        usage = cgroup.usage()
        networks = read_networks(state.pid)
        if not cgroup.exists():
            return nothing
    except (BarqueError, OSError):
        return nothing
    return Sample(
        id=record.id,
        name=record.name,
        time_ns=time.time_ns(),
        usage=usage,
        system_cpu_ns=_read_system_cpu(),
        cpus=len(os.sched_getaffinity(0)),
        host_memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        networks=networks,
    )


def read_networks(pid: int) -> dict[str, InterfaceUsage]:
    """Return the interfaces in the network namespace of ``pid``, none if it is the host's.

    Raises OSError if there is no such process.
    """
    if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
        return {}
    with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
        return parse_networks(file.read())


def parse_networks(text: str) -> dict[str, InterfaceUsage]:
    """Parse /proc/net/dev, leaving out what is not a network of the container's."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, counters = line.partition(":")
        if name.strip() not in _NOT_A_NETWORK:
            numbers = [int(word) for word in counters.split()]
            found[name.strip()] = InterfaceUsage(*numbers[:4], *numbers[8:12])
    return found


def _read_system_cpu() -> int:
    with open("/proc/stat", encoding="ascii") as file:
        words = file.readline().split()
    return sum(int(word) for word in words[1 : 1 + _BUSY_FIELDS]) * _TICK_NS
