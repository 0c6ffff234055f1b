"""A layer on its way from a container's changes to a snapshot: written by one thread, and
unpacked by another, which follows as close as it can.
"""

from __future__ import annotations

import threading

from barque.content.store import Ingest
from barque.images.feed import Stopped


class Growing:
    """An ingest that one thread writes while others read what is there already."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._condition = threading.Condition()
        self._written = 0
        self._ended = False
        self._whole = False

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises KernelError as the ingest does."""
        self._ingest.write(data)
        with self._condition:
            self._written += len(data)
            self._condition.notify_all()

    def end(self, *, whole: bool) -> None:
        """Say that nothing follows: the archive is ``whole``, or was given up."""
        with self._condition:
            self._ended, self._whole = True, whole
            self._condition.notify_all()

    def wait(self, position: int) -> bool:
        """Wait until there is something at ``position``; False at the end. Raises Stopped."""
        with self._condition:
            while self._written <= position and not self._ended:
                self._condition.wait()
            if self._ended and not self._whole:
                raise Stopped("the layer was given up")
            return self._written > position


class Follower:
    """Reads a growing ingest from its beginning. For one thread; ``close`` ends it."""

    def __init__(self, growing: Growing, ingest: Ingest) -> None:
        self._growing = growing
        self._file = ingest.open()
        self._position = 0

    def read(self, size: int, /) -> bytes:
        """Return some bytes, b"" at the end. Raises Stopped if there will be no end."""
        if not self._growing.wait(self._position):
            return b""
        data = self._file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
