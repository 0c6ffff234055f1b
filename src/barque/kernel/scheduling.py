"""Scheduling of the calling process: policy, I/O priority, execution domain, NUMA memory.

Source: sched_setattr(2), ioprio_set(2), personality(2), set_mempolicy(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

from barque.errors import KernelError
from barque.kernel.libc import check, function, syscall

_NUMBERS = {  # sched_setattr, ioprio_set, set_mempolicy
    "x86_64": (314, 251, 238),
    "aarch64": (274, 30, 237),
    "riscv64": (274, 30, 237),
    "loongarch64": (274, 30, 237),
    "ppc64le": (355, 273, 261),
    "s390x": (345, 282, 270),
}

_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13
_NODE_WORDS = 16

_attributes = struct.Struct("=IIQiIQQQ")  # struct sched_attr, first version

_personality = function("personality", ctypes.c_ulong)


def _number(index: int, name: str) -> int:
    try:
        return _NUMBERS[os.uname().machine][index]
    except KeyError:
        raise KernelError(name, 38, hint=f"not known on {os.uname().machine}") from None


def set_scheduler(  # noqa: PLR0917 - the fields of struct sched_attr
    policy: int,
    flags: int,
    nice: int,
    priority: int,
    runtime: int,
    deadline: int,
    period: int,
    *,
    pid: int = 0,
) -> None:
    """sched_setattr(2) for ``pid``, 0 is the caller; times in nanoseconds. Raises KernelError."""
    attributes = _attributes.pack(
        _attributes.size, policy, flags, nice, priority, runtime, deadline, period
    )
    syscall("sched_setattr", _number(0, "sched_setattr"), pid, attributes, 0)


def set_io_priority(class_: int, priority: int) -> None:
    """ioprio_set(2) for the calling process. Raises KernelError."""
    value = class_ << _IOPRIO_CLASS_SHIFT | priority
    syscall("ioprio_set", _number(1, "ioprio_set"), _IOPRIO_WHO_PROCESS, 0, value)


def set_personality(domain: int) -> None:
    """personality(2). Raises KernelError."""
    check(_personality(domain), "personality")


def set_memory_policy(mode: int, nodes: list[int]) -> None:
    """set_mempolicy(2): ``mode`` with its MPOL_F_* flags, on NUMA ``nodes``. KernelError."""
    words = [0] * _NODE_WORDS
    for node in nodes:
        words[node // 64] |= 1 << node % 64
    mask = struct.pack(f"={_NODE_WORDS}Q", *words)
    arguments = (mask, _NODE_WORDS * 64 + 1) if nodes else (None, 0)
    syscall("set_mempolicy", _number(2, "set_mempolicy"), mode, *arguments)
