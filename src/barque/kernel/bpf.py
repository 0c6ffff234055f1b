"""BPF programs that decide over devices: an assembler of the few instructions, and bpf(2).

Source: bpf(2); linux/bpf.h; the kernel's Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from barque.errors import KernelError
from barque.kernel.libc import syscall

_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280}

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 13, 15, 16
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_F_ALLOW_MULTI, _F_REPLACE = 2, 4
_MAX_PROGRAMS = 64  # that the kernel attaches to one group
_INFO_BYTES, _INFO_NAME_OFFSET, _NAME_BYTES = 128, 64, 16
_LOG_BYTES = 1 << 16


class Instruction(NamedTuple):
    """One instruction, as the kernel encodes it in 8 bytes."""

    code: int
    destination: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0

    def encode(self) -> bytes:
        """The 8 bytes. Raises struct.error if a part does not fit."""
        registers = self.source << 4 | self.destination
        return _instruction.pack(self.code, registers, self.offset, self.immediate)


_instruction = struct.Struct("=BBhi")

_LOAD_WORD, _MOVE, _AND, _SHIFT_RIGHT = 0x61, 0xB7, 0x57, 0x77
_JUMP, _JUMP_NOT_EQUAL, _JUMP_SET, _EXIT = 0x05, 0x55, 0x45, 0x95


def load_word(destination: int, source: int, offset: int) -> Instruction:
    """``destination = *(u32 *)(source + offset)``."""
    return Instruction(_LOAD_WORD, destination, source, offset)


def move(destination: int, value: int) -> Instruction:
    """``destination = value``."""
    return Instruction(_MOVE, destination, immediate=value)


def copy(destination: int, source: int) -> Instruction:
    """``destination = source``."""
    return Instruction(0xBF, destination, source)


def and_(destination: int, value: int) -> Instruction:
    """``destination &= value``."""
    return Instruction(_AND, destination, immediate=value)


def shift_right(destination: int, bits: int) -> Instruction:
    """``destination >>= bits``."""
    return Instruction(_SHIFT_RIGHT, destination, immediate=bits)


def jump(offset: int) -> Instruction:
    """Skip ``offset`` instructions."""
    return Instruction(_JUMP, offset=offset)


def jump_not_equal(register: int, value: int, offset: int) -> Instruction:
    """Skip ``offset`` instructions if ``register != value``."""
    return Instruction(_JUMP_NOT_EQUAL, register, offset=offset, immediate=value)


def jump_any_set(register: int, value: int, offset: int) -> Instruction:
    """Skip ``offset`` instructions if ``register & value``."""
    return Instruction(_JUMP_SET, register, offset=offset, immediate=value)


def leave() -> Instruction:
    """Return register 0."""
    return Instruction(_EXIT)


def _bpf(command: int, attributes: bytes, what: str, path: str = "") -> tuple[int, bytes]:
    """Call bpf(2); the result, and the attributes as the kernel has left them."""
    number = _BPF.get(os.uname().machine)
    if number is None:
        raise KernelError("bpf", errno.ENOSYS, path, f"on {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    hint = "this needs CAP_SYS_ADMIN outside of user namespaces, or CAP_BPF and CAP_NET_ADMIN"
    result = syscall(f"bpf {what}", number, command, buffer, len(attributes), path=path, hint=hint)
    return result, buffer.raw


def load_device_program(instructions: Sequence[Instruction], name: str) -> int:
    """Have the kernel check and keep the program; a descriptor that the caller owns.

    ``name`` is at most 15 ASCII letters, digits and ``_``. Raises KernelError, with the
    verifier's last words if it is not content.
    """
    code = b"".join(instruction.encode() for instruction in instructions)
    program = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(b"Apache-2.0")
    log = ctypes.create_string_buffer(_LOG_BYTES)

    def load(level: int) -> int:
        attributes = struct.pack(
            "=IIQQIIQII16s",
            _TYPE_CGROUP_DEVICE,
            len(instructions),
            ctypes.addressof(program),
            ctypes.addressof(license_),
            level,
            _LOG_BYTES if level else 0,
            ctypes.addressof(log) if level else 0,
            0,
            0,
            name.encode("ascii"),
        )
        return _bpf(_PROG_LOAD, attributes, "PROG_LOAD")[0]

    try:
        return load(0)
    except KernelError as error:
        if error.errno not in {errno.EINVAL, errno.EACCES, errno.E2BIG}:
            raise
    try:
        return load(1)
    except KernelError as error:
        words = log.value.decode("ascii", "replace").strip().splitlines()[-3:]
        raise KernelError(error.syscall, error.errno, name, "; ".join(words)) from None


def attach_device_program(group: int, program: int, replaced: int = -1) -> None:
    """Attach ``program`` to the group's directory descriptor, beside those of others.

    ``replaced`` is a program attached before, whose place the new one takes in one step
    (Linux 5.6). Raises KernelError.
    """
    flags = _F_ALLOW_MULTI | (_F_REPLACE if replaced >= 0 else 0)
    attributes = struct.pack(
        "=IIIII", group, program, _ATTACH_CGROUP_DEVICE, flags, max(replaced, 0)
    )
    _bpf(_PROG_ATTACH, attributes, "PROG_ATTACH")


def detach_device_program(group: int, program: int) -> None:
    """Take ``program`` away from the group. Raises KernelError."""
    _bpf(_PROG_DETACH, struct.pack("=III", group, program, _ATTACH_CGROUP_DEVICE), "PROG_DETACH")


def find_device_programs(group: int, name: str) -> list[int]:
    """Descriptors, the caller's, of the programs called ``name`` attached to the group itself."""
    ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attributes = struct.pack(
        "=IIIIQI",
        group,
        _ATTACH_CGROUP_DEVICE,
        0,
        0,
        ctypes.addressof(ids),
        _MAX_PROGRAMS,
    )
    _, answer = _bpf(_PROG_QUERY, attributes, "PROG_QUERY")
    (count,) = struct.unpack_from("=I", answer, 24)
    found = []
    for id_ in ids[:count]:
        fd, _ = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", id_, 0, 0), "PROG_GET_FD_BY_ID")
        if _name(fd) == name:
            found.append(fd)
        else:
            os.close(fd)
    return found


def _name(program: int) -> str:
    info = ctypes.create_string_buffer(_INFO_BYTES)
    attributes = struct.pack("=IIQ", program, _INFO_BYTES, ctypes.addressof(info))
    _bpf(_OBJ_GET_INFO_BY_FD, attributes, "OBJ_GET_INFO_BY_FD")
    raw = info.raw[_INFO_NAME_OFFSET : _INFO_NAME_OFFSET + _NAME_BYTES]
    return raw.partition(b"\0")[0].decode("ascii", "replace")
