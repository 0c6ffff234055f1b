"""How much disk a directory takes."""

from __future__ import annotations

import os

from barque.snapshots.trees import measure_tree


def measure_directory(path: str) -> int:
    """Return the bytes of all files below ``path``. Blocks: call it from a thread.

    Raises OSError if there is no such directory, KernelError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return measure_tree(fd)
    finally:
        os.close(fd)
