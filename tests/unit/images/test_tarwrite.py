"""What is written is what is read: by our own reader, by GNU tar and by Python's."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.images.tar import BLOCK, Entry, Kind, Source, TarReader
from barque.images.tarwrite import END, encode_header, make_entry, pad

NAMES = st.binary(min_size=1, max_size=300).filter(
    lambda name: b"\0" not in name and not name.endswith(b"/") and name.strip(b"/") != b""
)
FIELDS = ("name", "kind", "mode", "uid", "gid", "size", "real_size", "mtime_ns", "link", "xattrs")


def read_back(data: bytes) -> list[tuple[Entry, bytes]]:
    source = Source([data])
    found = []
    for entry in TarReader(source):
        content = b"".join(bytes(piece) for piece in source.pieces(entry.size))
        found.append((entry, content))
    return found


@given(
    name=NAMES,
    link=NAMES,
    kind=st.sampled_from(list(Kind)),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime_ns=st.integers(-(10**19), 10**20),
    content=st.binary(max_size=1500),
    xattrs=st.dictionaries(
        st.binary(min_size=1, max_size=20).filter(lambda key: b"=" not in key and b"\0" not in key),
        st.binary(max_size=200),
        max_size=3,
    ),
)
def test_every_entry_comes_back(name: bytes, link: bytes, kind: Kind, content: bytes, **rest: object) -> None:  # fmt: skip
    entry = make_entry(name, kind)
    for key, value in rest.items():
        setattr(entry, key, value)
    if kind in (Kind.LINK, Kind.SYMLINK):
        entry.link = link
    if kind is Kind.FILE:
        entry.size = entry.real_size = len(content)
    else:
        content = b""
    data = encode_header(entry) + pad(content) + END
    assert len(data) % BLOCK == 0
    [(back, back_content)] = read_back(data)
    if kind is Kind.DIRECTORY:
        entry.name += b"/"
    assert [getattr(back, field) for field in FIELDS] == [getattr(entry, field) for field in FIELDS]
    assert back_content == content


@pytest.mark.parametrize(
    "extents", [[(0, 10), (5000, 7), (9000, 0)], [(9000, 0)], [(100, 100)], [(0, 9000)]]
)
def test_sparse_files(extents: list[tuple[int, int]]) -> None:
    entry = make_entry(b"d/sparse")
    entry.extents = extents
    entry.real_size = max(9000, sum(extents[-1]))
    entry.size = sum(length for _, length in extents)
    stored = bytes(range(256)) * 40
    data = encode_header(entry) + pad(stored[: entry.size]) + END
    [(back, content)] = read_back(data)
    assert (back.name, back.real_size) == (b"d/sparse", 9000)
    assert back.extents == [extent for extent in extents if extent[1]]
    assert content == stored[: entry.size]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.getmembers()[0]
        assert (member.name, member.size) == ("d/sparse", 9000)
        file = archive.extractfile(member)
        assert file is not None
        whole = bytearray(9000)
        at = 0
        for offset, length in extents:
            whole[offset : offset + length] = stored[at : at + length]
            at += length
        assert file.read() == whole


def test_plain_entries_need_no_extended_header() -> None:
    for kind in (Kind.FILE, Kind.DIRECTORY, Kind.FIFO):
        entry = make_entry(b"n" * 99, kind, mtime_ns=1_700_000_000 * 10**9)
        assert len(encode_header(entry)) == BLOCK


@pytest.mark.parametrize("length", [1, 89, 90, 91, 986, 987, 988, 989, 9985, 9986, 9987])
def test_record_lengths_count_themselves(length: int) -> None:
    entry = make_entry(b"f")
    entry.xattrs = {b"user.x": b"v" * length}
    [(back, _)] = read_back(encode_header(entry) + END)
    assert back.xattrs == entry.xattrs


def test_devices() -> None:
    entry = make_entry(b"null", Kind.CHARACTER)
    entry.major, entry.minor = 1, 3
    with tarfile.open(fileobj=io.BytesIO(encode_header(entry) + END)) as archive:
        member = archive.getmembers()[0]
        assert (member.ischr(), member.devmajor, member.devminor) == (True, 1, 3)
