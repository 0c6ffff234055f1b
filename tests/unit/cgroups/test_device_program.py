"""The device program: run here by an interpreter, compared with the rules read one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cgroups.device_program import device_program
from barque.errors import InvalidArgument
from barque.kernel.bpf import Instruction
from barque.models import oci
from barque.runtime.devices import ALWAYS_ALLOWED

KINDS = {"m": 1, "r": 2, "w": 4}


def run(program: list[Instruction], kind: str, access: str, major: int, minor: int) -> bool:
    """Interpret ``program`` as the kernel would; jumps may only lead forward and inside."""
    asked = sum(KINDS[letter] for letter in access) << 16 | (1 if kind == "b" else 2)
    context = {0: asked, 4: major, 8: minor}
    registers = {1: -1}
    at = 0
    while True:
        code, destination, source, offset, immediate = program[at]
        at += 1
        assert offset >= 0
        match code:
            case 0x61:
                registers[destination] = context[offset]
            case 0xB7:
                registers[destination] = immediate
            case 0xBF:
                registers[destination] = registers[source]
            case 0x57:
                registers[destination] &= immediate
            case 0x77:
                registers[destination] >>= immediate
            case 0x05:
                at += offset
            case 0x55:
                at += offset * (registers[destination] != immediate)
            case 0x45:
                at += offset * bool(registers[destination] & immediate)
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def decide(rules: list[oci.DeviceRule], kind: str, access: str, major: int, minor: int) -> bool:
    """The specification: in order, the last rule that matches decides, for each access."""
    allowed = dict.fromkeys("mrw", False)
    for rule in rules:
        if (
            rule.type in {"a", kind}
            and rule.major in {None, -1, major}
            and rule.minor in {None, -1, minor}
        ):
            allowed |= dict.fromkeys(rule.access, rule.allow)
    return all(allowed[letter] for letter in access)


NUMBERS = st.one_of(st.none(), st.integers(-1, 3))
ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
RULES = st.builds(
    oci.DeviceRule,
    allow=st.booleans(),
    type=st.sampled_from("abc"),
    major=NUMBERS,
    minor=NUMBERS,
    access=ACCESS,
)


@given(
    st.lists(RULES, max_size=12),
    st.sampled_from("bc"),
    ACCESS,
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_the_last_rule_that_matches_decides(
    rules: list[oci.DeviceRule], kind: str, access: str, major: int, minor: int
) -> None:
    program = device_program(rules)
    assert run(program, kind, access, major, minor) == decide(rules, kind, access, major, minor)


def test_a_container_as_docker_makes_it() -> None:
    program = device_program([oci.DeviceRule(allow=False), *ALWAYS_ALLOWED])
    assert run(program, "c", "rw", 1, 3)
    assert run(program, "b", "m", 8, 0), "any node may be made"
    assert not run(program, "b", "r", 8, 0), "and none of the host's disks be read"
    assert not run(program, "c", "r", 10, 229)


def test_nothing_follows_a_rule_about_everything() -> None:
    """The verifier refuses instructions that are never reached."""
    program = device_program([oci.DeviceRule(allow=False), oci.DeviceRule(allow=True)])
    assert [instruction.code for instruction in program[-2:]] == [0xB7, 0x95]
    assert program[-2].immediate == 1
    assert sum(instruction.code == 0x95 for instruction in program) == 1


@pytest.mark.parametrize(
    "rule",
    [
        oci.DeviceRule(allow=True, type="u"),
        oci.DeviceRule(allow=True, access="x"),
        oci.DeviceRule(allow=True, type="c", major=1 << 31),
    ],
)
def test_rules_that_are_none(rule: oci.DeviceRule) -> None:
    with pytest.raises(InvalidArgument, match="device rule"):
        device_program([rule])
