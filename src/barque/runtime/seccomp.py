"""System call filters: an OCI profile compiled to BPF, and BPF loaded into the kernel.

Two moments, two halves. ``compile_filter`` runs once per profile, in the engine or a command,
with libseccomp. ``load_filter`` runs in every container between fork and execve: it imports
nothing, allocates a few bytes and calls the kernel once.

A compiled filter is a plain array of ``struct sock_filter``. Flags that the kernel must be
told when it is loaded stand in it as a first instruction ``ld #flags``, which has no effect.

In front of libseccomp's program stands a prologue of ours: a system call that is newer than
every one that the profile names gets ENOSYS rather than the profile's default error. A C
library that tries a new call then falls back to the old one, where EPERM would make it give
up. The same was found and fixed in runc (libcontainer/seccomp/patchbpf).

Source: seccomp(2), seccomp_rule_add(3), seccomp_export_bpf(3), runtime-spec config-linux.md.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel.libc import check, function, syscall
from barque.models import oci

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_NOTIFY = "SCMP_ACT_NOTIFY"
_FLAG_NEW_LISTENER, _FLAG_WAIT_KILLABLE = 8, 32
_WITH_DATA = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_PERMISSIVE = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"})
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # the loading process has one thread
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": _FLAG_WAIT_KILLABLE,  # Linux 5.19
}
ACTIONS, OPERATORS, FLAGS = list(_ACTIONS), list(_OPERATORS), list(_FLAGS)
"""The names that profiles may use."""

_CTL_OPTIMIZE = 8
_OPTIMIZE_FROM = 33
"""Rules from which libseccomp builds a binary tree. Below, a list is as fast, and versions up
to 2.5.4 go wrong on a tree of no rules."""

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, k
_LD_W_ABS, _LD_IMM, _JA, _JEQ, _JGT, _JSET, _RET = 0x20, 0x00, 0x05, 0x15, 0x25, 0x45, 0x06
_OFFSET_NR, _OFFSET_ARCH = 0, 4  # struct seccomp_data
_RET_ENOSYS = _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
_AUDIT_ARCH_X86_64 = 0xC000003E
_ARCH_X32 = 0x4000003E
_X32_BIT = 0x40000000
"""x32 calls come as AUDIT_ARCH_X86_64 with this bit in the number."""
_BPF_MAXINSNS = 4096


class _ArgCmp(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class Rule(NamedTuple):
    """One libseccomp rule: conditions are AND-ed (argument, operator, value, second value)."""

    name: str
    action: int
    conditions: tuple[tuple[int, int, int, int], ...]


def _parse_action(action: str, errno_ret: int | None) -> int:
    """Convert a SCMP_ACT_* name and its number (EPERM where none is given) to libseccomp's."""
    code = _ACTIONS.get(action)
    if code is None:
        raise InvalidArgument(f'seccomp profile: unknown action "{action}"')
    if action not in _WITH_DATA:
        if errno_ret is not None:
            raise InvalidArgument(f"seccomp profile: {action} does not take an errnoRet")
        return code
    return code | ((errno.EPERM if errno_ret is None else errno_ret) & 0xFFFF)


def plan_rules(profile: oci.Seccomp) -> list[Rule]:
    """Flatten a profile into the rules to add, in order. Raises InvalidArgument.

    Rules that repeat the default action are left out. Conditions of one entry are AND-ed,
    unless two of them concern the same argument: then each is a rule of its own, as runc does.
    """
    if profile.default_action == _NOTIFY:
        raise InvalidArgument(f"seccomp profile: {_NOTIFY} cannot be the default action")
    default = _parse_action(profile.default_action, profile.default_errno_ret)
    rules = []
    for entry in profile.syscalls:
        action = _parse_action(entry.action, entry.errno_ret)
        if not entry.names:
            raise InvalidArgument(
                f"seccomp profile: a rule with {entry.action} names no system call"
            )
        if action == default:
            continue
        conditions = []
        for argument in entry.args:
            operator = _OPERATORS.get(argument.op)
            if operator is None:
                raise InvalidArgument(f'seccomp profile: unknown operator "{argument.op}"')
            if not 0 <= argument.index <= 5:
                raise InvalidArgument(
                    f"seccomp profile: argument index {argument.index} is not 0 to 5"
                )
            conditions.append((argument.index, operator, argument.value, argument.value_two))
        repeated = any(count > 1 for count in Counter(c[0] for c in conditions).values())
        groups = [(c,) for c in conditions] if repeated else [tuple(conditions)]
        for name in entry.names:
            if not name:
                raise InvalidArgument("seccomp profile: empty system call name")
            rules += [Rule(name, action, group) for group in groups]
    return rules


def plan_flags(flags: list[str]) -> int:
    """Convert SECCOMP_FILTER_FLAG_* names to the bits to load with. Raises InvalidArgument."""
    bits = 0
    for flag in flags:
        if flag not in _FLAGS:
            raise InvalidArgument(f"seccomp flag {flag} is not known to barque")
        bits |= _FLAGS[flag]
    return bits


def enosys_prologue(newest: dict[int, int]) -> bytes:
    """Instructions that give ENOSYS to numbers above the newest that the profile names.

    ``newest`` has the largest number for each libseccomp architecture token. Anything else,
    architectures not listed included, falls through to what follows::

            ld  [arch]
            jeq #A, 0, next          for each architecture A
            ld  [nr]
            jgt #newest(A), 0, 1
            ret #ENOSYS
            ja  end
        next:
            ...
        end:
    """
    sections: list[list[tuple[int, int, int, int]]] = []
    for token, largest in sorted(newest.items()):
        if token == _ARCH_X32:
            continue  # shares a section with x86-64
        body = [(_JGT, 0, 1, largest), (_RET, 0, 0, _RET_ENOSYS)]
        if token == _AUDIT_ARCH_X86_64:
            x32 = newest.get(_ARCH_X32)
            if x32 is None:
                # Bit set: over both, on to the filter, which knows no x32.
                body = [(_JSET, 2, 0, _X32_BIT), *body]
            else:
                body = [
                    (_JSET, 2, 0, _X32_BIT),
                    (_JGT, 0, 3, largest),
                    (_RET, 0, 0, _RET_ENOSYS),
                    (_JGT, 0, 1, x32),
                    (_RET, 0, 0, _RET_ENOSYS),
                ]
        section = [(_LD_W_ABS, 0, 0, _OFFSET_NR), *body, (_JA, 0, 0, 0)]
        sections.append([(_JEQ, 0, len(section), token), *section])
    program = [(_LD_W_ABS, 0, 0, _OFFSET_ARCH)] + [line for part in sections for line in part]
    end = len(program)
    return b"".join(
        _INSTRUCTION.pack(code, true, false, end - at - 1 if code == _JA else k)
        for at, (code, true, false, k) in enumerate(program)
    )


@cache
def _libseccomp() -> Any:
    """Load libseccomp and declare what is used of it. Raises FailedPrecondition."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise FailedPrecondition(
            "libseccomp.so.2 is missing, so no system call filter can be built: install "
            "libseccomp (Debian: apt install libseccomp2), or run the container with "
            "--security-opt seccomp=unconfined"
        ) from error
    context, u32, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    for name, result, arguments in (
        ("seccomp_init", context, (u32,)),
        ("seccomp_release", None, (context,)),
        ("seccomp_arch_native", u32, ()),
        ("seccomp_arch_resolve_name", u32, (text,)),
        ("seccomp_arch_add", ctypes.c_int, (context, u32)),
        ("seccomp_attr_set", ctypes.c_int, (context, ctypes.c_int, u32)),
        ("seccomp_syscall_resolve_name", ctypes.c_int, (text,)),
        ("seccomp_syscall_resolve_name_arch", ctypes.c_int, (u32, text)),
        (
            "seccomp_rule_add_array",
            ctypes.c_int,
            (context, u32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_ArgCmp)),
        ),
        ("seccomp_export_bpf", ctypes.c_int, (context, ctypes.c_int)),
        ("seccomp_version", ctypes.POINTER(ctypes.c_uint * 3), ()),
    ):
        declared = getattr(library, name)
        declared.restype = result
        declared.argtypes = list(arguments)
    return library


def libseccomp_version() -> str:
    """Return libseccomp's version, for instance ``2.5.4``. Raises FailedPrecondition."""
    return ".".join(str(number) for number in _libseccomp().seccomp_version().contents)


def known_architectures() -> list[str]:
    """The SCMP_ARCH_* names that this libseccomp knows. Raises FailedPrecondition."""
    library = _libseccomp()
    return [
        f"SCMP_ARCH_{name}"
        for name in _ARCHITECTURES
        if library.seccomp_arch_resolve_name(name.lower().encode())
    ]


_ARCHITECTURES = (
    "AARCH64 ARM LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC "
    "PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB X32 X86 X86_64"
).split()


def _checked(result: int, call: str, what: str, *, fine: tuple[int, ...] = ()) -> None:
    """Raise KernelError for a negative errno from libseccomp that is not in ``fine``."""
    if result < 0 and -result not in fine:
        raise KernelError(call, -result, what)


def _architectures(library: Any, names: list[str]) -> list[int]:
    """Resolve SCMP_ARCH_* names to tokens, the machine's own first."""
    tokens = [library.seccomp_arch_native()]
    for name in names:
        token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if not token:
            raise InvalidArgument(
                f'seccomp profile: architecture "{name}" is not known to libseccomp '
                f"{libseccomp_version()}"
            )
        if token not in tokens:
            tokens.append(token)
    return tokens


def _add_rules(library: Any, context: int, rules: list[Rule]) -> None:
    for rule in rules:
        number = library.seccomp_syscall_resolve_name(rule.name.encode())
        if number == -1:
            continue  # newer than libseccomp, or of another architecture
        conditions = (_ArgCmp * len(rule.conditions))(*(_ArgCmp(*c) for c in rule.conditions))
        _checked(
            library.seccomp_rule_add_array(
                context, rule.action, number, len(conditions), conditions
            ),
            "seccomp_rule_add",
            rule.name,
            fine=(errno.EEXIST,),
        )


def _export(library: Any, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _checked(library.seccomp_export_bpf(context, fd), "seccomp_export_bpf", "")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


COMPILER = "1"
"""To be counted up when ``compile_filter`` gives other instructions for the same profile."""


class _Compiled:
    """A filter that was compiled before: see ``use_compiled``."""

    profile: oci.Seccomp | None = None
    code = b""


_compiled = _Compiled()


def use_compiled(profile: oci.Seccomp, code: bytes) -> None:
    """Have ``compile_filter`` return ``code`` for ``profile``, in this process and its forks.

    For a program that runs one container and knows its filter from before.
    """
    _compiled.profile, _compiled.code = profile, code


def compile_filter(profile: oci.Seccomp) -> bytes:
    """Compile a profile to a filter for ``load_filter``. Takes tens of milliseconds.

    Callable from any thread: it holds no lock of the interpreter while libseccomp works.
    Names of system calls that libseccomp does not know are skipped, as runc does. Raises
    InvalidArgument for a bad profile, FailedPrecondition without libseccomp.
    """
    if profile == _compiled.profile:
        return _compiled.code
    rules = plan_rules(profile)
    flags = plan_flags(profile.flags)
    default = _parse_action(profile.default_action, profile.default_errno_ret)
    library = _libseccomp()
    architectures = _architectures(library, profile.architectures)
    context = library.seccomp_init(default)
    if not context:
        raise KernelError("seccomp_init", errno.EINVAL, profile.default_action)
    try:
        for token in architectures:
            _checked(
                library.seccomp_arch_add(context, token),
                "seccomp_arch_add",
                hex(token),
                fine=(errno.EEXIST,),
            )
        if len(rules) >= _OPTIMIZE_FROM:
            # Refused by libseccomp before 2.5: the filter is slower, and as right.
            library.seccomp_attr_set(context, _CTL_OPTIMIZE, 2)
        _add_rules(library, context, rules)
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    if profile.default_action not in _PERMISSIVE and default != _RET_ENOSYS:
        names = {name for entry in profile.syscalls for name in entry.names}
        program = enosys_prologue(_newest(library, architectures, names)) + program
    if flags:
        program = _INSTRUCTION.pack(_LD_IMM, 0, 0, flags) + program
    if len(program) > _BPF_MAXINSNS * _INSTRUCTION.size:
        raise InvalidArgument(
            f"seccomp profile: compiles to {len(program) // _INSTRUCTION.size} instructions, "
            f"and the kernel takes {_BPF_MAXINSNS}: use fewer rules"
        )
    return program


def _newest(library: Any, architectures: list[int], names: set[str]) -> dict[int, int]:
    """Return the largest number among ``names`` for each architecture that has any."""
    encoded = [name.encode() for name in names]
    newest = {}
    for token in architectures:
        resolve = library.seccomp_syscall_resolve_name_arch
        # Negative: unknown, or libseccomp's stand-in for a call that others multiplex.
        largest = max((resolve(token, name) for name in encoded), default=-1)
        if largest >= 0:
            newest[token] = largest
    return newest


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER, _SECCOMP_SET_MODE_FILTER = 2, 1
_SECCOMP = {"x86_64": 317, "s390x": 348, "ppc64le": 358}.get(os.uname().machine, 277)

_prctl = function("prctl", ctypes.c_int, *(ctypes.c_ulong,) * 4)


def notifies(profile: oci.Seccomp) -> bool:
    """Whether some system calls are left to a listener. Source: seccomp_unotify(2)."""
    return any(entry.action == _NOTIFY for entry in profile.syscalls)


def load_filter(bpf: bytes, *, no_new_privileges: bool, with_listener: bool = False) -> int:
    """Filter the calling process's system calls from here on. Irrevocable.

    With ``no_new_privileges`` that bit is set first; without, the process needs CAP_SYS_ADMIN.
    Returns the listener's descriptor ``with_listener``, else -1. The process has one thread.
    Raises KernelError.
    """
    flags = _FLAG_NEW_LISTENER if with_listener else 0
    code, _, _, k = _INSTRUCTION.unpack_from(bpf)
    if code == _LD_IMM:
        flags |= k if with_listener else k & ~_FLAG_WAIT_KILLABLE  # of how a listener is waited for
    program = _Program(len(bpf) // _INSTRUCTION.size, bpf)
    if no_new_privileges:
        check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS")
    if flags:
        number = (_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags)
        result = syscall("seccomp", *number, ctypes.byref(program))
        return result if with_listener else -1
    address = ctypes.addressof(program)
    check(
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, address, 0, 0),
        "prctl",
        "PR_SET_SECCOMP",
    )
    return -1
