"""Unpacking one layer from its compressed bytes: decompress, hash, parse, write.

Decompression runs in one thread, all else in another. The archive may be a bomb: what comes
out is measured against what went in.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

import msgspec

from barque.content.store import Ingest
from barque.errors import InvalidArgument
from barque.images.compression import Readable, ReadAhead, open_decompressed
from barque.images.download import Following
from barque.images.feed import Feed, Stopped
from barque.images.tar import BLOCK, Limits, Source
from barque.images.unpack import Layer, Whiteouts
from barque.kernel.files import sync_file_system
from barque.models.ids import Digest
from barque.models.image import OCI_LAYER
from barque.models.launch import RootfsMount

_RATIO = 10_000
_RATIO_FROM = 1 << 30
"""Output up to which nobody asks for the ratio: long runs of zeros are no crime."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a layer."""

    diff_id: str
    """The digest of the uncompressed archive."""
    size_bytes: int
    """Apparent size of the files."""
    compression: str

    @property
    def media_type(self) -> str:
        """The layer blob's type, as it truly is."""
        return f"{OCI_LAYER}+{self.compression}" if self.compression else OCI_LAYER


class Metered:
    """A source that counts, keeps a copy in ``ingest`` if given, and stops when told.

    ``digest`` tells the digest of all that it gives, once it has, where that is known.
    """

    def __init__(
        self,
        source: Readable,
        stop: threading.Event,
        ingest: Ingest | None = None,
        digest: Callable[[], Digest] | None = None,
    ) -> None:
        self._source = source
        self._stop = stop
        self._ingest = ingest
        self.digest = digest
        self.bytes_read = 0

    def read(self, size: int, /) -> bytes:
        """Return some bytes. Raises Stopped once the work was given up."""
        if self._stop.is_set():
            raise Stopped("unpacking was given up")
        data = self._source.read(size)
        self.bytes_read += len(data)
        if self._ingest is not None and data:
            self._ingest.write(data)
        return data

    def close(self) -> None:
        """Wake a thread that waits in ``read``: nothing more is wanted."""
        if isinstance(self._source, (Feed, Following)):
            self._source.abandon()


def unpack(source: Metered, mount: RootfsMount, parent: str, limits: Limits) -> Unpacked:
    """Unpack the layer in ``source`` into the empty active snapshot ``mount``.

    ``parent`` is the snapshot's parent key. The file system is synced when this returns.
    Reads ``source`` to its end. Blocks: for a thread. Raises InvalidArgument, KernelError.
    """
    with ExitStack() as stack:
        root = _open(stack, mount.upper or mount.source)
        lower = tuple(_open(stack, path) for path in mount.lower)
        if mount.type == "overlay":
            whiteouts = Whiteouts.OVERLAY
        else:
            whiteouts = Whiteouts.DELETE if parent else Whiteouts.IGNORE
        compression, pieces = open_decompressed(source)
        state = hashlib.sha256()
        known = None if compression else source.digest
        update = state.update if known is None else _ignore
        # Decompressing is as much work as all the rest; reading is not, and takes on hashing.
        if compression:
            ahead = stack.enter_context(ReadAhead(pieces))
            archive = Source(_watch(ahead, source, update, limits))
        else:
            watched = _watch(pieces, source, update, limits)
            archive = Source(stack.enter_context(ReadAhead(watched)))
        stack.callback(source.close)  # before the thread that reads ahead is waited for
        layer = Layer(root, whiteouts, lower, limits)
        layer.apply(archive)
        archive.drain()
        sync_file_system(root)
        return Unpacked(
            diff_id=f"sha256:{state.hexdigest()}" if known is None else known(),
            size_bytes=layer.size_bytes,
            compression=compression,
        )


def _ignore(_piece: bytes) -> None:
    """Hash nothing: somebody does already."""


def _open(stack: ExitStack, path: str) -> int:
    fd = os.open(path, _DIRECTORY)
    stack.callback(os.close, fd)
    return fd


def _watch(
    pieces: Iterable[bytes], source: Metered, update: Callable[[bytes], object], limits: Limits
) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limits.total_bytes + limits.entries * BLOCK:  # content and headers
            raise InvalidArgument(
                f"the layer was refused: it unpacks to more than the {limits.total_bytes} bytes "
                "allowed"
            )
        if total > _RATIO_FROM and total > _RATIO * source.bytes_read:
            raise InvalidArgument(
                f"the layer was refused: {source.bytes_read} compressed bytes became more than "
                f"{total}, which is more than {_RATIO} times as much"
            )
        update(piece)
        yield piece
