"""The spawner: a small process that has everything loaded and does nothing but fork shims.

It runs from a sealed copy of the interpreter in memory, so ``/proc/PID/exe`` of a container's
init never leads to a file of the host. It has one thread, no event loop, a frozen heap and a
closed import system. The sockets of the shims that it forks go to the engine at once: no
container passes through it. It leaves when the engine that started it does; the shims stay.
"""

from __future__ import annotations

import os
import signal
import sys

from barque.cgroups import hierarchies
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, from_fd, pair, receive, send
from barque.runtime.barrier import close_imports, freeze_heap
from barque.runtime.capabilities import last_cap
from barque.runtime.shield import go_home
from barque.shim import protocol as p
from barque.shim import shim

READY = 2
"""Shims that wait, forked, for a container: a start pays for no fork but the init's own."""


def serve(engine: Socket, title: kp.Title) -> None:
    """Send the engine READY waiting shims, and one more for each that it asks for.

    Ends when the engine closes its end. The shims whose sockets it had then see their end, and
    leave.
    """
    try:
        for _ in range(READY):
            _send_shim(engine, title)
        while receive(engine)[0]:
            _send_shim(engine, title)
    except ConnectionError:
        return  # it went while something was on its way


def _send_shim(engine: Socket, title: kp.Title) -> None:
    """Fork a shim that waits for its container; the engine gets the only socket to it."""
    ours, theirs = pair()
    if kp.fork() == 0:
        engine.close()
        ours.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shim.main(theirs, title)
    theirs.close()
    send(engine, p.SHIM, [ours.fileno()])
    ours.close()


def main() -> None:
    """The spawner's program. Its arguments are descriptors: of the engine's socket, and home."""
    end = from_fd(int(sys.argv[1]))
    go_home([int(word) for word in sys.argv[2:]])
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
    end.send(p.READY)
    serve(end, title)
