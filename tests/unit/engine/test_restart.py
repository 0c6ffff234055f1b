from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from barque.engine.restart import (
    FIRST_WAIT_S,
    GOOD_RUN_S,
    LONGEST_WAIT_S,
    Backoff,
    parse_policy,
    wants_restart,
    wants_start_with_engine,
)
from barque.errors import InvalidArgument
from barque.models.api import HostConfig, RestartPolicy
from barque.models.container import ContainerState
from support.spec import make_record


def test_waits_double_up_to_a_minute() -> None:
    backoff = Backoff()
    waits = [backoff.next_wait(0.5) for _ in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-2:] == [LONGEST_WAIT_S, LONGEST_WAIT_S]


@given(st.lists(st.floats(0, 30), max_size=30))
def test_a_good_run_sets_the_wait_back(runs: list[float]) -> None:
    backoff = Backoff()
    for run_s in runs:
        before = backoff.wait_s
        wait_s = backoff.next_wait(run_s)
        if run_s >= GOOD_RUN_S or not before:
            assert wait_s == FIRST_WAIT_S
        else:
            assert wait_s == min(2 * before, LONGEST_WAIT_S)


def test_on_failure_counts() -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    assert wants_restart(policy, 1, 1)
    assert not wants_restart(policy, 1, 2)
    assert not wants_restart(policy, 0, 0)
    assert wants_restart(RestartPolicy(name="on-failure"), 1, 1000)


def test_unknown_policy() -> None:
    with pytest.raises(InvalidArgument, match="unknown policy 'sometimes'"):
        parse_policy(RestartPolicy(name="sometimes"))


@pytest.mark.parametrize(
    ("policy", "code", "stopped", "wanted"),
    [
        ("always", 0, True, True),
        ("unless-stopped", 0, False, True),
        ("unless-stopped", 0, True, False),
        ("on-failure", 0, False, False),
        ("on-failure", 255, False, True),
        ("no", 255, False, False),
    ],
)
def test_start_of_the_engine(policy: str, code: int, stopped: bool, wanted: bool) -> None:
    record = replace(
        make_record(host=HostConfig(restart_policy=RestartPolicy(name=policy))),
        state=ContainerState(exit_code=code),
        started_once=True,
        manually_stopped=stopped,
    )
    assert wants_start_with_engine(record) is wanted
    assert not wants_start_with_engine(replace(record, started_once=False))
