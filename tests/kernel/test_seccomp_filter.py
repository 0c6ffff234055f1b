"""Filters and capabilities as the kernel enforces them, each in a child of its own."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import traceback
from collections.abc import Callable, Iterable

import pytest

from barque.engine.facts import HostFacts
from barque.engine.seccomp import default_profile, parse_profile, resolve_profile
from barque.models import oci
from barque.runtime import capabilities
from barque.runtime.seccomp import compile_filter, load_filter
from support.spec import make_facts

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loads filters, drops capabilities"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86-64"),
]

MOUNT, UNSHARE, KEYCTL, CLONE3, SOCKET, PERSONALITY = 165, 272, 250, 435, 41, 135
CLONE_NEWUSER = 0x10000000


def in_child(check: Callable[[], None]) -> None:
    """Run ``check`` in a forked child, and fail with what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            check()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - told to the parent
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text or f"wait status {status}"


def call(number: int, *args: int) -> int:
    """Make a raw system call: its errno, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(arg) for arg in args))
    return ctypes.get_errno() if result == -1 else 0


def default_filter(bounding: Iterable[str] = capabilities.DEFAULT) -> bytes:
    resolved = resolve_profile(default_profile(), frozenset(bounding), HostFacts.gather())
    assert resolved is not None
    return compile_filter(resolved)


@pytest.mark.parametrize(
    ("name", "number", "args", "expected"),
    [
        ("mount", MOUNT, (0, 0, 0, 0, 0), errno.EPERM),
        ("unshare", UNSHARE, (CLONE_NEWUSER,), errno.EPERM),
        ("keyctl", KEYCTL, (0, 0, 0, 0, 0), errno.EPERM),
        ("clone3", CLONE3, (0, 0), errno.ENOSYS),
        ("clone with a namespace", 56, (CLONE_NEWUSER, 0, 0, 0, 0), errno.EPERM),
        ("bpf", 321, (0, 0, 0), errno.EPERM),
        ("reboot", 169, (0, 0, 0, 0), errno.EPERM),
        ("init_module", 175, (0, 0, 0), errno.EPERM),
        ("io_uring_setup", 425, (0, 0), errno.ENOSYS),
        ("a call that is not there yet", 600, (), errno.ENOSYS),
        ("the same in the x32 form", 600 | 0x40000000, (), errno.ENOSYS),
        ("AF_VSOCK", SOCKET, (40, 1, 0), errno.EPERM),
        ("AF_ALG", SOCKET, (38, 5, 0), errno.EPERM),
        ("AF_INET", SOCKET, (2, 1, 0), 0),
        ("an odd personality", PERSONALITY, (0x0400000,), errno.EPERM),
        ("the usual personality", PERSONALITY, (0,), 0),
        ("getpid", 39, (), 0),
        ("chroot's own error", 161, (0,), errno.EFAULT),
    ],
)
def test_the_default_profile(name: str, number: int, args: tuple[int, ...], expected: int) -> None:
    bpf = default_filter()

    def check() -> None:
        load_filter(bpf, no_new_privileges=False)
        got = call(number, *args)
        assert got == expected, f"{name}: {errno.errorcode.get(got, got)}"

    in_child(check)


def test_ordinary_work_goes_on_under_the_default_profile() -> None:
    bpf = default_filter()

    def check() -> None:
        load_filter(bpf, no_new_privileges=False)
        assert os.listdir("/")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"child")
            os._exit(0)
        assert os.read(reader, 5) == b"child"
        os.waitpid(pid, 0)
        program = os.fork()
        if program == 0:
            os.execv("/bin/true", ["true"])
        assert os.waitpid(program, 0)[1] == 0

    in_child(check)


def test_a_capability_opens_what_it_is_for() -> None:
    bpf = default_filter([*capabilities.DEFAULT, "CAP_SYS_ADMIN"])

    def check() -> None:
        load_filter(bpf, no_new_privileges=False)
        assert call(MOUNT, 0, 0, 0, 0, 0) == errno.EFAULT
        assert call(CLONE3, 0, 0) == errno.EINVAL

    in_child(check)


def test_a_filter_can_be_loaded_without_privileges_if_none_can_be_gained() -> None:
    bpf = default_filter()

    def check() -> None:
        os.setresuid(1000, 1000, 1000)
        load_filter(bpf, no_new_privileges=True)
        assert call(KEYCTL, 0) == errno.EPERM
        with open("/proc/self/status", encoding="ascii") as status:
            assert "NoNewPrivs:\t1\n" in status.read()

    in_child(check)


def test_flags_are_told_to_the_kernel() -> None:
    value = oci.Seccomp(
        default_action="SCMP_ACT_ALLOW",
        flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"],
        syscalls=[oci.Syscall(names=["keyctl"], action="SCMP_ACT_ERRNO", errno_ret=71)],
    )
    bpf = compile_filter(value)

    def check() -> None:
        load_filter(bpf, no_new_privileges=False)
        assert call(KEYCTL, 0) == 71

    in_child(check)


def test_conditions_on_one_argument_are_alternatives() -> None:
    profile = parse_profile(
        b"""{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "socket",
        "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "args": [
        {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"},
        {"index": 0, "value": 17, "op": "SCMP_CMP_EQ"}]}]}"""
    )
    resolved = resolve_profile(profile, (), make_facts())
    assert resolved is not None
    bpf = compile_filter(resolved)

    def check() -> None:
        load_filter(bpf, no_new_privileges=False)
        assert call(SOCKET, 16, 3, 0) == 71
        assert call(SOCKET, 17, 3, 0) == 71
        assert call(SOCKET, 1, 1, 0) == 0

    in_child(check)


def test_capabilities_are_cut_to_what_the_spec_says() -> None:
    names = list(capabilities.DEFAULT)
    wanted = capabilities.mask(names) & capabilities.held().permitted

    def check() -> None:
        capabilities.drop_bounding(capabilities.mask(names))
        capabilities.set_final(oci.Capabilities(effective=names, permitted=names))
        held = capabilities.held()
        assert held == (wanted, wanted, 0)
        assert capabilities.bounding() == wanted

    in_child(check)


def test_what_the_process_lacks_is_left_out() -> None:
    everything = list(capabilities.NAMES)

    def check() -> None:
        capabilities.set_final(oci.Capabilities(permitted=["CAP_CHOWN"]))
        capabilities.set_final(oci.Capabilities(permitted=everything, effective=everything))
        assert capabilities.held() == (1, 1, 0)

    in_child(check)


def test_ambient_capabilities_reach_a_program_of_another_user() -> None:
    kill = ["CAP_KILL"]

    def check() -> None:
        capabilities.set_final(
            oci.Capabilities(permitted=kill, effective=kill, inheritable=kill, ambient=kill)
        )
        with open("/proc/self/status", encoding="ascii") as status:
            assert "CapAmb:\t0000000000000020\n" in status.read()

    in_child(check)


def test_setting_capabilities_needs_no_descriptor() -> None:
    """After pivot_root there may be no /proc: nothing here may open a file."""
    capabilities.last_cap()
    bpf = default_filter()
    names = list(capabilities.DEFAULT)

    def check() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        capabilities.drop_bounding(capabilities.mask(names))
        load_filter(bpf, no_new_privileges=False)
        capabilities.set_final(oci.Capabilities(permitted=names, effective=names))

    in_child(check)
