"""Device rules as a BPF program, which is what version 2 has in place of the device cgroup.

The rules of the specification apply in order: for each kind of access the last rule that
matches decides. The program therefore goes through them from the last to the first, and keeps
which kinds of access are still undecided::

    r2   kinds not decided yet (1 mknod, 2 read, 4 write)
    r3   1 block, 2 character device        r4  major        r5  minor

    an allow   r2 &= ~its kinds; if nothing is left: 1
    a deny     if r2 & its kinds: 0
    the end    0

Source: linux/bpf.h, struct bpf_cgroup_dev_ctx.
"""

from __future__ import annotations

from collections.abc import Sequence

from barque.errors import InvalidArgument
from barque.kernel.bpf import (
    Instruction,
    and_,
    copy,
    jump,
    jump_any_set,
    jump_not_equal,
    leave,
    load_word,
    move,
    shift_right,
)
from barque.models import oci

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL = 7
_MAX_NUMBER = 0x7FFFFFFF


def is_everything(rule: oci.DeviceRule) -> bool:
    """Whether the rule is about every access to every device."""
    return (
        rule.type in {"a", ""}
        and (rule.major is None or rule.major < 0)
        and (rule.minor is None or rule.minor < 0)
        and _access(rule) == _ALL
    )


def device_program(rules: Sequence[oci.DeviceRule]) -> list[Instruction]:
    """The program for ``rules``; what no rule is about is denied.

    Raises InvalidArgument for a rule that is none.
    """
    program = [
        load_word(2, 1, 0),
        copy(3, 2),
        and_(3, 0xFFFF),
        shift_right(2, 16),
        load_word(4, 1, 4),
        load_word(5, 1, 8),
    ]
    for rule in reversed(rules):
        program += _rule(rule)
        if is_everything(rule):
            return program  # nothing behind it is ever reached, which the verifier forbids
    return [*program, move(0, 0), leave()]


def _rule(rule: oci.DeviceRule) -> list[Instruction]:
    access = _access(rule)
    if rule.allow:
        # Whether all kinds are decided is asked even of a request for none (O_PATH-like opens).
        decision = [] if access == _ALL else [and_(2, _ALL & ~access), jump_not_equal(2, 0, 2)]
        decision += [move(0, 1), leave()]
    else:
        decision = [] if access == _ALL else [jump_any_set(2, access, 1), jump(2)]
        decision += [move(0, 0), leave()]
    tests = []
    if rule.type not in {"a", ""}:
        tests.append((3, _type(rule)))
    tests += [
        (register, _number(rule, number))
        for register, number in ((4, rule.major), (5, rule.minor))
        if number is not None and number >= 0
    ]
    return [
        *(
            jump_not_equal(register, value, len(tests) - index - 1 + len(decision))
            for index, (register, value) in enumerate(tests)
        ),
        *decision,
    ]


def _type(rule: oci.DeviceRule) -> int:
    try:
        return _TYPES[rule.type]
    except KeyError:
        raise InvalidArgument(f"device rule of type {rule.type!r}: use a, b or c") from None


def _number(rule: oci.DeviceRule, number: int) -> int:
    if number > _MAX_NUMBER:
        raise InvalidArgument(f"device rule {rule.type} {rule.major}:{rule.minor}: no such device")
    return number


def _access(rule: oci.DeviceRule) -> int:
    bits = 0
    for letter in rule.access:
        if letter not in _ACCESS:
            raise InvalidArgument(f"device rule with access {rule.access!r}: use r, w and m")
        bits |= _ACCESS[letter]
    return bits
