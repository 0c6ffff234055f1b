"""A blob that is written by one thread and read by others as it grows.

Unpacking begins with the first bytes and not after the last.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from barque.content.store import Ingest
from barque.errors import BarqueError
from barque.images.feed import Stopped


class Growing:
    """What an ingest holds, and will hold. ``what`` names the writing in readers' failures."""

    def __init__(self, ingest: Ingest, what: str) -> None:
        self._ingest = ingest
        self._what = what
        self._file = ingest.open()
        self._changed = threading.Condition()
        self._written = ingest.size
        self._ended = False
        self._failure: BaseException | None = None

    @property
    def written(self) -> int:
        """How many bytes have arrived."""
        return self._written

    @property
    def failed(self) -> bool:
        """Whether the writing has failed."""
        return self._failure is not None

    def write(self, data: bytes) -> None:
        """Append ``data``. For one thread. Raises as the ingest does."""
        self._ingest.write(data)
        with self._changed:
            self._written += len(data)
            self._changed.notify_all()

    def end(self, failure: BaseException | None = None) -> None:
        """Say that nothing follows; ``failure`` is raised where it is read."""
        with self._changed:
            self._ended = True
            self._failure = self._failure or failure
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of the file; the ingest stays. Nobody may be reading any more."""
        with suppress(OSError):
            self._file.close()

    def read_at(self, position: int, size: int, reader: Following) -> bytes:
        """Return bytes from ``position`` on, as soon as there are some; b"" at the end."""
        with self._changed:
            while self._written <= position and not self._ended and not reader.abandoned:
                self._changed.wait()
            if reader.abandoned:
                raise Stopped("unpacking was given up")
            if self._failure is not None:
                raise BarqueError(f"{self._what} failed: {self._failure}") from self._failure
            size = min(size, self._written - position)
        return os.pread(self._file.fileno(), size, position) if size else b""

    def wake(self) -> None:
        """Let readers look again whether they are wanted."""
        with self._changed:
            self._changed.notify_all()


class Following:
    """Reads what grows from its beginning. For one thread."""

    def __init__(self, growing: Growing) -> None:
        self._growing = growing
        self._position = 0
        self.abandoned = False

    def read(self, size: int, /) -> bytes:
        """Return some bytes, b"" at the end. Raises Stopped after ``abandon``."""
        data = self._growing.read_at(self._position, size, self)
        self._position += len(data)
        return data

    def abandon(self) -> None:
        """End a ``read`` under way: nothing more is wanted."""
        self.abandoned = True
        self._growing.wake()
