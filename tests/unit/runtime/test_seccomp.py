from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.models import oci
from barque.runtime import seccomp

X86_64, I386, X32 = 0xC000003E, 0x40000003, 0x4000003E
X32_BIT = 0x40000000
ENOSYS = 0x00050000 | errno.ENOSYS
ALLOW = 0x7FFF0000


def run_bpf(program: bytes, arch: int, number: int) -> int | None:
    """Interpret the few instructions of a prologue; None when it runs off its end."""
    code: list[tuple[int, int, int, int]] = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while at < len(code):
        operation, true, false, k = code[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = {0: number, 4: arch}[k]
            case 0x05:
                at += k
            case 0x15:
                at += true if accumulator == k else false
            case 0x25:
                at += true if accumulator > k else false
            case 0x45:
                at += true if accumulator & k else false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"unexpected instruction {operation:#x}")
    assert at == len(code), "a jump must end exactly at the filter"
    return None


@given(
    newest=st.dictionaries(
        st.sampled_from([X86_64, I386, 0xC00000B7]), st.integers(min_value=1, max_value=1000)
    ),
    x32=st.none() | st.integers(min_value=1, max_value=1000),
    arch=st.sampled_from([X86_64, I386, 0xC00000B7, 0x1234]),
    number=st.integers(min_value=0, max_value=1100),
    bit=st.booleans(),
)
def test_the_prologue_answers_enosys_above_the_newest_known(
    newest: dict[int, int], x32: int | None, arch: int, number: int, bit: bool
) -> None:
    if X86_64 in newest and x32 is not None:
        newest[X32] = x32 | X32_BIT
    nr = number | X32_BIT if bit and arch == X86_64 else number
    expected = None
    if arch == X86_64 and bit:
        if X86_64 in newest and x32 is not None and number > x32:
            expected = ENOSYS
    elif arch in newest and number > newest[arch]:
        expected = ENOSYS
    assert run_bpf(seccomp.enosys_prologue(newest), arch, nr) == expected


def profile(*syscalls: oci.Syscall, default: str = "SCMP_ACT_ERRNO") -> oci.Seccomp:
    return oci.Seccomp(default_action=default, syscalls=list(syscalls))


def test_rules_equal_to_the_default_are_left_out() -> None:
    rule = oci.Syscall(names=["mount"], action="SCMP_ACT_ERRNO", errno_ret=1)
    assert seccomp.plan_rules(profile(rule)) == []


def test_conditions_on_different_arguments_are_anded() -> None:
    arguments = [oci.SeccompArg(index=0, value=1), oci.SeccompArg(index=1, value=2)]
    rule = oci.Syscall(names=["socket"], action="SCMP_ACT_ALLOW", args=arguments)
    assert [r.conditions for r in seccomp.plan_rules(profile(rule))] == [
        ((0, 4, 1, 0), (1, 4, 2, 0))
    ]


def test_conditions_on_one_argument_are_ored() -> None:
    arguments = [oci.SeccompArg(index=0, value=1), oci.SeccompArg(index=0, value=2)]
    rule = oci.Syscall(names=["socket"], action="SCMP_ACT_ALLOW", args=arguments)
    assert [r.conditions for r in seccomp.plan_rules(profile(rule))] == [
        ((0, 4, 1, 0),),
        ((0, 4, 2, 0),),
    ]


@pytest.mark.parametrize(
    "rule",
    [
        oci.Syscall(names=["read"], action="SCMP_ACT_DANCE"),
        oci.Syscall(names=["read"], action="SCMP_ACT_ALLOW", errno_ret=1),
        oci.Syscall(names=[""], action="SCMP_ACT_ALLOW"),
        oci.Syscall(
            names=["read"],
            action="SCMP_ACT_ALLOW",
            args=[oci.SeccompArg(index=6, value=0)],
        ),
        oci.Syscall(
            names=["read"],
            action="SCMP_ACT_ALLOW",
            args=[oci.SeccompArg(index=0, value=0, op="SCMP_CMP_ABOUT")],
        ),
    ],
)
def test_bad_rules_are_refused(rule: oci.Syscall) -> None:
    with pytest.raises(InvalidArgument, match="seccomp profile: "):
        seccomp.plan_rules(profile(rule))


def test_a_listener_is_for_some_calls_not_for_all() -> None:
    assert seccomp.notifies(profile(oci.Syscall(["mkdir"], "SCMP_ACT_NOTIFY")))
    assert not seccomp.notifies(profile(oci.Syscall(["mkdir"], "SCMP_ACT_ALLOW")))
    with pytest.raises(InvalidArgument, match="default action"):
        seccomp.plan_rules(profile(default="SCMP_ACT_NOTIFY"))


def test_flags() -> None:
    assert seccomp.plan_flags(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]) == 2
    with pytest.raises(InvalidArgument, match="SECCOMP_FILTER_FLAG_FAST"):
        seccomp.plan_flags(["SECCOMP_FILTER_FLAG_FAST"])


def test_compiling_skips_names_that_libseccomp_does_not_know() -> None:
    known = oci.Syscall(names=["read"], action="SCMP_ACT_ALLOW")
    both = oci.Syscall(names=["read", "levitate"], action="SCMP_ACT_ALLOW")
    assert seccomp.compile_filter(profile(known)) == seccomp.compile_filter(profile(both))


def test_a_permissive_default_gets_no_prologue() -> None:
    rule = oci.Syscall(names=["mount"], action="SCMP_ACT_ERRNO")
    strict, lax = profile(rule, default="SCMP_ACT_KILL"), profile(rule, default="SCMP_ACT_ALLOW")
    enosys = struct.pack("=HBBI", 0x06, 0, 0, ENOSYS)
    assert enosys in seccomp.compile_filter(strict)
    assert enosys not in seccomp.compile_filter(lax)


def test_flags_stand_in_front() -> None:
    value = profile(oci.Syscall(names=["read"], action="SCMP_ACT_ALLOW"))
    plain = seccomp.compile_filter(value)
    value.flags = ["SECCOMP_FILTER_FLAG_LOG"]
    assert seccomp.compile_filter(value) == struct.pack("=HBBI", 0, 0, 0, 2) + plain


def test_an_unknown_architecture_is_refused() -> None:
    value = profile()
    value.architectures = ["SCMP_ARCH_PDP11"]
    with pytest.raises(InvalidArgument, match="SCMP_ARCH_PDP11"):
        seccomp.compile_filter(value)


def test_too_large_a_filter_is_refused() -> None:
    rule = oci.Syscall(
        names=["ioctl"],
        action="SCMP_ACT_ALLOW",
        args=[oci.SeccompArg(index=1, value=value << 33 | value) for value in range(2000)],
    )
    with pytest.raises(InvalidArgument, match="the kernel takes 4096"):
        seccomp.compile_filter(profile(rule))
