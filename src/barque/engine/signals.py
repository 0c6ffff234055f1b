"""Signals as users write them: ``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``, in any case."""

from __future__ import annotations

import re
import signal

from barque.errors import InvalidArgument

LAST_SIGNAL = 64
_NAMES = {member.name.removeprefix("SIG"): int(member) for member in signal.Signals}
_NAMES |= {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31, "RTMIN": 34, "RTMAX": 64}
_RELATIVE = re.compile(r"(RTMIN\+|RTMAX-)(\d{1,2})")


def parse_signal(text: str) -> int:
    """Return the signal's number. Raises InvalidArgument ``invalid signal: FOO``."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isdecimal():
        number = int(name)
    elif match := _RELATIVE.fullmatch(name):
        base, step = match.groups()
        number = 34 + int(step) if base == "RTMIN+" else 64 - int(step)
        if not 34 <= number <= LAST_SIGNAL:
            raise InvalidArgument(f"invalid signal: {text}")
    else:
        number = _NAMES.get(name, 0)
    if not 1 <= number <= LAST_SIGNAL:
        raise InvalidArgument(f"invalid signal: {text}")
    return number
