from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.engine.seccomp import default_profile, resolve_profile
from barque.models import oci
from barque.runtime import capabilities
from barque.runtime.branch import Branch
from barque.runtime.seccomp import compile_filter
from barque.runtime.verdicts import Call, permits
from support.spec import make_facts

CLONE, SETSID, MOUNT, WRITE, IOCTL, PRLIMIT64 = 56, 112, 165, 1, 16, 302
CLONE_PARENT, CLONE_NEWUSER, TIOCSCTTY = 0x8000, 0x10000000, 0x540E
OPERATORS = {
    "SCMP_CMP_NE": lambda a, b, c: a != b,
    "SCMP_CMP_LT": lambda a, b, c: a < b,
    "SCMP_CMP_LE": lambda a, b, c: a <= b,
    "SCMP_CMP_EQ": lambda a, b, c: a == b,
    "SCMP_CMP_GE": lambda a, b, c: a >= b,
    "SCMP_CMP_GT": lambda a, b, c: a > b,
    "SCMP_CMP_MASKED_EQ": lambda a, b, c: a & b == c,
}
WORDS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.sampled_from([2**32, 2**63]))


def compiled(action: str, *names: str, default: str = "SCMP_ACT_ALLOW") -> bytes:
    entry = oci.Syscall(names=list(names), action=action)
    return compile_filter(oci.Seccomp(default_action=default, syscalls=[entry]))


def says(code: bytes, number: int, *arguments: int) -> bool:
    return permits(code, Call(number, arguments), "x86_64")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call(CLONE, (CLONE_PARENT,)), True),
        (Call(CLONE, (CLONE_NEWUSER,)), False),
        (Call(435), False),
        (Call(SETSID), True),
        (Call(IOCTL, (0, TIOCSCTTY)), True),
        (Call(MOUNT), False),
        (Call(600), False),
        (Call(41, (40, 1, 0)), False),
        (Call(41, (2, 1, 0)), True),
    ],
)
def test_the_default_profile(call: Call, expected: bool) -> None:
    resolved = resolve_profile(default_profile(), frozenset(capabilities.DEFAULT), make_facts())
    assert resolved is not None
    assert permits(compile_filter(resolved), call, "x86_64") == expected


@given(
    operator=st.sampled_from(sorted(OPERATORS)),
    index=st.integers(0, 5),
    value=WORDS,
    second=WORDS,
    given_=st.lists(WORDS, min_size=6, max_size=6),
)
@settings(max_examples=60)
def test_conditions(operator: str, index: int, value: int, second: int, given_: list[int]) -> None:
    if operator == "SCMP_CMP_MASKED_EQ":
        second &= value
    condition = oci.SeccompArg(index=index, value=value, value_two=second, op=operator)
    entry = oci.Syscall(names=["ioctl"], action="SCMP_ACT_ERRNO", args=[condition])
    code = compile_filter(oci.Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=[entry]))
    holds = OPERATORS[operator](given_[index], value, second)
    assert says(code, IOCTL, *given_) == (not holds)
    assert says(code, WRITE, *given_)


@pytest.mark.parametrize("action", ["ERRNO", "KILL", "KILL_PROCESS", "TRAP", "TRACE", "NOTIFY"])
def test_what_is_not_let_through_at_once_is_not_permitted(action: str) -> None:
    code = compiled(f"SCMP_ACT_{action}", "setsid")
    assert not says(code, SETSID)
    assert says(code, WRITE)


def test_what_is_logged_is_permitted() -> None:
    assert says(compiled("SCMP_ACT_LOG", "setsid", default="SCMP_ACT_ERRNO"), SETSID)


def test_flags_in_front_have_no_effect() -> None:
    profile = oci.Seccomp(default_action="SCMP_ACT_ALLOW", flags=["SECCOMP_FILTER_FLAG_LOG"])
    assert says(compile_filter(profile), SETSID)


def test_what_looks_at_an_unknown_argument_is_not_permitted() -> None:
    condition = oci.SeccompArg(index=1, value=7, op="SCMP_CMP_EQ")
    entry = oci.Syscall(names=["write"], action="SCMP_ACT_ERRNO", args=[condition])
    code = compile_filter(oci.Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=[entry]))
    assert not says(code, WRITE, 3)
    assert says(code, WRITE, 3, 8)
    assert says(code, SETSID)


def test_no_filter_permits_all() -> None:
    assert says(b"", MOUNT)


def test_other_machines_are_told_apart() -> None:
    code = compiled("SCMP_ACT_ALLOW", "setsid", default="SCMP_ACT_ERRNO")
    assert not permits(code, Call(SETSID), "aarch64")
    assert not permits(code, Call(SETSID), "of another world")


@pytest.mark.parametrize("operation", [0x30, 0x61, 0x87, 0xFFFF])
def test_unknown_instructions_permit_nothing(operation: int) -> None:
    allow = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    assert says(allow, SETSID)
    assert not says(struct.pack("=HBBI", operation, 0, 0, 0) + allow, SETSID)


def test_a_program_without_end_permits_nothing() -> None:
    assert not says(struct.pack("=HBBI", 0x05, 0, 0, 2**32 - 1), SETSID)


@pytest.mark.parametrize(
    ("forbidden", "terminal", "limited", "fits"),
    [
        ("mount", True, True, True),
        ("clone", False, False, False),
        ("setsid", False, False, False),
        ("write", False, False, False),
        ("ioctl", False, True, True),
        ("ioctl", True, False, False),
        ("prlimit64", True, False, True),
        ("prlimit64", False, True, False),
        ("read", True, False, True),
        ("read", False, True, False),
    ],
)
def test_what_a_branch_needs(forbidden: str, terminal: bool, limited: bool, fits: bool) -> None:
    limits = [oci.Rlimit(type="RLIMIT_NPROC", soft=1, hard=1)] if limited else []
    branch = Branch.of(oci.Process(terminal=terminal, rlimits=limits))
    code = compiled("SCMP_ACT_ERRNO", forbidden)
    assert branch.fits(code, 3) == fits
    assert branch.fits(b"", 3)
