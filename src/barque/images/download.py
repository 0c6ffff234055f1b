"""A blob that arrives: written and hashed by one thread, read by others as it grows.

It believes nothing: what was made of it meanwhile is only kept once ``receive`` has found size
and digest right.
"""

from __future__ import annotations

import threading

from barque.content.store import Ingest
from barque.images.feed import Feed
from barque.images.growing import Growing
from barque.models.ids import Digest
from barque.registry.errors import Damaged

_PIECE = 1 << 20


class Download(Growing):
    """One blob on its way into the content store. Takes ownership of ``ingest``."""

    def __init__(self, ingest: Ingest, digest: Digest, size: int) -> None:
        super().__init__(ingest, "the download")
        self._digest = digest
        self._size = size
        self.resumed_bytes = ingest.size
        self._suspended = False

    def receive(self, feed: Feed, _stop: threading.Event) -> None:
        """Write what ``feed`` gives, verify and commit it. For a thread of its own.

        Raises what the feed raises, and Damaged for content that is not the one announced.
        """
        try:
            while data := feed.read(_PIECE):
                self.write(data)
            self._verify()
            self.end()
            self._ingest.commit(self._digest)
        except BaseException as error:
            self.end(error)
            raise

    def _verify(self) -> None:
        if self._ingest.digest != self._digest or self._ingest.size != self._size:
            raise Damaged(
                f"filesystem layer verification failed for digest {self._digest}: "
                f"{self._ingest.size} of {self._size} bytes came, with {self._ingest.digest}"
            )

    def suspend(self) -> None:
        """Let ``close`` keep what came, for the next attempt to go on with."""
        self._suspended = True

    def close(self) -> None:
        """Drop what was not committed, unless it is to be kept. Nobody may be reading any more."""
        if self._suspended:
            self._ingest.suspend()
        else:
            self._ingest.abort()
        super().close()
