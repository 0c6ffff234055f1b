"""A container's program that stops every process that comes up in it, and looks at it.

Run there as ``python -I tracer.py HOST_FILE SECRET``, where the container's PID namespace is its
own. It tells each thing that it has found out once, as a line of JSON, and how many processes it
has caught before their program. Without the right to trace it looks without stopping anybody.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000
_AHEAD = 4
_HARMLESS = re.compile(r"pipe:|socket:|/dev/null|/dev/pts/")

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def stop(pid: int) -> bool:
    """Whether the process is ours now, and stopped."""
    if _ptrace(_SEIZE, pid, None, None):
        return False
    _ptrace(_INTERRUPT, pid, None, None)
    with suppress(ChildProcessError):
        os.waitpid(pid, _WALL)
    return True


def memory(pid: int) -> bytes:
    """What the process may write to of its memory."""
    found = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb") as mem:
        for line in maps:
            place, permissions, *_ = line.split()
            if permissions.startswith("rw"):
                start, end = (int(number, 16) for number in place.split("-"))
                with suppress(OSError, OverflowError):
                    mem.seek(start)
                    found.append(mem.read(end - start))
    return b"".join(found)


def look(pid: int, host_file: str, secret: bytes) -> dict[str, Any]:
    """What there is to see of a process, as far as it can be seen."""
    at = f"/proc/{pid}"
    lines = dict(line.split(":\t", 1) for line in Path(f"{at}/status").read_text().splitlines())
    seen: dict[str, Any] = {
        name: lines[name].split()[0]
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp", "Uid")
    }
    seen["early"] = lines["Name"].startswith("barque-shim")
    for name, path in (("root", f"{at}/root{host_file}"), ("cwd", f"{at}/cwd/../../..{host_file}")):
        seen[name] = os.path.exists(path)
    seen["secret"] = seen["traced"] = False
    with suppress(OSError):
        seen["secret"] = secret in Path(f"{at}/environ").read_bytes() + memory(pid)
        seen["traced"] = True
    seen["open"] = []
    with suppress(OSError):
        links = [os.readlink(f"{at}/fd/{fd}") for fd in os.listdir(f"{at}/fd")]
        seen["open"] = sorted(link for link in links if not _HARMLESS.match(link))
    return seen


def newest() -> int:
    """The number that was given to a process last."""
    return int(Path("/proc/loadavg").read_text().split()[-1])


def say(text: str) -> None:
    """Tell it at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Watch until killed."""
    host_file, secret = sys.argv[1], sys.argv[2].encode()
    told = set()
    early = 0
    done = newest()
    say("ready")
    while True:
        last = newest()
        for pid in range(done + 1, last + _AHEAD):
            stopped = stop(pid)
            if not stopped and not os.path.exists(f"/proc/{pid}"):
                continue
            done = pid
            try:
                seen = look(pid, host_file, secret)
            except (OSError, KeyError, ValueError):  # it has ended
                continue
            finally:
                if stopped:
                    _ptrace(_DETACH, pid, None, None)
            early += seen["early"]
            if not seen["early"]:
                seen["open"] = []  # a program's own
            if (line := json.dumps(seen)) not in told:
                told.add(line)
                say(line)
            say(f"early {early}")
        done = max(done, last)


if __name__ == "__main__":
    main()
