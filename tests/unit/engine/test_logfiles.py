"""The log reader against a model: all entries in a list."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.engine import logfiles
from barque.engine.clock import format_time
from barque.engine.logfiles import LogEntry, LogFiles, decode_entries
from barque.engine.logs import LogQuery, make_filter

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


class Writer:
    """Writes and rotates as the shim does."""

    def __init__(self, path: Path, keep: int, *, compress: bool) -> None:
        self.path = path
        self.keep = keep
        self.compress = compress
        self.files: list[list[LogEntry]] = [[]]
        self.time_ns = 1_700_000_000_000_000_000
        path.touch()

    def write(self, text: str, stream: str, *, attrs: bool = False) -> None:
        self.time_ns += 1000
        entry = {"log": text, "stream": stream, "time": format_time(self.time_ns)}
        if attrs:
            entry = {**entry, "attrs": {"k": "v"}}  # type: ignore[dict-item]
        with self.path.open("a") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.files[-1].append(
            LogEntry(text, stream, format_time(self.time_ns), {"k": "v"} if attrs else {})
        )

    def rotate(self) -> None:
        suffix = ".gz" if self.compress else ""
        for number in range(self.keep - 2, 0, -1):
            source = Path(f"{self.path}.{number}{suffix}")
            if source.exists():
                source.rename(f"{self.path}.{number + 1}{suffix}")
        if self.keep > 1:
            first = Path(f"{self.path}.1")
            self.path.rename(first)
            if self.compress:
                Path(f"{first}.gz").write_bytes(gzip.compress(first.read_bytes()))
                first.unlink()
        else:
            self.path.unlink()
        self.path.touch()
        self.files.append([])
        self.files = self.files[-self.keep :]

    def entries(self) -> list[LogEntry]:
        return [entry for file in self.files for entry in file]


def read_all(files: LogFiles) -> list[LogEntry]:
    found: list[LogEntry] = []
    while (batch := files.read()) is not None:
        found += batch
    return found


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "BLOCK", 97)


Step = tuple[str, str, str, bool]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), TEXT, st.sampled_from(["stdout", "stderr"]), st.booleans()),
        st.tuples(st.just("rotate"), st.just(""), st.just(""), st.just(False)),
    ),
    max_size=25,
)


@settings(max_examples=120)
@given(
    STEPS,
    st.integers(1, 4),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 30)),
    st.booleans(),
)
def test_reading_equals_the_model(
    steps: list[Step], keep: int, compress: bool, tail: int | None, torn: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        writer = Writer(Path(directory, "log"), keep, compress=compress)
        for kind, text, stream, attrs in steps:
            if kind == "write":
                writer.write(text, stream, attrs=attrs)
            else:
                writer.rotate()
        if torn:
            with writer.path.open("a") as file:
                file.write('{"log":"half a li')
        expected = writer.entries()
        if tail is not None:
            expected = expected[len(expected) - min(tail, len(expected)) :]
        files = LogFiles(str(writer.path), tail)
        assert read_all(files) == expected
        files.close()


@settings(max_examples=120)
@given(STEPS, st.integers(2, 4), st.booleans(), st.sets(st.integers(0, 24)))
def test_following_loses_and_doubles_nothing(
    steps: list[Step], keep: int, compress: bool, looks: set[int]
) -> None:
    """Whoever looks before its file falls off the end sees every entry once, in order."""
    with tempfile.TemporaryDirectory() as directory:
        writer = Writer(Path(directory, "log"), keep, compress=compress)
        files = LogFiles(str(writer.path), None)
        found = read_all(files)
        written: list[LogEntry] = []
        unseen_rotations = 0
        for number, (kind, text, stream, attrs) in enumerate(steps):
            if kind == "write":
                writer.write(text, stream, attrs=attrs)
                written.append(writer.files[-1][-1])
            else:
                if unseen_rotations >= keep - 1:
                    found += read_all(files)
                    unseen_rotations = 0
                writer.rotate()
                unseen_rotations += 1
            if number in looks:
                found += read_all(files)
                unseen_rotations = 0
        found += read_all(files)
        assert found == written
        files.close()


def test_rotation_that_keeps_one_file(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", 1, compress=False)
    files = LogFiles(str(writer.path), None)
    writer.write("a\n", "stdout")
    assert [e.log for e in read_all(files)] == ["a\n"]
    writer.write("b\n", "stdout")
    writer.rotate()
    writer.write("c\n", "stdout")
    assert [e.log for e in read_all(files)] == ["b\n", "c\n"]
    files.close()


def test_log_that_is_not_there_yet(tmp_path: Path) -> None:
    files = LogFiles(str(tmp_path / "log"), 5)
    assert files.read() is None
    writer = Writer(tmp_path / "log", 2, compress=False)
    writer.write("a\n", "stdout")
    assert [e.log for e in read_all(files)] == ["a\n"]
    files.close()


def test_torn_entries_are_left_out_and_their_neighbours_kept() -> None:
    good = b'{"log":"x\\n","stream":"stdout","time":"2026-01-02T03:04:05.000000000Z"}'
    lines = b"\n".join([good, b'{"log":"to' + good, b"\0\0\0\0", b'{"log":1}', b"", good, b""])
    assert [entry.log for entry in decode_entries(lines)] == ["x\n"] * 3


def test_a_line_without_end_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "LONGEST_LINE", 1000)
    writer = Writer(tmp_path / "log", 1, compress=False)
    with writer.path.open("a") as file:
        file.write("y" * 5000 + "\n")
    writer.write("a\n", "stdout")
    files = LogFiles(str(writer.path), None)
    while (batch := files.read()) is not None:
        assert len(files._rest) <= 1100
        assert [e.log for e in batch] in ([], ["a\n"])
    files.close()


def test_a_damaged_compressed_file_ends_early(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", 2, compress=True)
    for number in range(100):
        writer.write(f"{number}\n", "stdout")
    writer.rotate()
    writer.write("new\n", "stdout")
    rotated = tmp_path / "log.1.gz"
    rotated.write_bytes(rotated.read_bytes()[:-20])
    files = LogFiles(str(writer.path), None)
    found = [e.log for e in read_all(files)]
    assert found[-1] == "new\n"
    assert found[:-1] == [f"{number}\n" for number in range(len(found) - 1)]
    files.close()


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["stdout", "stderr"])), max_size=20),
    st.one_of(st.none(), st.integers(0, 50)),
    st.one_of(st.none(), st.integers(0, 50)),
    st.booleans(),
    st.booleans(),
)
def test_filter_equals_the_model(
    written: list[tuple[int, str]],
    since: int | None,
    until: int | None,
    stdout: bool,
    stderr: bool,
) -> None:
    batch = [LogEntry("x", stream, format_time(time_ns)) for time_ns, stream in written]
    select = make_filter(LogQuery(stdout=stdout, stderr=stderr, since_ns=since, until_ns=until))
    wanted = {name for name, on in (("stdout", stdout), ("stderr", stderr)) if on}
    assert select(batch) == [
        entry
        for entry, (time_ns, stream) in zip(batch, written, strict=True)
        if stream in wanted
        and (since is None or time_ns >= since)
        and (until is None or time_ns <= until)
    ]


def test_docker_s_own_times_are_understood() -> None:
    assert logfiles.sort_key("2026-01-02T03:04:05.5Z") == "2026-01-02T03:04:05.500000000Z"
    assert logfiles.sort_key("nonsense") == ""


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    os.symlink(tmp_path / "secret", tmp_path / "log")
    with pytest.raises(OSError, match="symbolic"):
        LogFiles(str(tmp_path / "log"), None)
