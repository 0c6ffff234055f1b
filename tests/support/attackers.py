"""Attackers inside containers: an interpreter shown to them, and what they find out with it.

The host's Python is mounted read-only into a BusyBox container, so that any system call can be
made from there; nothing is compiled, and the image holds nothing but the probe.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from barque.models import oci
from support import probe
from support.engine import Engine

PYTHON = "/python/bin/" + os.path.basename(os.path.realpath(sys.executable))
PROBE = "/probe.py"

REFUSED = frozenset({"EPERM", "EACCES", "ENOSYS", "EROFS"})
"""What a container hears that may not. Anything else got through to the kernel."""


def _shown() -> list[tuple[str, str]]:
    """(host path, place in the container) of the interpreter, its libraries and the probe."""
    libraries = [(path, path) for path in ("/lib", "/lib64", "/usr/lib") if os.path.isdir(path)]
    return [(sys.base_prefix, "/python"), (str(Path(probe.__file__)), PROBE), *libraries]


def python_flags() -> list[str]:
    """The flags of ``docker run`` that show the interpreter."""
    return [word for host, place in _shown() for word in ("-v", f"{host}:{place}:ro")]


def python_mounts() -> list[oci.Mount]:
    """As ``python_flags``, for a spec."""
    return [
        oci.Mount(destination=place, type="bind", source=host, options=["rbind", "ro"])
        for host, place in _shown()
    ]


class Attacker:
    """Containers of one engine that try things. What was tried once is remembered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, str]] = {}

    def attempt(self, name: str, flags: tuple[str, ...], beside: tuple[str, ...]) -> str:
        """What comes of ``name`` in a container with ``flags``.

        ``beside`` are all that are ever asked for with these flags: one container tries them
        all, each in a process of its own.
        """
        key = flags, beside
        if key not in self._known:
            said = self._engine.docker(
                *("run", "--rm", "--network", "none", *python_flags(), *flags),
                *("busybox", PYTHON, "-I", PROBE, *beside),
            )
            self._known[key] = json.loads(said)
        return self._known[key][name]
