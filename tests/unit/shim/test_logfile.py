from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from barque.models.launch import LogTarget
from barque.shim.logfile import LogFile, timestamp

chunks = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=100).map(str.encode),
            st.sampled_from([b"\n", b"\\n\n", b'"\n', b"\x00\x1f\t\r\n", b"x" * 17000, b"\xff\n"]),
        ),
    ),
    max_size=20,
)


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def texts(entries: list[dict[str, str]], stream: str) -> str:
    return "".join(entry["log"] for entry in entries if entry["stream"] == stream)


@given(written=chunks)
def test_what_is_read_back_is_what_was_written(
    tmp_path_factory: object, written: list[tuple[str, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "c-json.log"  # type: ignore[attr-defined]
    log = LogFile(LogTarget(path=str(path)))
    expected = {"stdout": b"", "stderr": b""}
    for stream, chunk in written:
        log.write(stream, chunk)
        expected[stream] += chunk
    log.close()
    entries = read(path)
    for stream, data in expected.items():
        try:
            wanted = data.decode()
        except UnicodeDecodeError:
            continue  # replaced per piece; see the test of invalid UTF-8
        assert texts(entries, stream) == wanted
    assert all(len(entry["log"].replace("\ufffd", "?").encode()) <= 16384 for entry in entries)
    assert all("\n" not in entry["log"][:-1] for entry in entries)


def test_invalid_utf8_is_replaced(tmp_path: Path) -> None:
    log = LogFile(LogTarget(path=str(tmp_path / "log")))
    log.write("stdout", b"a\xffb\n")
    log.close()
    assert texts(read(tmp_path / "log"), "stdout") == "a\ufffdb\n"


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    log = LogFile(LogTarget(path=str(tmp_path / "log")))
    log.write("stdout", b"one\ntw")
    assert [e["log"] for e in read(tmp_path / "log")] == ["one\n"]
    log.write("stdout", b"o\nthree")
    log.close()
    assert [e["log"] for e in read(tmp_path / "log")] == ["one\n", "two\n", "three"]


def test_long_lines_are_cut_without_newline_and_not_inside_a_character(tmp_path: Path) -> None:
    log = LogFile(LogTarget(path=str(tmp_path / "log")))
    line = "é" * 20000 + "\n"
    log.write("stderr", line.encode())
    log.close()
    entries = read(tmp_path / "log")
    assert len(entries) == 3
    assert texts(entries, "stderr") == line
    assert entries[0]["log"].endswith("é")


def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(LogTarget(path=str(path), max_size_bytes=1000, max_files=3))
    for number in range(200):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    files = [tmp_path / "log.2", tmp_path / "log.1", path]
    kept = [entry["log"] for file in files for entry in read(file)]
    assert kept == [f"line {n}\n" for n in range(200 - len(kept), 200)]
    assert not (tmp_path / "log.3").exists()
    assert all(file.stat().st_size <= 1100 for file in files)


def test_one_large_chunk_is_spread_over_rotated_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(LogTarget(path=str(path), max_size_bytes=1000, max_files=50))
    log.write("stdout", b"".join(b"%d\n" % n for n in range(100)))
    log.close()
    rotated = sorted(tmp_path.glob("log.*"), key=lambda p: -int(p.suffix[1:]))
    kept = [entry["log"] for file in [*rotated, path] for entry in read(file)]
    assert kept == [f"{n}\n" for n in range(100)]


def test_rotated_files_are_compressed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    target = LogTarget(path=str(path), max_size_bytes=100, max_files=2, compress=True)
    log = LogFile(target)
    log.write("stdout", b"first, long enough to fill the file to its limit of 100 bytes\n")
    log.write("stdout", b"second\n")
    log.close()
    packed = tmp_path / "log.1.gz"
    deadline = time.monotonic() + 10
    while not packed.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert b"first" in gzip.decompress(packed.read_bytes())


def test_fast_rotation_with_compression_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(LogTarget(path=str(path), max_size_bytes=5000, max_files=100, compress=True))
    for number in range(1000):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    deadline = time.monotonic() + 10
    while list(tmp_path.glob("*.part")) or (tmp_path / "log.1").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    packed = sorted(tmp_path.glob("log.*.gz"), key=lambda p: -int(p.name.split(".")[1]))
    lines = [
        json.loads(x)["log"] for p in packed for x in gzip.decompress(p.read_bytes()).splitlines()
    ]
    assert lines + [e["log"] for e in read(path)] == [f"line {n}\n" for n in range(1000)]


def test_attributes_follow_the_stream(tmp_path: Path) -> None:
    log = LogFile(LogTarget(path=str(tmp_path / "log"), attrs={"tag": "x"}))
    log.write("stdout", b"a\n")
    log.close()
    (entry,) = read(tmp_path / "log")
    assert list(entry) == ["log", "stream", "attrs", "time"]


def test_timestamp() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000000Z"
    assert timestamp(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
