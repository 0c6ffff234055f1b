"""What a compiled filter says to a system call, without loading it.

An interpreter of the classic BPF that ``runtime.seccomp`` makes: words are loaded, masked and
compared, a constant is returned. It is pure, and takes some microseconds for a call.

Source: seccomp(2); linux/filter.h; linux/seccomp.h (struct seccomp_data).
"""

from __future__ import annotations

import operator
import os
import struct
from typing import NamedTuple

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, k
_DATA = struct.Struct("=iIQ6Q")  # struct seccomp_data: nr, arch, instruction pointer, arguments
_WORDS = struct.Struct(f"={_DATA.size // 4}I")
_ARGUMENTS_AT = 4
"""The first of their words."""
_LD_W_ABS, _LD_IMM, _AND, _JA, _RET = 0x20, 0x00, 0x54, 0x05, 0x06
_CONDITIONS = {
    0x15: operator.eq,
    0x25: operator.gt,
    0x35: operator.ge,
    0x45: operator.and_,
}
"""BPF_JMP | BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET, all with BPF_K."""
_ACTION = 0xFFFF0000
_PERMISSIONS = frozenset({0x7FFF0000, 0x7FFC0000})  # SECCOMP_RET_ALLOW, SECCOMP_RET_LOG

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
"""AUDIT_ARCH_* by machine."""


class Call(NamedTuple):
    """A system call by its number, with the first arguments: the others are not known."""

    number: int
    arguments: tuple[int, ...] = ()


def permits(code: bytes, call: Call, machine: str = os.uname().machine) -> bool:
    """Whether the filter ``code`` lets ``machine``'s call pass: at once, and to the kernel.

    What leaves it to somebody else (a listener, a tracer) does not, nor does a filter that looks
    at what is not known here: an argument, an instruction. No ``code`` is no filter.
    """
    if not code:
        return True
    architecture = ARCHITECTURES.get(machine)
    if architecture is None:
        return False
    arguments = (*call.arguments, *(0,) * (6 - len(call.arguments)))
    known = _ARGUMENTS_AT + 2 * len(call.arguments)
    words = _WORDS.unpack(_DATA.pack(call.number, architecture, 0, *arguments))[:known]
    result = _run(code, words)
    return result is not None and result & _ACTION in _PERMISSIONS


def _run(code: bytes, words: tuple[int, ...]) -> int | None:
    """What the program returns; None where that is not known. Jumps lead forward only."""
    value = at = 0
    k: int
    while at < len(code):
        operation, if_true, if_false, k = _INSTRUCTION.unpack_from(code, at)
        at += _INSTRUCTION.size
        skipped = 0
        if operation == _RET:
            return k
        if operation == _LD_W_ABS and k % 4 == 0 and k // 4 < len(words):
            value = words[k // 4]
        elif operation == _LD_IMM:
            value = k
        elif operation == _AND:
            value &= k
        elif operation == _JA:
            skipped = k
        elif operation in _CONDITIONS:
            skipped = if_true if _CONDITIONS[operation](value, k) else if_false
        else:
            return None
        at += skipped * _INSTRUCTION.size
    return None
