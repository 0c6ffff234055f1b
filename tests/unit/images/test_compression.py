from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import threading
from collections.abc import Callable, Iterator

import pytest
import zstandard

from barque.errors import InvalidArgument
from barque.images.compression import CHUNK, ReadAhead, detect, open_decompressed

CONTENT = random.Random(1).randbytes(300_000) + bytes(5 * CHUNK) + b"the end"
ZSTD = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": ZSTD.compress,
}


class Dripping:
    """A source that gives a few bytes at a time."""

    def __init__(self, content: bytes, step: int) -> None:
        self._file = io.BytesIO(content)
        self._step = step

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._step))


def decompress(content: bytes, step: int = 65536) -> bytes:
    _, pieces = open_decompressed(Dripping(content, step))
    return b"".join(pieces)


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_round_trip(kind: str, step: int) -> None:
    compressed = COMPRESSORS[kind](CONTENT)
    assert detect(compressed) == kind
    assert decompress(compressed, step) == CONTENT


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_concatenated_streams(kind: str) -> None:
    compress = COMPRESSORS[kind]
    assert decompress(compress(b"one ") + compress(b"") + compress(b"two")) == b"one two"


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_what_is_cut_off_is_refused(kind: str, keep: float) -> None:
    compressed = COMPRESSORS[kind](CONTENT)
    with pytest.raises(InvalidArgument, match=f"invalid {kind} data"):
        decompress(compressed[: int(len(compressed) * keep)])


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_one_byte_less_is_refused(kind: str) -> None:
    with pytest.raises(InvalidArgument, match=f"invalid {kind} data"):
        decompress(COMPRESSORS[kind](b"hello" * 1000)[:-1])


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_what_is_damaged_is_refused(kind: str) -> None:
    compressed = bytearray(COMPRESSORS[kind](CONTENT))
    compressed[len(compressed) // 2] ^= 0x55
    with pytest.raises(InvalidArgument, match=f"invalid {kind} data"):
        decompress(bytes(compressed))


def test_a_bomb_comes_in_bounded_pieces() -> None:
    bomb = ZSTD.compress(bytes(200 << 20))
    _, pieces = open_decompressed(io.BytesIO(bomb))
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) <= 2 * CHUNK
    assert sum(sizes) == 200 << 20


def test_a_skippable_frame_may_stand_first() -> None:
    frame = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    assert decompress(frame + ZSTD.compress(b"hello")) == b"hello"


def test_zeros_after_gzip_are_no_member() -> None:
    assert decompress(gzip.compress(b"hello") + bytes(100)) == b"hello"


@pytest.mark.parametrize("content", [b"", b"x", b"plain text, long enough"])
def test_anything_else_is_taken_as_it_is(content: bytes) -> None:
    assert decompress(content) == content


def test_reading_ahead_keeps_order_and_errors() -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(100):
            yield b"%d" % number
        raise InvalidArgument("broken")

    with ReadAhead(pieces()) as ahead:
        seen: list[bytes] = []
        with pytest.raises(InvalidArgument, match="broken"):
            seen.extend(ahead)
    assert ahead._ended


def test_closing_ends_the_thread() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    before = threading.active_count()
    with ReadAhead(endless()) as ahead:
        assert next(ahead) == b"x"
    assert threading.active_count() == before
