from __future__ import annotations

import pytest

from barque.errors import InvalidArgument
from barque.models import oci
from barque.runtime.attributes import parse_list, plan_attributes


def test_nothing_asked_nothing_done() -> None:
    assert not any(plan_attributes(oci.Process(), oci.Linux()))


def test_numbers_for_the_kernel() -> None:
    process = oci.Process(
        scheduler=oci.Scheduler(
            policy="SCHED_FIFO", priority=3, flags=["SCHED_FLAG_RESET_ON_FORK"]
        ),
        io_priority=oci.IoPriority(class_="IOPRIO_CLASS_BE", priority=4),
    )
    linux = oci.Linux(
        personality=oci.Personality(domain="LINUX32"),
        memory_policy=oci.MemoryPolicy(
            mode="MPOL_BIND", nodes="0-1", flags=["MPOL_F_STATIC_NODES"]
        ),
    )
    planned = plan_attributes(process, linux)
    assert planned.scheduler == (1, 1, 0, 3, 0, 0, 0)
    assert planned.io_priority == (2, 4)
    assert planned.personality == 8
    assert planned.memory_policy == (2 | 1 << 15, [0, 1])


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (oci.Scheduler(policy="SCHED_NEW"), "unknown scheduler policy"),
        (oci.Scheduler(policy="SCHED_OTHER", nice=20), "not in -20 to 19"),
        (oci.Scheduler(policy="SCHED_OTHER", priority=1), "SCHED_FIFO and SCHED_RR only"),
        (oci.Scheduler(policy="SCHED_RR"), "not in 1 to 99"),
        (oci.Scheduler(policy="SCHED_BATCH", runtime=5), "SCHED_DEADLINE only"),
        (oci.Scheduler(policy="SCHED_OTHER", flags=["FAST"]), "unknown scheduler flag"),
    ],
)
def test_schedulers_that_cannot_be(scheduler: oci.Scheduler, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        plan_attributes(oci.Process(scheduler=scheduler), None)


def test_lists() -> None:
    assert parse_list("0-2, 7", "cpus") == [0, 1, 2, 7]
    for text in ("", "a", "3-1", "0-99999", "1-", "-1"):
        with pytest.raises(InvalidArgument, match="cpus"):
            parse_list(text, "cpus")
