"""A streaming tar parser: what an archive says, without touching a file system.

Formats: v7, ustar, GNU (long names and links, base-256 numbers, old sparse files) and PAX
(including extended attributes and GNU's sparse formats 0.0, 0.1 and 1.0). Names, links and
attributes are bytes, as on Linux. Archives are taken to be hostile: everything has a limit,
and every failure is an InvalidArgument that says what is wrong with the archive.

Source: POSIX.1-2017 pax, the GNU tar manual's "Tar Internals".
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Iterable, Iterator
from zlib import adler32

import msgspec

from barque.errors import InvalidArgument

BLOCK = 512
_ZERO_BLOCK = bytes(BLOCK)
_MIN_RECORD = len(b"5 k=\n")
_XATTR = b"SCHILY.xattr."
_MAX_ID = 0xFFFFFFFE  # 2**32-1 means "leave as it is" to chown
_MAX_SECONDS = 1 << 55
_NANOSECONDS = 1_000_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an archive may ask of us. Far above what real images hold."""

    entries: int = 10_000_000
    total_bytes: int = 1 << 40
    """Content stored in the archive."""
    file_bytes: int = 1 << 43
    """Apparent size of one (sparse) file."""
    extension_bytes: int = 1 << 20
    """One extended header or long name."""
    path_bytes: int = 1 << 16
    """More than one system call takes: such paths are made step by step."""
    long_name_bytes: int = 64 << 20
    """Of all names and links together, what is longer than 255 bytes: names are remembered."""
    remembered: int = 1_000_000
    """Entries, where each must be remembered until the end: some 200 bytes of memory each."""
    depth: int = 1024
    """Components of a path."""
    extents: int = 100_000
    """Pieces of one sparse file."""


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "FIFO"


_KINDS = {
    0: Kind.FILE,
    ord("0"): Kind.FILE,
    ord("1"): Kind.LINK,
    ord("2"): Kind.SYMLINK,
    ord("3"): Kind.CHARACTER,
    ord("4"): Kind.BLOCK,
    ord("5"): Kind.DIRECTORY,
    ord("6"): Kind.FIFO,
    ord("7"): Kind.FILE,
    ord("S"): Kind.FILE,
}
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = ord("L"), ord("K"), ord("x"), ord("g")
_SOLARIS_PAX, _VOLUME, _OLD_SPARSE = ord("X"), ord("V"), ord("S")
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SOLARIS_PAX, _VOLUME))


class Entry:
    """One member of an archive.

    ``name`` and ``link`` are as written: not cleaned, not trusted. ``size`` is the number of
    content bytes in the archive, ``real_size`` the file's; they differ for sparse files,
    whose ``extents`` are (offset, length), in order and apart.
    """

    __slots__ = (
        "extents",
        "gid",
        "kind",
        "link",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "real_size",
        "size",
        "uid",
        "xattrs",
    )

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    real_size: int
    mtime_ns: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[bytes, bytes]
    extents: list[tuple[int, int]] | None

    def __repr__(self) -> str:
        return f"<{self.kind.value} {self.name!r}>"


class Source:
    """Bytes that arrive in chunks, read in the pieces that a parser wants."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""
        self._at = 0
        self.position = 0
        """Bytes handed out so far."""

    def _refill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk, self._at = chunk, 0
                return True
        self._chunk, self._at = b"", 0
        return False

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes; fewer only at the end of the stream."""
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            self.position += size
            return data
        return b"".join(bytes(piece) for piece in self._available(size))

    def pieces(self, size: int) -> Iterable[memoryview]:
        """Give exactly ``size`` bytes as views, valid until the next one is asked for.

        Raises InvalidArgument if the stream ends before.
        """
        start, end = self._at, self._at + size
        if end <= len(self._chunk):
            self._at = end
            self.position += size
            return (memoryview(self._chunk)[start:end],)
        return self._split(size)

    def _split(self, size: int) -> Iterator[memoryview]:
        left = size
        for piece in self._available(size):
            left -= len(piece)
            yield piece
        if left:
            raise InvalidArgument(
                f"invalid tar archive: it ends {left} bytes before the end of an entry"
            )

    def _available(self, size: int) -> Iterator[memoryview]:
        while size:
            left = len(self._chunk) - self._at
            if not left:
                if not self._refill():
                    return
                continue
            count = min(left, size)
            piece = memoryview(self._chunk)[self._at : self._at + count]
            self._at += count
            self.position += count
            size -= count
            yield piece

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes. Raises InvalidArgument if the stream ends before."""
        end = self._at + size
        if end <= len(self._chunk):
            self._at = end
            self.position += size
            return
        for _ in self.pieces(size):
            pass

    def drain(self) -> None:
        """Read to the end of the stream."""
        self.position += len(self._chunk) - self._at
        while self._refill():
            self.position += len(self._chunk)


_HEADER = struct.Struct("100s8s8s8s12s12s8sB100s8s32s32s8s8s155s12x")


class TarReader:
    """Iterate to get the entries of the archive in ``source``.

    The content of an entry is the next ``entry.size`` bytes of ``source``, to be read (or
    not) before the next entry is asked for. When the iteration ends, the archive did; what
    follows in ``source`` is left to the caller.
    """

    def __init__(self, source: Source, limits: Limits | None = None) -> None:
        self.source = source
        self.limits = limits or Limits()
        self.total_bytes = 0
        self._headers = 0
        self._long_name_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        source = self.source
        while (entry := self._next()) is not None:
            end = source.position + entry.size
            yield entry
            source.skip(end - source.position + -entry.size % BLOCK if entry.size else 0)

    def _read_header(self) -> bytes | None:
        block = self.source.read(BLOCK)
        if len(block) != BLOCK:
            if block:
                raise InvalidArgument("invalid tar archive: it ends within a header")
            return None
        if block == _ZERO_BLOCK:
            return None
        self._headers += 1
        if self._headers > self.limits.entries:
            raise InvalidArgument(
                f"the archive has more than the {self.limits.entries} entries allowed"
            )
        _verify_checksum(block)
        return block

    def _next(self) -> Entry | None:
        name = link = b""
        records: list[tuple[bytes, bytes]] = []
        while (block := self._read_header()) is not None:
            kind = block[156]
            if kind not in _EXTENSIONS:
                return self._parse_entry(block, name, link, records)
            content = self._read_extension(block)
            if kind == _LONG_NAME:
                name = content.partition(b"\0")[0]
            elif kind == _LONG_LINK:
                link = content.partition(b"\0")[0]
            elif kind in (_PAX, _SOLARIS_PAX):
                records = parse_pax(content)
        if name or link or records:
            raise InvalidArgument("invalid tar archive: it ends after an extended header")
        return None

    def _read_extension(self, block: bytes) -> bytes:
        size = parse_number(block[124:136])
        if not 0 <= size <= self.limits.extension_bytes:
            raise InvalidArgument(
                f"invalid tar archive: an extended header of {size} bytes "
                f"(at most {self.limits.extension_bytes} are allowed)"
            )
        content = self.source.read(size)
        if len(content) != size:
            raise InvalidArgument("invalid tar archive: it ends within an extended header")
        self.source.skip(-size % BLOCK)
        return content

    def _parse_entry(
        self, block: bytes, name: bytes, link: bytes, records: list[tuple[bytes, bytes]]
    ) -> Entry:
        entry = parse_header(block)
        if name:
            entry.name = name
        if link:
            entry.link = link
        if records:
            _apply_pax(entry, records)
        sparse_header = block if block[156] == _OLD_SPARSE else None
        self._check(entry)
        start = self.source.position
        if sparse_header is not None:
            self._read_old_sparse(entry, sparse_header)
        elif records and entry.kind is Kind.FILE:
            self._read_pax_sparse(entry, dict(records), records, start)
        if b"\0" in entry.name or b"\0" in entry.link:
            raise InvalidArgument(
                f"invalid tar archive: the name of {show(entry.name)} contains a NUL byte"
            )
        return entry

    def _check(self, entry: Entry) -> None:
        if entry.kind is Kind.FILE and entry.name.endswith(b"/"):
            entry.kind = Kind.DIRECTORY  # how v7 archives write one
            if entry.size:  # some readers take it for content, others for headers
                raise InvalidArgument(
                    f"invalid tar archive: {show(entry.name)} is a directory with content"
                )
        if entry.kind is not Kind.FILE and entry.kind is not Kind.DIRECTORY:
            entry.size = 0  # a size here says nothing of the archive: no content follows
        if entry.kind is Kind.DIRECTORY:
            entry.size = 0
        self._long_name_bytes += max(0, len(entry.name) - 255) + max(0, len(entry.link) - 255)
        if self._long_name_bytes > self.limits.long_name_bytes:
            raise InvalidArgument(
                f"the archive has more than the {self.limits.long_name_bytes} bytes of long names "
                "allowed"
            )
        size = entry.size
        if not 0 <= size <= self.limits.file_bytes:
            raise InvalidArgument(f"invalid tar archive: {show(entry.name)} has size {size}")
        self.total_bytes += size
        if self.total_bytes > self.limits.total_bytes:
            raise InvalidArgument(
                f"the archive holds more than the {self.limits.total_bytes} bytes allowed"
            )
        entry.real_size = size
        if not 0 <= entry.uid <= _MAX_ID or not 0 <= entry.gid <= _MAX_ID:
            raise InvalidArgument(
                f"invalid tar archive: {show(entry.name)} has owner {entry.uid}:{entry.gid}"
            )
        if not -_MAX_SECONDS <= entry.mtime_ns // _NANOSECONDS <= _MAX_SECONDS:
            raise InvalidArgument(f"invalid tar archive: {show(entry.name)} has an absurd date")

    def _read_old_sparse(self, entry: Entry, block: bytes) -> None:
        extents = list(_parse_extents(block[386:482], 4))
        more = block[482]
        real_size = parse_number(block[483:495])
        while more:
            if len(extents) > self.limits.extents:
                break
            block = self.source.read(BLOCK)
            if len(block) != BLOCK:
                raise InvalidArgument("invalid tar archive: it ends within a sparse header")
            extents += _parse_extents(block[:504], 21)
            more = block[504]
        self._set_extents(entry, extents, real_size)

    def _read_pax_sparse(
        self,
        entry: Entry,
        pax: dict[bytes, bytes],
        records: list[tuple[bytes, bytes]],
        start: int,
    ) -> None:
        if b"GNU.sparse.major" in pax:
            version = (pax[b"GNU.sparse.major"], pax.get(b"GNU.sparse.minor", b"0"))
            if version != (b"1", b"0"):
                raise InvalidArgument(
                    f"invalid tar archive: {show(entry.name)} has sparse format "
                    f"{version[0]!r}.{version[1]!r}, which nobody knows"
                )
            extents = self._read_sparse_map(entry)
            entry.size -= self.source.position - start
            real_size = _parse_decimal(pax.get(b"GNU.sparse.realsize", b""))
        elif b"GNU.sparse.map" in pax:
            numbers = [_parse_decimal(text) for text in pax[b"GNU.sparse.map"].split(b",") if text]
            extents = _pair(numbers)
            real_size = _parse_decimal(pax.get(b"GNU.sparse.size", b""))
        elif b"GNU.sparse.numblocks" in pax:
            keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
            extents = _pair([_parse_decimal(value) for key, value in records if key in keys])
            real_size = _parse_decimal(pax.get(b"GNU.sparse.size", b""))
        else:
            return
        if name := pax.get(b"GNU.sparse.name"):
            entry.name = name
        self._set_extents(entry, extents, real_size)

    def _read_sparse_map(self, entry: Entry) -> list[tuple[int, int]]:
        """Read format 1.0's map: decimal lines at the start of the content, padded."""
        left = entry.size
        text = b""
        lines: list[int] = []
        wanted = 1
        while len(lines) < wanted:
            if left < BLOCK or len(lines) > 2 * self.limits.extents + 1:
                raise InvalidArgument(
                    f"invalid tar archive: the sparse map of {show(entry.name)} is too long"
                )
            text += self.source.read(BLOCK)
            left -= BLOCK
            *complete, text = text.split(b"\n")
            lines += map(_parse_decimal, complete)
            if lines:
                wanted = 1 + 2 * lines[0]
            if len(text) > 20 and len(lines) < wanted:
                raise InvalidArgument("invalid tar archive: a sparse map has an absurd number")
        return _pair(lines[1:wanted])

    def _set_extents(self, entry: Entry, extents: list[tuple[int, int]], real_size: int) -> None:
        if len(extents) > self.limits.extents:
            raise InvalidArgument(
                f"{show(entry.name)} is a sparse file in more than the {self.limits.extents} "
                "pieces allowed"
            )
        if not 0 <= real_size <= self.limits.file_bytes:
            raise InvalidArgument(f"invalid tar archive: {show(entry.name)} has size {real_size}")
        at = stored = 0
        for offset, length in extents:
            if offset < at or length < 0 or offset + length > real_size:
                raise InvalidArgument(
                    f"invalid tar archive: the sparse map of {show(entry.name)} is not in order"
                )
            at = offset + length
            stored += length
        if stored != entry.size:
            raise InvalidArgument(
                f"invalid tar archive: the sparse map of {show(entry.name)} covers {stored} "
                f"bytes, but {entry.size} are stored"
            )
        entry.extents = [extent for extent in extents if extent[1]]
        entry.real_size = real_size


def parse_header(block: bytes) -> Entry:
    """Parse one header block of 512 bytes, its checksum aside. Raises InvalidArgument."""
    (
        name, mode, uid, gid, size, mtime, _checksum, kind, link,
        magic, _uname, _gname, major, minor, prefix,
    ) = _HEADER.unpack(block)  # fmt: skip
    entry = Entry()
    entry.name = _cut(name)
    if magic == b"ustar\x0000" and prefix[0]:
        entry.name = _cut(prefix) + b"/" + entry.name
    try:
        entry.kind = _KINDS[kind]
    except KeyError:
        raise InvalidArgument(
            f"invalid tar archive: {show(entry.name)} is of the unknown type {chr(kind)!r}"
        ) from None
    entry.mode = parse_number(mode) & 0o7777
    entry.uid = parse_number(uid)
    entry.gid = parse_number(gid)
    entry.size = entry.real_size = parse_number(size)
    entry.mtime_ns = parse_number(mtime) * _NANOSECONDS
    entry.link = _cut(link) if link[0] else b""
    entry.major = entry.minor = 0
    is_device = entry.kind is Kind.CHARACTER or entry.kind is Kind.BLOCK
    if is_device and magic.startswith(b"ustar"):  # v7 headers have no such fields
        entry.major, entry.minor = parse_number(major), parse_number(minor)
        if not 0 <= entry.major < 1 << 12 or not 0 <= entry.minor < 1 << 20:
            raise InvalidArgument(
                f"invalid tar archive: {show(entry.name)} is device {entry.major}:{entry.minor}"
            )
    entry.xattrs = {}
    entry.extents = None
    return entry


@functools.lru_cache(maxsize=2048)
def parse_number(field: bytes) -> int:
    """Parse a number of a header: octal text, or GNU's base-256. May be negative.

    Raises InvalidArgument.
    """
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        # 0x80 marks a positive number; a negative one is a two's complement of all bytes.
        return value - (1 << bits) if first & 0x40 else value & ~(0x80 << (bits - 8))
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        if not text.isdigit():
            raise ValueError  # noqa: TRY301 int() takes signs and underscores
        return int(text, 8)
    except ValueError:
        raise InvalidArgument(f"invalid tar archive: {field!r} is not an octal number") from None


def parse_pax(content: bytes) -> list[tuple[bytes, bytes]]:
    """Parse the records of an extended header, in order: ``length key=value newline``.

    Raises InvalidArgument.
    """
    records = []
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 20)
        text = content[at:space]
        length = int(text) if space > 0 and text.isdigit() else 0
        if length < _MIN_RECORD or at + length > len(content):
            raise InvalidArgument("invalid tar archive: an extended header is malformed")
        end = at + length
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if end <= space or content[end - 1] != 0x0A or not (key and equals) or b"\0" in key:
            raise InvalidArgument("invalid tar archive: an extended header is malformed")
        records.append((key, value))
        at = end
    return records


def _apply_pax(entry: Entry, records: list[tuple[bytes, bytes]]) -> None:
    for key, value in records:
        if key.startswith(_XATTR):
            entry.xattrs[key[len(_XATTR) :]] = value
        elif not value:
            continue  # takes back what a global header said: those are not heeded
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = entry.real_size = _parse_decimal(value)
        elif key == b"uid":
            entry.uid = _parse_decimal(value)
        elif key == b"gid":
            entry.gid = _parse_decimal(value)
        elif key == b"mtime":
            entry.mtime_ns = _parse_time(value)


def _parse_decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise InvalidArgument(
            f"invalid tar archive: {text[:40]!r} in an extended header is not a decimal number"
        )
    return int(text)


def _parse_time(text: bytes) -> int:
    """Parse decimal seconds with any number of decimals, to nanoseconds."""
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    value = _parse_decimal(whole or b"0") * _NANOSECONDS
    if fraction:
        value += _parse_decimal(fraction[:9].ljust(9, b"0"))
    return -value if text.startswith(b"-") else value


def _parse_extents(field: bytes, count: int) -> Iterator[tuple[int, int]]:
    for at in range(0, 24 * count, 24):
        if not field[at]:
            return
        yield parse_number(field[at : at + 12]), parse_number(field[at + 12 : at + 24])


def _pair(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise InvalidArgument("invalid tar archive: a sparse map has an odd number of numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _cut(field: bytes) -> bytes:
    end = field.find(0)
    return field if end < 0 else field[:end]


def _verify_checksum(block: bytes) -> None:
    field = block[148:156]
    try:
        expected = parse_number(field)
    except InvalidArgument:
        raise InvalidArgument(
            "invalid tar archive: a header without a checksum. Is this a tar archive?"
        ) from None
    # The low half of Adler-32 is the sum of the bytes plus one, in C and modulo 65521.
    if (expected - 8 * 0x20 + sum(field) + 1 - (adler32(block) & 0xFFFF)) % 65521 == 0:
        return
    # Some old programs summed signed bytes.
    signed = sum(struct.unpack("512b", block)) - sum(struct.unpack("8b", field)) + 8 * 0x20
    if expected != signed:
        raise InvalidArgument("invalid tar archive: a header's checksum is wrong")


def show(name: bytes) -> str:
    """Return an archive's name so that it can stand in a message."""
    return repr(name[:200].decode("utf-8", "backslashreplace"))
