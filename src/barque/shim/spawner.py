"""The spawner: a small process that has everything loaded and does nothing but fork shims.

It runs from a sealed copy of the interpreter in memory, so ``/proc/PID/exe`` of a container's
init never leads to a file of the host. It has one thread, no event loop, a frozen heap and a
closed import system, and keeps nothing of what passes through it. It leaves when the engine
that started it does; the shims stay.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterable

from barque.cgroups import hierarchies
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, from_fd, pair, receive, send
from barque.runtime.barrier import close_imports, freeze_heap
from barque.runtime.capabilities import last_cap
from barque.shim import shim

READY = 2
"""Shims that wait, forked, for a container: a start pays for no fork but the init's own."""


def serve(engine: Socket, title: kp.Title) -> None:
    """Hand every datagram to a waiting shim, until the engine closes its end.

    The shims that still wait then see the end of their sockets and leave.
    """
    ready: deque[Socket] = deque()
    while True:
        while len(ready) < READY:
            ready.append(_fork_shim(engine, ready, title))
        data, fds = receive(engine)
        if not data:
            return
        while not _hand_over(ready.popleft(), data, fds):  # somebody has killed that one
            ready.append(_fork_shim(engine, ready, title))
        for fd in fds:
            os.close(fd)


def _hand_over(shim_end: Socket, data: bytes, fds: list[int]) -> bool:
    """Give a waiting shim its container; False if it is there no more."""
    try:
        send(shim_end, data, fds)
    except OSError:
        return False
    finally:
        shim_end.close()
    return True


def _fork_shim(engine: Socket, ready: Iterable[Socket], title: kp.Title) -> Socket:
    """Fork a shim that waits for its container; returns the socket to it."""
    ours, theirs = pair()
    if kp.fork() == 0:
        engine.close()
        ours.close()
        for other in ready:
            other.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shim.main(theirs, title)
    theirs.close()
    return ours


def main() -> None:
    """``python -m barque.shim.spawner FD``: FD is the socket to the engine."""
    end = from_fd(int(sys.argv[1]))
    os.set_inheritable(end.fileno(), False)
    kp.close_from(3, keep=(end.fileno(),))
    os.chdir("/")
    os.setsid()
    title = kp.Title()
    title.set("barque-spawner")
    last_cap()
    hierarchies()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    freeze_heap()
    close_imports()
    end.send(b"ready")
    serve(end, title)


if __name__ == "__main__":
    main()
