"""Being born into namespaces: what becomes of a joining that does not get on."""

from __future__ import annotations

import os
import time

import pytest

from barque.errors import FailedPrecondition
from barque.kernel import process as kp
from barque.runtime import outside


def children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return set(file.read().split())


def test_a_joining_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a kernel that is stuck with a namespace: the caller waits no longer than it says."""
    monkeypatch.setattr(outside, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(kp, "setns", lambda *_: time.sleep(100))
    before = children()
    with open("/proc/self/ns/user", "rb") as namespace:
        begin = time.monotonic()
        with pytest.raises(FailedPrecondition, match=r"not done within 0\.2 s"):
            outside.clone_inside(0, {"user": namespace.fileno()})
        assert time.monotonic() - begin < 10
    assert children() == before


def test_a_joining_that_is_refused_says_why() -> None:
    before = children()
    with (
        open("/proc/self/ns/user", "rb") as own,  # nobody may join the one that he is in
        pytest.raises(FailedPrecondition, match=r"joining namespaces: .*invalid argument"),
    ):
        outside.clone_inside(0, {"user": own.fileno()})
    assert children() == before
