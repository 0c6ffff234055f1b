"""The content store: immutable blobs, found by the digest of their bytes.

Layout below the store's root::

    blobs/sha256/<hex>     whole, verified, never changed
    ingest/<random>        being written, or deleted; cleared when the engine starts
    ingest/partial-<hex>   the first bytes of a blob whose transfer broke off: see ``resume``

A blob appears by rename, after its bytes were verified and written to the disk, and the
rename itself is on the disk before ``commit`` returns: a blob that can be seen is right.
Nothing here touches the database or the event loop: large writes, ``commit`` and the reading
of large blobs belong in a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from barque.content.digests import digest_bytes, get_hex, parse_digest
from barque.errors import InvalidArgument, NotFound
from barque.kernel.files import begin_writing
from barque.models.ids import Digest

PARTIAL_AGE_S = 24 * 3600.0
"""How long the first bytes of a blob are kept for the next attempt to get it."""
PARTIAL_BYTES = 8 << 30
"""How many of such bytes are kept in all."""
_WORTH_KEEPING = 64 << 10
_DELETED = "deleted-"
_PARTIAL = "partial-"
_PARTIAL_NAME = re.compile("partial-[0-9a-f]{64}")
_HEX = re.compile("[0-9a-f]{64}")
_PIECE = 1 << 20
_WRITE_BEHIND = 8 << 20


class Ingest:
    """A blob being written. Hashes while writing. Leaves nothing unless committed or suspended.

    Use as a context manager, or end it with ``commit``, ``abort`` or ``suspend``. One thread at
    a time.
    """

    def __init__(self, store: ContentStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        store.under_way.add(path.name)
        self.size = 0
        self._begun = 0
        while piece := os.read(self._fd, _PIECE):  # of a transfer that broke off
            self._hash.update(piece)
            self.size += len(piece)

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``."""
        self._hash.update(data)
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        if self.size - self._begun >= _WRITE_BEHIND:  # while other work goes on
            begin_writing(self._fd, self._begun, self.size - self._begun)
            self._begun = self.size

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def open(self) -> BinaryIO:
        """Open what was written so far for reading; the caller closes it."""
        return self._path.open("rb", buffering=0)

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        """Make the blob visible and return its digest; a blob already there is kept.

        Raises InvalidArgument, and drops the ingest, if the content has not the ``digest``
        or ``size`` (in bytes) that it should have. Waits for the disk.
        """
        actual = self.digest
        if size is not None and size != self.size:
            self.abort()
            raise InvalidArgument(
                f"the content of {digest or actual} has {self.size} bytes, not the {size} announced"
            )
        if digest is not None and digest != actual:
            self.abort()
            raise InvalidArgument(f"the content announced as {digest} has digest {actual}")
        target = self._store.path(actual)
        if target.exists():
            self.abort()
            return actual
        os.fsync(self._fd)
        self._close()
        self._path.rename(target)
        self._store.under_way.discard(self._path.name)
        _sync_directory(target.parent)
        return actual

    def abort(self) -> None:
        """Drop the ingest. Without effect after ``commit`` or another ``abort``."""
        if self._fd >= 0:
            self._close()
            self._path.unlink(missing_ok=True)
            self._store.under_way.discard(self._path.name)

    def suspend(self) -> None:
        """Keep what came of a blob from ``resume`` for the next time; nothing of another."""
        if self._fd >= 0 and self._path.name.startswith(_PARTIAL) and self.size:
            self._close()
            self._store.under_way.discard(self._path.name)
        else:
            self.abort()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()


class ContentStore:
    """Blobs by digest below ``root``, which is made if it is missing."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ingest.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.under_way: set[str] = set()
        """The names of ingests that somebody writes."""

    def recover(self) -> None:
        """Drop what a killed engine left half written, but for what can be resumed.

        Call before the first ``ingest``.
        """
        for path in self._ingest.iterdir():
            if not _PARTIAL_NAME.fullmatch(path.name):
                path.unlink()

    def ingest(self) -> Ingest:
        """Begin a new blob."""
        return Ingest(self, self._ingest / secrets.token_hex(16))

    def resume(self, digest: Digest) -> Ingest:
        """Go on with the blob of this digest where a transfer broke off, if one did.

        Reads what is there: for a thread. What somebody else writes already is begun anew.
        """
        name = _PARTIAL + get_hex(digest)
        return self.ingest() if name in self.under_way else Ingest(self, self._ingest / name)

    def add(self, content: bytes) -> Digest:
        """Store a small blob at once. Waits for the disk."""
        digest = digest_bytes(content)
        if not self.has(digest):
            with self.ingest() as ingest:
                ingest.write(content)
                ingest.commit(digest)
        return digest

    def path(self, digest: str) -> Path:
        """Return where the blob is, or would be. Raises InvalidArgument for a bad digest."""
        return self._blobs / get_hex(parse_digest(digest))

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        return self.path(digest).exists()

    def get_size(self, digest: str) -> int:
        """Return the blob's size in bytes. Raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, digest: str) -> BinaryIO:
        """Open the blob, unbuffered; the caller closes it. Raises NotFound."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int = 8 << 20) -> bytes:
        """Return a small blob (a manifest, a config).

        Raises NotFound, and InvalidArgument if it has more than ``limit`` bytes.
        """
        size = self.get_size(digest)
        if size > limit:
            raise InvalidArgument(f"{digest} has {size} bytes: more than the {limit} allowed here")
        with self.open(digest) as file:
            return file.read()

    def delete(self, digest: str) -> int:
        """Take the blob away and return its size in bytes, 0 if it was not there.

        Quick whatever the size: ``reap`` gives the disk space back.
        """
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.rename(self._ingest / f"{_DELETED}{secrets.token_hex(16)}")
        except FileNotFoundError:
            return 0
        return size

    def shelve(self, digest: str) -> int:
        """Take the blob away as ``delete`` does, but keep a large one for ``resume``."""
        path = self.path(digest)
        target = self._ingest / (_PARTIAL + get_hex(digest))
        try:
            size = path.stat().st_size
            if size < _WORTH_KEEPING or target.name in self.under_way:
                return self.delete(digest)
            path.rename(target)
        except FileNotFoundError:
            return 0
        return size

    def reap(self) -> None:
        """Give back the disk space of deleted blobs, and of what broke off too long ago.

        Call it from a thread.
        """
        for path in self._ingest.glob(f"{_DELETED}*"):
            path.unlink(missing_ok=True)
        self.drop_partials(PARTIAL_AGE_S, PARTIAL_BYTES)

    def drop_partials(self, age_s: float = 0.0, total_bytes: int = 0) -> int:
        """Drop what transfers that broke off have left, the oldest first; return its bytes.

        Kept is what is younger than ``age_s``, up to ``total_bytes`` of it.
        """
        found = []
        for path in self._ingest.glob(f"{_PARTIAL}*"):
            if path.name not in self.under_way:
                with suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        kept = dropped = 0
        for written, size, path in sorted(found, reverse=True):
            if time.time() - written < age_s and kept + size <= total_bytes:
                kept += size
            else:
                path.unlink(missing_ok=True)
                dropped += size
        return dropped

    def walk(self) -> Iterator[Digest]:
        """Give the digest of every blob, in no order."""
        for name in os.listdir(self._blobs):
            if _HEX.fullmatch(name):
                yield Digest(f"sha256:{name}")

    # Checking

    def is_whole(self, digest: str, stop: threading.Event) -> bool:
        """Tell whether the blob's bytes have its digest. Reads all of them: for a thread.

        ``stop`` ends it early, with True. Raises NotFound.
        """
        state = hashlib.sha256()
        with self.open(digest) as file:
            while not stop.is_set() and (piece := file.read(_PIECE)):
                state.update(piece)
        return stop.is_set() or f"sha256:{state.hexdigest()}" == digest

    def list_strays(self) -> list[Path]:
        """Return the files that are no blob and that nobody writes."""
        found = [self._blobs / name for name in os.listdir(self._blobs) if not _HEX.fullmatch(name)]
        found += [
            self._ingest / name
            for name in os.listdir(self._ingest)
            if name not in self.under_way and not _PARTIAL_NAME.fullmatch(name)
        ]
        return sorted(found)

    def delete_stray(self, path: Path) -> None:
        """Delete what ``list_strays`` gave, whatever it is. Call it from a thread."""
        if path not in self.list_strays():
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _missing(digest: str) -> NotFound:
    return NotFound(f"content {digest} is not in the store: load or pull the image again")


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
