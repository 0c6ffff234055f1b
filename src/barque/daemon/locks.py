"""One engine to a data directory, and its number in a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.errors import FailedPrecondition


@contextmanager
def hold_directories(data_root: Path, exec_root: Path) -> Iterator[None]:
    """Make both directories (0700) and hold them for this engine.

    The kernel drops the lock with the process, however it ends. Raises FailedPrecondition if
    another engine holds one of them.
    """
    locks = []
    try:
        for directory in (data_root, exec_root):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            locks.append(fd)
            os.fchmod(fd, 0o700)  # one that was there may be open to set-user-ID of an image
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FailedPrecondition(
                    f"another engine uses {directory}: stop it, or choose another --data-root "
                    f"and --exec-root"
                ) from None
        yield
    finally:
        for fd in locks:
            os.close(fd)


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """Keep our process number in ``path`` while the engine runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(f"{os.getpid()}\n")
    partial.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
