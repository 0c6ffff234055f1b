"""Hooks: how long they may take, and what is refused."""

from __future__ import annotations

import pytest

from barque.errors import InvalidArgument
from barque.models import oci
from barque.runtime.command.parser import parse_duration
from barque.runtime.hooks import allowance_s, check_hooks


def test_a_start_waits_as_long_as_its_hooks_may_take() -> None:
    assert allowance_s([]) == 0
    hooks = [oci.Hook(path="/a", timeout=300), oci.Hook(path="/b"), oci.Hook(path="/c", timeout=1)]
    assert allowance_s(hooks) == 300 + 120 + 1


@pytest.mark.parametrize("hook", [oci.Hook(path="a"), oci.Hook(path="/a", timeout=0)])
def test_what_can_never_be_run(hook: oci.Hook) -> None:
    with pytest.raises(InvalidArgument):
        check_hooks(oci.Hooks(poststop=[hook]))


@pytest.mark.parametrize(
    ("text", "duration_s"), [("5s", 5), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), (".5s", 0.5)]
)
def test_durations(text: str, duration_s: float) -> None:
    assert parse_duration(text) == pytest.approx(duration_s)
