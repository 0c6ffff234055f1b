from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.images.tar import Entry, Kind, Limits, Source, TarReader, parse_number, parse_pax
from support.images import END, make_header, make_member, make_pax, make_tar

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def cut(content: bytes, step: int) -> list[bytes]:
    return [content[at : at + step] for at in range(0, len(content), step)]


def read(content: bytes, step: int = 4096, **limits: Any) -> list[tuple[Entry, bytes]]:
    source = Source(cut(content, step))
    return [
        (entry, b"".join(bytes(piece) for piece in source.pieces(entry.size)))
        for entry in TarReader(source, Limits(**limits))
    ]


def read_one(content: bytes, **limits: Any) -> Entry:
    ((entry, _),) = read(content, **limits)
    return entry


def expand(entry: Entry, stored: bytes) -> bytes:
    """Put a sparse file's pieces where they belong."""
    if entry.extents is None:
        return stored
    whole = bytearray(entry.real_size)
    at = 0
    for offset, length in entry.extents:
        whole[offset : offset + length] = stored[at : at + length]
        at += length
    return bytes(whole)


@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize("step", [1, 511, 512, 100_000])
def test_every_kind_in_every_format(tar_format: int, step: int) -> None:
    archive = make_tar(
        [
            ("dir", "d", None),
            ("file", "d/file", b"hello"),
            ("file", "d/empty", b""),
            ("file", "d/block", b"x" * 512),
            ("symlink", "d/sym", "../target"),
            ("link", "d/hard", "d/file"),
            ("char", "d/null", (1, 3)),
            ("block", "d/sda", (8, 0)),
            ("fifo", "d/pipe", None),
        ],
        tar_format,
        uid=1000,
        gid=100,
        mtime=12345,
    )
    found = read(archive, step)
    assert [(entry.kind, entry.name.rstrip(b"/"), data) for entry, data in found] == [
        (Kind.DIRECTORY, b"d", b""),
        (Kind.FILE, b"d/file", b"hello"),
        (Kind.FILE, b"d/empty", b""),
        (Kind.FILE, b"d/block", b"x" * 512),
        (Kind.SYMLINK, b"d/sym", b""),
        (Kind.LINK, b"d/hard", b""),
        (Kind.CHARACTER, b"d/null", b""),
        (Kind.BLOCK, b"d/sda", b""),
        (Kind.FIFO, b"d/pipe", b""),
    ]
    entries = [entry for entry, _ in found]
    assert {(entry.uid, entry.gid, entry.mtime_ns) for entry in entries} == {
        (1000, 100, 12345 * 10**9)
    }
    assert entries[4].link == b"../target"
    assert entries[5].link == b"d/file"
    assert (entries[6].major, entries[6].minor) == (1, 3)
    assert (entries[7].major, entries[7].minor) == (8, 0)


names = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=150)
@given(
    path=st.lists(names, min_size=1, max_size=12).map("/".join),
    content=st.binary(max_size=2000),
    mode=st.integers(0, 0o7777),
    owner=st.integers(0, 2**32 - 2),
    seconds=st.integers(-(2**33), 2**33),
    fraction=st.integers(0, 2**10 - 1),
    tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    step=st.integers(1, 3000),
)
def test_what_tarfile_writes_is_read(
    *,
    path: str,
    content: bytes,
    mode: int,
    owner: int,
    seconds: int,
    fraction: int,
    tar_format: int,
    step: int,
) -> None:
    mtime = seconds + fraction / 1024 if tar_format == tarfile.PAX_FORMAT else seconds
    archive = make_tar(
        [("file", path, content)], tar_format, mode=mode, uid=owner, gid=owner, mtime=mtime
    )
    ((entry, data),) = read(archive, step)
    assert (entry.name, data) == (path.encode(), content)
    assert (entry.mode, entry.uid, entry.gid) == (mode, owner, owner)
    assert abs(entry.mtime_ns - mtime * 10**9) < 2000


@given(st.binary(max_size=3000))
def test_no_bytes_do_worse_than_be_refused(content: bytes) -> None:
    for archive in (content, make_member(b"x", content, b"x") + make_member(b"f"), content + END):
        try:
            read(archive)
        except InvalidArgument:
            continue


@settings(max_examples=200)
@given(st.integers(0, 511), st.binary(min_size=1, max_size=12))
def test_no_header_does_worse_than_be_refused(at: int, garbage: bytes) -> None:
    block = bytearray(make_header(b"name", size=b"00000000000\0"))
    block[at : at + len(garbage)] = garbage
    block = block[:512]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    try:
        read(bytes(block) + END)
    except InvalidArgument:
        return


@pytest.mark.parametrize("tar_format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_gnu_tar_archives(tmp_path: Path, tar_format: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_bytes(b"hello")
    (tmp_path / "d" / "link").symlink_to("file")
    os.link(tmp_path / "d" / "file", tmp_path / "d" / "hard")
    os.utime(tmp_path / "d" / "file", ns=(0, 1_500_000_000_123_456_789))
    long_name = "n" * (50 if tar_format in ("v7", "ustar") else 200)
    (tmp_path / "d" / long_name).write_bytes(b"long")
    archive = subprocess.run(
        ["tar", "c", f"--format={tar_format}", "--sort=name", "-C", tmp_path, "d"],
        check=True,
        capture_output=True,
    ).stdout
    found = {entry.name.rstrip(b"/"): (entry, data) for entry, data in read(archive)}
    assert set(found) == {b"d", b"d/file", b"d/link", b"d/hard", b"d/" + long_name.encode()}
    assert found[b"d"][0].kind is Kind.DIRECTORY
    assert found[b"d/link"][0].link == b"file"
    assert found[b"d/hard"][0].kind is Kind.LINK
    assert found[b"d/" + long_name.encode()][1] == b"long"
    expected = 1_500_000_000_123_456_789 if tar_format == "posix" else 1_500_000_000 * 10**9
    assert found[b"d/file"][0].mtime_ns == expected


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ],
)
@pytest.mark.parametrize("pieces", [0, 1, 3, 60])
def test_sparse_files(tmp_path: Path, options: list[str], pieces: int) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for number in range(pieces):
            file.seek(number * 65536 + 16384)
            file.write(b"%05d" % number * 1000)
        file.truncate(pieces * 65536 + 50_000)
    archive = subprocess.run(
        ["tar", "c", "-S", *options, "-C", tmp_path, "sparse"], check=True, capture_output=True
    ).stdout
    ((entry, stored),) = read(archive)
    assert entry.name == b"sparse"
    assert entry.extents is not None
    assert len(stored) < entry.real_size == path.stat().st_size
    assert expand(entry, stored) == path.read_bytes()


def test_dates_before_1970() -> None:
    pax = make_pax({b"mtime": b"-1.25"}) + make_member(b"f") + END
    assert read_one(pax).mtime_ns == -1_250_000_000
    gnu = make_member(b"f", mtime=(-86400).to_bytes(12, "big", signed=True)) + END
    assert read_one(gnu).mtime_ns == -86400 * 10**9


def test_attributes() -> None:
    pax = {
        b"SCHILY.xattr.user.a": b"1\n2\0=3",
        b"SCHILY.xattr.security.capability": b"\1\0\0\2",
        b"uid": b"4294967294",
    }
    entry = read_one(make_pax(pax) + make_member(b"f") + END)
    assert entry.xattrs == {b"user.a": b"1\n2\0=3", b"security.capability": b"\1\0\0\2"}
    assert entry.uid == 2**32 - 2


def test_an_extended_header_counts_for_one_entry() -> None:
    archive = make_pax({b"path": b"first"}) + make_member(b"a") + make_member(b"b") + END
    assert [entry.name for entry, _ in read(archive)] == [b"first", b"b"]


def test_empty_and_global_extended_headers_say_nothing() -> None:
    archive = (
        make_member(b"x", b"", b"x")
        + make_member(b"g", b"20 comment=whatever\n"[:20], b"g")
        + make_member(b"f")
        + END
    )
    assert read_one(archive).name == b"f"


def test_a_prefix_belongs_to_the_name_in_ustar_only() -> None:
    assert read_one(make_member(b"f", prefix=b"dir") + END).name == b"dir/f"
    assert read_one(make_member(b"f", prefix=b"dir", magic=b"ustar  \0") + END).name == b"f"


def test_an_old_directory_is_a_file_with_a_slash() -> None:
    assert read_one(make_member(b"d/", kind=b"0") + END).kind is Kind.DIRECTORY
    assert read_one(make_member(b"d/", kind=b"\0", magic=b"") + END).kind is Kind.DIRECTORY


def test_a_link_has_no_content_whatever_its_size() -> None:
    link = make_header(b"l", b"1", b"00000000010\0", link=b"f")
    assert [entry.name for entry, _ in read(link + make_member(b"f") + END)] == [b"l", b"f"]


def test_old_headers_have_no_device_numbers() -> None:
    numbers = {"major": b"0000010\0", "minor": b"0000003\0"}
    assert read_one(make_member(b"c", kind=b"3", **numbers) + END).major == 8
    old = read_one(make_member(b"c", kind=b"3", magic=b"", **numbers) + END)
    assert (old.major, old.minor) == (0, 0)


def test_signed_checksums() -> None:
    block = bytearray(make_header("ü".encode(), size=b"00000000000\0"))
    total = sum(value - 256 if value > 127 else value for value in block)
    total += 8 * 0x20 - sum(block[148:156])
    block[148:156] = b"%06o\0 " % total
    assert read_one(bytes(block) + END).name == "ü".encode()


def test_an_archive_may_end_without_zeros() -> None:
    assert read_one(make_member(b"f", b"x")).name == b"f"
    assert read(b"") == []


def test_what_follows_the_end_is_left() -> None:
    source = Source([make_member(b"f") + END + b"more"])
    assert len(list(TarReader(source))) == 1
    source.drain()
    assert source.position == 512 + 1024 + 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"    644\0", 0o644),
        (b"644     ", 0o644),
        (b"0000644 ", 0o644),
        (b"644\0junk", 0o644),
        (b"\0" * 8, 0),
        (b" " * 8, 0),
        (b"\x80" + bytes(7), 0),
        (b"\x80\0\0\0\xff\xff\xff\xff", 2**32 - 1),
        (b"\xff" * 8, -1),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert parse_number(field) == value


@given(st.integers(-(2**86), 2**86))
def test_base_256_numbers(value: int) -> None:
    field = bytearray(value.to_bytes(12, "big", signed=True))
    field[0] |= 0x80
    assert parse_number(bytes(field)) == value


@pytest.mark.parametrize(
    "field", [b"0000648\0", b"-000644\0", b"0o644\0\0\0", b"1_0\0\0\0\0\0", b"x"]
)
def test_numbers_that_are_none(field: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse_number(field)


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=20).filter(lambda k: not set(k) & set(b"=\0")),
            st.binary(),
        )
    )
)
def test_extended_headers_round_trip(records: list[tuple[bytes, bytes]]) -> None:
    blocks = [make_pax({key: value}) for key, value in records]
    content = b"".join(block[512 : 512 + parse_number(block[124:136])] for block in blocks)
    assert parse_pax(content) == records


@pytest.mark.parametrize(
    "content",
    [b"x", b"5 a=b", b"6 a=b", b"99 a=b\n", b"0 a=b\n", b"-6 a=b\n", b"6 =ab\n", b"6 abc\n",
     b"7 a\0=b\n", b" a=b\n", b"6", b"99999999999999999999999 a=b\n"],
)  # fmt: skip
def test_malformed_extended_headers(content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse_pax(content)


def sparse_1_0(text: bytes, stored: bytes, size: bytes) -> bytes:
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": b"f",
        b"GNU.sparse.realsize": size,
    }
    body = text + bytes(-len(text) % 512) + stored
    return make_pax(records) + make_member(b"f", body) + END


@pytest.mark.parametrize(
    "archive",
    [
        make_member(b"f", b"x" * 600)[:700],
        make_member(b"f")[:300],
        make_pax({b"path": b"x"}),
        make_pax({b"path": b"x"})[:600],
        make_header(b"f", size=(-1).to_bytes(12, "big", signed=True)) + END,
        make_pax({b"size": b"-1"}) + make_member(b"f") + END,
        make_pax({b"size": b"1e3"}) + make_member(b"f") + END,
        make_pax({b"size": b"99999999999999999999999999"}) + make_member(b"f") + END,
        make_pax({b"mtime": b"soon"}) + make_member(b"f") + END,
        make_pax({b"mtime": b"99999999999999999999"}) + make_member(b"f") + END,
        make_pax({b"uid": b"4294967295"}) + make_member(b"f") + END,
        make_pax({b"path": b"a\0b"}) + make_member(b"f") + END,
        make_pax({b"linkpath": b"a\0b"}) + make_member(b"f", kind=b"2") + END,
        make_member(b"f", uid=(-5).to_bytes(8, "big", signed=True)) + END,
        make_member(b"f", kind=b"Z") + END,
        make_member(b"d/", make_member(b"smuggled")) + END,
        make_member(b"c", kind=b"3", major=b"7777777\0") + END,
        make_header(b"L", b"L", b"77777777777\0") + END,
        make_header(b"x", b"x", b"00010000001\0") + END,
        b"root:x:0:0" * 100,
        b"\0" * 511 + b"x",
        sparse_1_0(b"1\n0\n100\n", b"x" * 50, b"100"),
        sparse_1_0(b"1\n0\n100\n", b"x" * 100, b"50"),
        sparse_1_0(b"2\n10\n5\n5\n5\n", b"x" * 10, b"100"),
        sparse_1_0(b"99999999\n", b"", b"100"),
        sparse_1_0(b"1" * 600, b"", b"100"),
        sparse_1_0(b"-1\n", b"", b"100"),
        sparse_1_0(b"x\n", b"", b"100"),
        sparse_1_0(b"0\n", b"", b"9999999999999999999"),
        make_pax({b"GNU.sparse.major": b"9"}) + make_member(b"f") + END,
        make_pax({b"GNU.sparse.map": b"1,2,3", b"GNU.sparse.size": b"9"}) + make_member(b"f") + END,
        make_pax({b"GNU.sparse.map": b"0,0"}) + make_member(b"f") + END,
    ],
)
def test_refused_archives(archive: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read(archive)


def test_limits() -> None:
    archive = make_tar([("file", "a", b"x" * 100), ("file", "b", b"x" * 100)], tarfile.GNU_FORMAT)
    assert len(read(archive, entries=2, total_bytes=200, file_bytes=100)) == 2
    for limits in ({"entries": 1}, {"total_bytes": 199}, {"file_bytes": 99}):
        with pytest.raises(InvalidArgument):
            read(archive, **limits)


def test_long_names_are_limited_together() -> None:
    archive = b"".join(
        make_pax({b"path": b"%d" % n + b"n" * 254}) + make_member(b"f") for n in range(5)
    )
    assert len(read(archive, long_name_bytes=0)) == 5
    archive += (make_pax({b"path": b"n" * 300}) + make_member(b"f")) * 2
    assert len(read(archive, long_name_bytes=90)) == 7
    with pytest.raises(InvalidArgument, match="more than the 89 bytes of long names"):
        read(archive, long_name_bytes=89)


def test_extended_headers_count_as_entries() -> None:
    with pytest.raises(InvalidArgument, match="entries"):
        read(make_member(b"x", b"", b"x") * 20 + make_member(b"f") + END, entries=10)


def test_unread_content_is_passed_over() -> None:
    archive = make_tar([("file", "a", b"x" * 5000), ("file", "b", b"")])
    assert [entry.name for entry in TarReader(Source(cut(archive, 100)))] == [b"a", b"b"]


def test_tarfile_agrees_on_a_real_tree() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(Path(tarfile.__file__).parent / "asyncio", "asyncio")
    found = {entry.name.decode().rstrip("/"): data for entry, data in read(buffer.getvalue())}
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert found.pop(member.name) == (file.read() if file else b"")
    assert found == {}
