"""A sealed copy of the interpreter for whatever forks processes into containers.

A container that runs as root can open its init's ``/proc/PID/exe`` for writing between fork
and execve (CVE-2019-5736). Here that is a memfd with all seals: not a file of the host, and
not writable.
"""

from __future__ import annotations

import fcntl
import os
import sys

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_interpreter() -> int:
    """A memfd with the running interpreter's program, sealed. The caller owns it."""
    memfd = os.memfd_create("barque", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open("/proc/self/exe", "rb", buffering=0) as program:
        size = os.fstat(program.fileno()).st_size
        copied = 0
        while copied < size:
            sent = os.sendfile(memfd, program.fileno(), copied, size - copied)
            if not sent:
                break
            copied += sent
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    return memfd


def is_sealed() -> bool:
    """Whether this process runs from a sealed copy."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:  # EINVAL: not a memfd
        return False
    finally:
        os.close(fd)


_BEGIN = """\
import gc, sys
gc.disable()  # short-lived, and forked: a collection costs more than it gives back
sys.path += sys.argv.pop(1).split(":")
from {0} import main
main()
"""


def run_sealed(module: str, arguments: list[str]) -> None:
    """Begin again with ``main()`` of ``module`` from a sealed copy, unless this is one.

    The new interpreter believes nothing of its environment (``-I``), and looks for modules where
    this one does, without going through the site packages for that again (``-S``).
    """
    if is_sealed():
        return
    memfd = sealed_interpreter()
    first = 0 if sys.flags.safe_path else 1  # where the script is, or the working directory
    asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = ":".join(entry for entry in sys.path[first:] if entry not in asked)
    command = [sys.executable, "-I", "-S", "-c", _BEGIN.format(module), path, *arguments]
    os.execve(f"/proc/self/fd/{memfd}", command, os.environ)
