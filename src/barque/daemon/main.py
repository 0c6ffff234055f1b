"""``barqued``: start the spawner, then everything else, and serve until told to stop.

The spawner is started first, before there is an event loop or a thread, and loads its modules
on another processor while this process loads its own.
"""

from __future__ import annotations

import os
import signal
import sys

from barque.daemon.config import load_config
from barque.daemon.surroundings import check_surroundings
from barque.errors import BarqueError
from barque.runtime import pid1
from barque.shim.launcher import start_spawner


def main() -> int:
    """Run the engine in the foreground. Returns the exit status."""
    try:
        config = load_config(sys.argv[1:])
        for warning in config.warnings:
            print(f"barqued: {warning}", file=sys.stderr)  # noqa: T201
        if config.validate_only:
            print("configuration OK")  # noqa: T201 - what dockerd prints
            return 0
        if os.geteuid() != 0:
            print("barqued: needs root: start it with sudo", file=sys.stderr)  # noqa: T201
            return 1
        os.umask(0o022)
        check_surroundings(bridged=bool(config.network.device))
        alone = os.getpid() == 1
        if alone:
            _leave_pid1()
        spawner = start_spawner()
        try:
            from barque.daemon.wiring import run  # noqa: PLC0415 - while the spawner loads

            run(config, spawner, alone=alone)
        finally:
            spawner.close()
    except BarqueError as error:
        print(f"barqued: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _leave_pid1() -> None:
    """Go on as a child of PID 1, which reaps what is left to it and passes signals on.

    In a container of its own an engine is the first process, and so the parent of orphans: a
    shim whose spawner has gone, what was started by ``docker exec``.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    engine = os.fork()
    if engine:
        pid1.serve(engine)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    sys.exit(main())
