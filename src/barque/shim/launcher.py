"""Starting the spawner from a sealed copy of the interpreter.

See ``runtime.sealed`` for why.
"""

from __future__ import annotations

import os
import subprocess
import sys

from barque.errors import FailedPrecondition
from barque.kernel import seqpacket
from barque.runtime.sealed import sealed_interpreter
from barque.shim.protocol import READY

_READY_TIMEOUT_S = 30.0


class Spawner:
    """A running spawner. ``end`` is where waiting shims come from; closing it ends the spawner.

    If somebody kills the process, ``replace`` puts another one in its place.
    """

    def __init__(self, process: subprocess.Popen[bytes], end: seqpacket.Socket) -> None:
        self._process = process
        self.end = end

    @property
    def pid(self) -> int:
        """For showing and measuring."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until it has loaded everything. Raises FailedPrecondition if it does not."""
        self.end.settimeout(_READY_TIMEOUT_S)
        try:
            greeting = self.end.recv(16)
        except OSError:  # a timeout, or a reset connection
            greeting = b""
        if greeting != READY:
            self.close()
            raise FailedPrecondition(
                "the spawner did not start: run `barqued` in a terminal to see why"
            )
        self.end.setblocking(False)

    def replace(self, other: Spawner) -> None:
        """Become ``other``, whose process belongs to this one then; what we had is ended."""
        self.close()
        self._process, self.end = other._process, other.end

    def close(self) -> None:
        """End the spawner; shims go on."""
        self.end.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)


_KEPT = ("LD_LIBRARY_PATH",)
"""What an interpreter may need to be loaded at all."""


def start_spawner() -> Spawner:
    """Start the spawner. See ``wait_ready``.

    It has next to no environment: what it forks is seen by containers that may trace (the PID 1
    of ``--init``), and the engine's may hold a proxy's password.

    An engine that starts calls this before it has an event loop or a thread, so that both load
    at the same time.
    """
    ours, theirs = seqpacket.pair()
    memfd = sealed_interpreter()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "barque.shim", str(theirs.fileno())],
            executable=f"/proc/self/fd/{memfd}",
            pass_fds=(memfd, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
    finally:
        os.close(memfd)
        theirs.close()
    return Spawner(process, ours)


def start_ready_spawner() -> Spawner:
    """Start the spawner and wait until it is ready. Raises FailedPrecondition, OSError."""
    spawner = start_spawner()
    spawner.wait_ready()
    return spawner
