"""A blob that arrives: written and hashed by one thread, read by others as it grows.

Unpacking begins with the first bytes and not after the last. It believes nothing: what was made
of the blob meanwhile is only kept once ``receive`` has found size and digest right.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from barque.content.store import Ingest
from barque.errors import BarqueError
from barque.images.feed import Feed, Stopped
from barque.models.ids import Digest
from barque.registry.errors import Damaged

_PIECE = 1 << 20


class Download:
    """One blob on its way into the content store. Takes ownership of ``ingest``."""

    def __init__(self, ingest: Ingest, digest: Digest, size: int) -> None:
        self._ingest = ingest
        self._digest = digest
        self._size = size
        self.resumed_bytes = ingest.size
        self._file = ingest.open()
        self._suspended = False
        self._changed = threading.Condition()
        self._written = ingest.size
        self._ended = False
        self._failure: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether ``receive`` has failed."""
        return self._failure is not None

    def receive(self, feed: Feed, _stop: threading.Event) -> None:
        """Write what ``feed`` gives, verify and commit it. For a thread of its own.

        Raises what the feed raises, and Damaged for content that is not the one announced.
        """
        try:
            while data := feed.read(_PIECE):
                self._write(data)
            self._verify()
            self.end()
            self._ingest.commit(self._digest)
        except BaseException as error:
            self.end(error)
            raise

    def _write(self, data: bytes) -> None:
        self._ingest.write(data)
        with self._changed:
            self._written += len(data)
            self._changed.notify_all()

    def _verify(self) -> None:
        if self._ingest.digest != self._digest or self._ingest.size != self._size:
            raise Damaged(
                f"filesystem layer verification failed for digest {self._digest}: "
                f"{self._ingest.size} of {self._size} bytes came, with {self._ingest.digest}"
            )

    def end(self, failure: BaseException | None = None) -> None:
        """Say that nothing follows; ``failure`` is raised where it is read."""
        with self._changed:
            self._ended = True
            self._failure = self._failure or failure
            self._changed.notify_all()

    def read_at(self, position: int, size: int, reader: Following) -> bytes:
        """Return bytes from ``position`` on, as soon as there are some; b"" at the end."""
        with self._changed:
            while self._written <= position and not self._ended and not reader.abandoned:
                self._changed.wait()
            if reader.abandoned:
                raise Stopped("unpacking was given up")
            if self._failure is not None:
                raise BarqueError(f"the download failed: {self._failure}") from self._failure
            size = min(size, self._written - position)
        return os.pread(self._file.fileno(), size, position) if size else b""

    def wake(self) -> None:
        """Let readers look again whether they are wanted."""
        with self._changed:
            self._changed.notify_all()

    def suspend(self) -> None:
        """Let ``close`` keep what came, for the next attempt to go on with."""
        self._suspended = True

    def close(self) -> None:
        """Drop what was not committed, unless it is to be kept. Nobody may be reading any more."""
        if self._suspended:
            self._ingest.suspend()
        else:
            self._ingest.abort()
        with suppress(OSError):
            self._file.close()


class Following:
    """Reads a download from its beginning, as it grows. For one thread."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self._position = 0
        self.abandoned = False

    def read(self, size: int, /) -> bytes:
        """Return some bytes, b"" at the end. Raises Stopped after ``abandon``."""
        data = self._download.read_at(self._position, size, self)
        self._position += len(data)
        return data

    def abandon(self) -> None:
        """End a ``read`` under way: nothing more is wanted."""
        self.abandoned = True
        self._download.wake()
