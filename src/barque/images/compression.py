"""Decompression of archives: which kind is seen from their first bytes, not their names.

All decompressors are pulled: they hold at most a piece of input and give bounded pieces of
output, so that a small bomb never becomes a large allocation.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self, cast

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from barque.errors import InvalidArgument

CHUNK = 1 << 20
"""Bytes of output given at once."""
_XZ_MEMORY = 256 << 20  # xz -9 needs 65 MB to decompress
_ZSTD_WINDOW = 128 << 20  # what zstd itself accepts without being told otherwise
_AHEAD = 4
_END_MARK = b"\xffbarque-zstd-end\x00"

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_DAMAGED: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    lzma.LZMAError,
    cast("type[Exception]", IsalError),
    zstandard.ZstdError,
)
_SKIPPABLE_ZSTD = 0x184D2A5  # frames with any last hexadecimal digit may stand first
_MAGIC_BYTES = 6


class Readable(Protocol):
    """What is read from: ``read`` returns at most ``size`` bytes, and b"" at the end."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes."""
        ...


def detect(start: bytes) -> str:
    """Return ``gzip``, ``zstd``, ``bzip2``, ``xz`` or, for anything else, ``""``."""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if len(start) >= 4 and int.from_bytes(start[:4], "little") >> 4 == _SKIPPABLE_ZSTD:
        return "zstd"
    return ""


class _Peeked:
    """A source whose first bytes were read already."""

    def __init__(self, start: bytes, source: Readable) -> None:
        self._start = start
        self._source = source

    def read(self, size: int, /) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._source.read(size)


def open_decompressed(source: Readable) -> tuple[str, Iterator[bytes]]:
    """Return the kind of compression (see ``detect``) and the decompressed pieces.

    The iterator raises InvalidArgument where the compressed data is damaged or cut off.
    """
    start = b""
    while len(start) < _MAGIC_BYTES and (data := source.read(CHUNK)):
        start += data
    kind = detect(start)
    peeked = _Peeked(start, source)
    if not kind:
        return kind, _read_plain(peeked)
    return kind, _explain(kind, _READERS[kind](peeked))


def _explain(kind: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except _DAMAGED as error:
        raise InvalidArgument(f"invalid {kind} data: {error}") from error


def _read_plain(source: Readable) -> Iterator[bytes]:
    while data := source.read(CHUNK):
        yield data


def _read_streams(source: Readable, new: Callable[[], Any]) -> Iterator[bytes]:
    """Decompress concatenated streams by objects of bz2's and lzma's interface."""
    data = source.read(CHUNK)
    while data:
        decompressor = new()
        while not decompressor.eof:
            if decompressor.needs_input and not data:
                data = source.read(CHUNK)
                if not data:
                    raise EOFError("it ends too early")
            piece = decompressor.decompress(data, CHUNK)
            data = b""
            if piece:
                yield piece
        data = (decompressor.unused_data or source.read(CHUNK)).lstrip(b"\0")


def _read_gzip(source: Readable) -> Iterator[bytes]:
    data = source.read(CHUNK)
    while data:
        decompressor = isal_zlib.decompressobj(31)
        while not decompressor.eof:
            if not data:
                data = source.read(CHUNK)
                if not data:
                    raise EOFError("it ends too early")
            piece = decompressor.decompress(data, CHUNK)
            data = decompressor.unconsumed_tail
            if piece:
                yield piece
        # Members may follow each other; tape blocks leave zeros behind.
        data = (decompressor.unused_data or source.read(CHUNK)).lstrip(b"\0")


def _read_zstd(source: Readable) -> Iterator[bytes]:
    """Decompress frame after frame.

    zstandard's reader is silent about a source that ends within a frame. So a frame of our
    own follows the source: its content comes out, last, only if all before it was whole.
    """
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    followed: Any = _Followed(source, compressor.compress(_END_MARK))
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    tail = b""
    with decompressor.stream_reader(followed, read_across_frames=True, closefd=False) as reader:
        while piece := reader.read(CHUNK):
            data = tail + piece
            tail = data[-len(_END_MARK) :]
            if len(data) > len(_END_MARK):
                yield data[: -len(_END_MARK)]
    if tail != _END_MARK:
        raise EOFError("it ends too early")


class _Followed:
    """A source with something more after its end."""

    def __init__(self, source: Readable, more: bytes) -> None:
        self._source = source
        self._more = more

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        if not data:
            data, self._more = self._more, b""
        return data


_READERS: dict[str, Callable[[Readable], Iterator[bytes]]] = {
    "gzip": _read_gzip,
    "zstd": _read_zstd,
    "bzip2": lambda source: _read_streams(source, bz2.BZ2Decompressor),
    "xz": lambda source: _read_streams(
        source, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    ),
}


class ReadAhead:
    """Runs an iterator in a thread of its own, a few pieces ahead of who reads it.

    Decompression then uses another core than unpacking. Close it, or use it as a context
    manager: that ends the thread, which first finishes the piece it is working on.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._closed = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="decompress", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for piece in self._pieces:
                if self._closed:
                    return
                self._queue.put(piece)
        except BaseException as error:  # noqa: BLE001 it is raised where the pieces are read
            self._queue.put(error)
        else:
            self._queue.put(None)

    def __iter__(self) -> ReadAhead:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        match self._queue.get():
            case bytes() as piece:
                return piece
            case None:
                self._ended = True
                raise StopIteration
            case error:
                self._ended = True
                raise error

    def close(self) -> None:
        """End the thread and wait for it."""
        self._closed = True
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(0.001)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
