"""What the fuzzer writes: archives by a grammar of members, and mutations of them.

A member is what stands in an archive for one entry: its extension headers, its header, its
content. Most of what is drawn is nearly right, for what is wrong everywhere is refused at once
and tries nothing.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable

import zstandard
from hypothesis import strategies as st

from support.hostile_archives import CASES
from support.images import END, make_member, make_pax

_COMPONENTS = (
    *(b"a", b"b", b"d", b"e", b"file", b"trap", b"A"),
    *("é".encode(), "e\u0301".encode(), b"\xff", b"new\nline", b"n" * 255, b"n" * 100),
    *(b"..", b".", b"", b".wh.a", b".wh.d", b".wh..wh..opq"),
)
_RARE_COMPONENTS = (b"n" * 256, b".wh.", b".wh..", b".wh...", b".wh..wh.plnk", b" ", b"\\")
_TARGETS = (
    *(b"a", b"b", b"d", b"/", b"..", b".", b"/d", b"../e", b"a/b", b"none", b"d/none"),
    *(b"/proc/self/root", b"/etc", b"trap", b"file", b"../../../../outside", b"trap/a"),
)
_NUMBERS = (0, 1, 5, 511, 512, 513, 1000, 65534, 1 << 21, 1 << 31, (1 << 32) - 2, (1 << 32) - 1)
_ODD_NUMBERS = (-1, -512, 1 << 33, 1 << 62, 1 << 63, 1 << 64, (1 << 63) - 1)
_BAD_FIELDS = (b"", b" ", b"8", b"-1", b"+1", b"0x1", b"1.5", b"1_0", b"\xff" * 8, b"7" * 12, b"\0")
_XATTRS = (
    *(b"user.a", b"user.b", b"trusted.a", b"trusted.overlay.opaque", b"security.capability"),
    *(b"trusted.overlay.redirect", b"user.overlay.opaque", b"system.posix_acl_access", b"", b"a"),
)
_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
_PLACES = {"mode": 8, "uid": 8, "gid": 8, "size": 12, "mtime": 12, "major": 8, "minor": 8}

names = st.one_of(
    st.lists(st.sampled_from(_COMPONENTS), min_size=1, max_size=4).map(b"/".join),
    st.sampled_from((b"a", b"b", b"d", b"d/a", b"d/b", b"trap/a", b"e/a", b"./a", b"d/", b"/a")),
    st.tuples(
        st.sampled_from(_COMPONENTS + _RARE_COMPONENTS),
        st.sampled_from(_COMPONENTS + _RARE_COMPONENTS),
    ).map(b"/".join),
)
targets = st.one_of(st.sampled_from(_TARGETS), names)
numbers = st.one_of(
    st.sampled_from(_NUMBERS), st.integers(0, 1 << 20), st.sampled_from(_ODD_NUMBERS)
)


def write_number(value: int, width: int, *, binary: bool = False) -> bytes:
    """Return a header's field: octal where it fits, else base-256."""
    if binary or not 0 <= value < 8 ** (width - 1):
        field = bytearray((value % (1 << (8 * width))).to_bytes(width, "big"))
        field[0] |= 0x80
        return bytes(field)
    return b"%0*o\0" % (width - 1, value)


@st.composite
def _fields(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw some fields of a header; most are left as they are."""
    fields: dict[str, bytes] = {}
    for place in draw(st.lists(st.sampled_from(("mode", "uid", "gid", "mtime")), max_size=3)):
        value = draw(st.sampled_from((0, 1, 0o4755, 0o7777, 1000, 1 << 30, 1 << 33, -5)))
        fields[place] = write_number(value, _PLACES[place], binary=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.sampled_from(tuple(_PLACES)))
        fields[place] = draw(
            st.one_of(
                st.sampled_from(_BAD_FIELDS),
                numbers.map(lambda value: write_number(value, _PLACES[place])),
            )
        )
    fields["magic"] = draw(st.sampled_from((b"ustar\x0000", b"ustar\x0000", b"ustar  \0", b"")))
    return fields


@st.composite
def _records(draw: st.DrawFn) -> bytes:
    """Draw an extended header."""
    records: dict[bytes, bytes] = {}
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.integers(0, 6)):
            case 0:
                records[b"path"] = draw(names)
            case 1:
                records[b"linkpath"] = draw(targets)
            case 2:
                key = draw(st.sampled_from((b"uid", b"gid", b"size", b"mtime", b"atime")))
                records[key] = b"%d" % draw(numbers)
            case 3:
                key = draw(st.sampled_from((b"mtime", b"uid", b"size", b"path", b"linkpath")))
                values = (b"", b"1.5", b"-1.25", b"nan", b"1e5", b" 7", b"1.", b".5", b"a\0b")
                records[key] = draw(st.sampled_from(values))
            case 4:
                name = b"SCHILY.xattr." + draw(st.sampled_from(_XATTRS))
                records[name] = draw(st.sampled_from((b"x", b"", b"a\n=\0b", b"y", _CAPABILITY)))
            case 5:
                key = draw(st.sampled_from((b"comment", b"uname", b"charset", b"hdrcharset")))
                records[key] = draw(st.sampled_from((b"BINARY", b"root", b"x")))
            case _:
                records[draw(st.binary(min_size=1, max_size=5))] = draw(st.binary(max_size=9))
    if draw(st.integers(0, 11)) == 0:
        return make_member(b"PaxHeader", draw(st.binary(max_size=40)), b"x")
    kind = draw(st.sampled_from((b"x", b"x", b"x", b"x", b"x", b"X", b"g")))
    extension = bytearray(make_pax(records))
    extension[156:157] = kind
    return fix_checksum(bytes(extension))


@st.composite
def _sparse(draw: st.DrawFn) -> bytes:
    """Draw a sparse file in one of the four ways to write one."""
    name = draw(names)
    lengths = st.one_of(st.sampled_from((512, 1024)), st.integers(0, 600))
    extents = draw(st.lists(st.tuples(st.integers(0, 9000), lengths), max_size=4).map(sorted))
    at = 0
    apart = []
    for offset, length in extents:
        if offset < at and draw(st.integers(0, 4)):
            continue
        apart.append((offset, length))
        at = offset + length
    stored = bytes(1 + n % 255 for n in range(sum(length for _, length in apart)))
    size = draw(st.one_of(st.just(at), st.just(at + 5000), numbers))
    match draw(st.integers(0, 3)):
        case 0:
            block = bytearray(make_member(name[:100], stored, b"S", magic=b"ustar  \0"))
            for number, (offset, length) in enumerate(apart[:4]):
                place = 386 + 24 * number
                block[place : place + 24] = write_number(offset, 12) + write_number(length, 12)
            block[482] = draw(st.sampled_from((0, 0, 0, 1)))
            block[483:495] = write_number(size, 12)
            return fix_checksum(bytes(block))
        case 1:
            flat = [b"%d" % number for extent in apart for number in extent]
            records = {b"GNU.sparse.size": b"%d" % size, b"GNU.sparse.name": name,
                       b"GNU.sparse.numblocks": b"%d" % len(apart),
                       b"GNU.sparse.map": b",".join(flat)}  # fmt: skip
            return make_pax(records) + make_member(b"sparse", stored)
        case 2:
            text = make_pax({b"GNU.sparse.size": b"%d" % size,
                             b"GNU.sparse.numblocks": b"%d" % len(apart)})  # fmt: skip
            pairs = [{b"GNU.sparse.offset": b"%d" % offset, b"GNU.sparse.numbytes": b"%d" % length}
                     for offset, length in apart]  # fmt: skip
            body = b"".join(_pax_text(part) for part in (text, *map(make_pax, pairs)))
            return make_member(b"PaxHeader", body, b"x") + make_member(name[:100], stored)
        case _:
            records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0",
                       b"GNU.sparse.name": name, b"GNU.sparse.realsize": b"%d" % size}  # fmt: skip
            lines = b"%d\n" % len(apart) + b"".join(b"%d\n%d\n" % extent for extent in apart)
            body = lines + bytes(-len(lines) % 512) + stored
            return make_pax(records) + make_member(b"sparse", body)


def _pax_text(extension: bytes) -> bytes:
    return extension[512 : 512 + int(extension[124:135], 8)]


@st.composite
def _members(draw: st.DrawFn) -> bytes:
    """Draw one entry with what stands before it."""
    name, link = draw(names), draw(targets)
    kind = draw(st.sampled_from(b"000\x0055571112222346")).to_bytes(1, "big")
    before = b""
    match draw(st.integers(0, 9)):
        case 0 | 1:
            before = draw(_records())
        case 2:
            before = make_member(b"././@LongLink", draw(names) + b"\0", b"L")
        case 3:
            before = make_member(b"././@LongLink", draw(targets) + b"\0", b"K")
        case 4:
            return draw(_sparse())
        case 5 if draw(st.booleans()):
            kind = bytes([draw(st.integers(0, 255))])
        case _:
            pass
    if len(name) > 100 and not before:
        before = make_pax({b"path": name})
    fields = draw(_fields())
    if kind in b"12":
        fields["link"] = link[:100]
    if kind in b"34":
        fields["major"] = write_number(draw(st.sampled_from((0, 1, 8, 4095, 4096))), 8)
        fields["minor"] = write_number(draw(st.sampled_from((0, 3, 255, 1048575, 1 << 20))), 8)
    content = draw(st.binary(max_size=600)) if kind in b"07\0" else b""
    size = fields.pop("size", None)
    member = bytearray(make_member(name[:100], content, kind, **fields))
    if size is not None:
        member[124:136] = size.ljust(12, b"\0")[:12]
    return before + fix_checksum(bytes(member))


def fix_checksum(member: bytes) -> bytes:
    """Return ``member`` with the right checksum in its first header."""
    block = bytearray(member)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def _split(archive: bytes) -> list[bytes]:
    return [archive[at : at + 512] for at in range(0, len(archive), 512)]


CORPUS = tuple(
    archive for archive in (case.build("/outside") for case in CASES) if len(archive) < 20_000
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Draw an archive of the corpus, with some blocks or bytes of it changed."""
    blocks = _split(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(blocks)))
        match draw(st.integers(0, 6)):
            case 0:
                del blocks[at : at + draw(st.integers(1, 3))]
            case 1:
                blocks[at:at] = blocks[at : at + draw(st.integers(1, 4))]
            case 2:
                blocks[at:at] = _split(draw(_members()))
            case 3:
                blocks[at:at] = _split(draw(st.sampled_from(CORPUS)))[:-2]
            case 4:
                blocks[at:at] = [bytes(512)]
            case _ if at < len(blocks) and len(blocks[at]) == 512:
                block = bytearray(blocks[at])
                place = draw(st.sampled_from((0, 100, 108, 116, 124, 136, 156, 157, 257, 329, 345)))
                garbage = draw(st.binary(min_size=1, max_size=4))
                block[place : place + len(garbage)] = garbage
                repaired = fix_checksum(bytes(block)) if draw(st.booleans()) else bytes(block)
                blocks[at] = repaired
            case _:
                pass
    return b"".join(blocks)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Draw an archive."""
    if draw(st.integers(0, 3)) == 0:
        content = draw(_mutated())
    else:
        content = b"".join(draw(st.lists(_members(), min_size=1, max_size=6)))
        content += draw(st.sampled_from((END, END, END, END, b"", bytes(512), END + content)))
    if draw(st.integers(0, 14)) == 0:
        content = content[: draw(st.integers(0, len(content)))]
    return content


_COMPRESS: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
    bz2.compress,
    lzma.compress,
    lambda content: gzip.compress(content[:700]) + gzip.compress(content[700:]),
    lambda content: struct.pack("<II", 0x184D2A50, 3) + b"abc" + zstandard.compress(content),
)


@st.composite
def compressed(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw ``content`` as a layer's blob: often plain, sometimes compressed, rarely damaged."""
    if draw(st.integers(0, 4)):
        return content
    blob = bytearray(draw(st.sampled_from(_COMPRESS))(content))
    match draw(st.integers(0, 5)):
        case 0:
            del blob[draw(st.integers(0, len(blob))) :]
        case 1 if blob:
            blob[draw(st.integers(0, len(blob) - 1))] ^= draw(st.integers(1, 255))
        case 2:
            blob += draw(st.sampled_from((b"\0" * 512, b"garbage", b"\x1f\x8b", bytes(blob))))
        case _:
            pass
    return bytes(blob)
