"""Writing tar headers: what ``tar`` reads, the other way round.

Every member is a ustar header, preceded by a PAX extended header for what ustar cannot hold:
long names, extended attributes, nanoseconds, dates before 1970, large numbers, holes. Names
are bytes, and stay as they are. The same entries always give the same bytes.

Source: POSIX.1-2017 pax, the GNU tar manual's "Tar Internals" (sparse format PAX 1.0).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from barque.images.tar import BLOCK, Entry, Kind

END = bytes(2 * BLOCK)
"""What ends an archive."""

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_KINDS = {
    Kind.FILE: b"0",
    Kind.LINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_NAME_BYTES = 100
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_NANOSECONDS = 1_000_000_000
_PAX_NAME = b"PaxHeaders/header"


def make_entry(
    name: bytes, kind: Kind = Kind.FILE, *, size: int = 0, mode: int = 0o644, mtime_ns: int = 0
) -> Entry:
    """Return an entry of root's, without links and attributes."""
    entry = Entry()
    entry.name, entry.kind, entry.mode = name, kind, mode
    entry.uid = entry.gid = entry.major = entry.minor = 0
    entry.size = entry.real_size = size
    entry.mtime_ns = mtime_ns
    entry.link = b""
    entry.xattrs = {}
    entry.extents = None
    return entry


def encode_header(entry: Entry) -> bytes:
    """Return all that stands before the content of ``entry``.

    ``entry.extents``, if given, makes it a sparse file: the content is then their bytes, one
    after the other. ``entry.size`` counts what follows, the padding to whole blocks aside.
    """
    records: dict[bytes, bytes] = {}
    name = entry.name
    if entry.kind is Kind.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    size, sparse_map = entry.size, b""
    if entry.extents is not None:
        sparse_map = _encode_map(entry.extents)
        size += len(sparse_map)
        records[b"GNU.sparse.major"] = b"1"
        records[b"GNU.sparse.minor"] = b"0"
        records[b"GNU.sparse.name"] = name
        records[b"GNU.sparse.realsize"] = b"%d" % entry.real_size
        name = b"GNUSparseFile.0/" + name.rpartition(b"/")[2][: _NAME_BYTES - 16]
    elif len(name) > _NAME_BYTES:
        records[b"path"] = name
    if len(entry.link) > _NAME_BYTES:
        records[b"linkpath"] = entry.link
    seconds, fraction = divmod(entry.mtime_ns, _NANOSECONDS)
    if fraction or not 0 <= seconds <= _MAX_SIZE:
        records[b"mtime"] = _format_time(entry.mtime_ns)
        seconds = min(max(seconds, 0), _MAX_SIZE)
    uid, gid = entry.uid, entry.gid
    if uid > _MAX_ID:
        records[b"uid"] = b"%d" % uid
        uid = 0
    if gid > _MAX_ID:
        records[b"gid"] = b"%d" % gid
        gid = 0
    if size > _MAX_SIZE:
        records[b"size"] = b"%d" % size
    for key, value in sorted(entry.xattrs.items()):
        records[b"SCHILY.xattr." + key] = value
    header = _encode_block(
        name,
        _KINDS[entry.kind],
        (entry.mode, uid, gid, min(size, _MAX_SIZE), seconds),
        entry.link,
        (entry.major, entry.minor),
    )
    return (_encode_pax(records) + header if records else header) + sparse_map


def _encode_block(
    name: bytes,
    kind: bytes,
    numbers: tuple[int, int, int, int, int],
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Return one block; ``numbers`` are mode, uid, gid, size and date."""
    mode, uid, gid, size, mtime = numbers
    major, minor = device
    block = bytearray(
        _HEADER.pack(
            name[:_NAME_BYTES], b"%07o" % mode, b"%07o" % uid, b"%07o" % gid, b"%011o" % size,
            b"%011o" % mtime, b"        ", kind, link[:_NAME_BYTES], b"ustar\x0000", b"", b"",
            b"%07o" % major, b"%07o" % minor, b"",
        )
    )  # fmt: skip
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _encode_pax(records: Mapping[bytes, bytes]) -> bytes:
    content = b"".join(_encode_record(key, value) for key, value in records.items())
    return _encode_block(_PAX_NAME, b"x", (0o644, 0, 0, len(content), 0)) + pad(content)


def _encode_record(key: bytes, value: bytes) -> bytes:
    """Return ``length key=value newline``; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _encode_map(extents: list[tuple[int, int]]) -> bytes:
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    return pad(b"".join(b"%d\n" % number for number in numbers))


def pad(content: bytes) -> bytes:
    """Return ``content``, filled up with zeros to whole blocks."""
    return content + bytes(-len(content) % BLOCK)


def _format_time(time_ns: int) -> bytes:
    seconds, fraction = divmod(abs(time_ns), _NANOSECONDS)
    text = b"%d.%09d" % (seconds, fraction)
    return (b"-" if time_ns < 0 else b"") + text.rstrip(b"0").rstrip(b".")
