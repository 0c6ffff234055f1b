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

from barque.cgroups import hierarchies
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, from_fd, receive
from barque.runtime.barrier import close_imports, freeze_heap
from barque.runtime.capabilities import last_cap
from barque.shim import shim


def serve(engine: Socket, title: kp.Title) -> None:
    """Fork a shim for every datagram, until the engine closes its end."""
    while True:
        data, fds = receive(engine)
        if not data:
            return
        if kp.fork() == 0:
            engine.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            shim.main(data, fds, title)
        for fd in fds:
            os.close(fd)


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
