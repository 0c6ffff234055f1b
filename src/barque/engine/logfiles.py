r"""Reading a json-file log with its rotated files, from any line on, while it is written.

The files are ``path.N`` (oldest) to ``path.1`` and ``path``, which is being written; rotated
ones may be compressed (``path.N.gz``). Each line is one entry::

    {"log":"text\n","stream":"stdout","attrs":{…},"time":"2026-01-02T03:04:05.123456789Z"}

Everything here blocks on the disk and belongs in a thread. Memory is bounded by the size of
a block, whatever the size of the log.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import msgspec

from barque.engine.clock import format_time, parse_time
from barque.errors import InvalidArgument

BLOCK = 256 * 1024
LONGEST_LINE = 1 << 20
_ENTRY_START = b'{"log":"'
_ROTATED = re.compile(r"\.(\d+)(\.gz)?")


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry. ``log`` ends with a newline unless it is a part of a long line."""

    log: str
    stream: str
    time: str
    attrs: dict[str, str] = {}

    @property
    def line(self) -> bytes:
        """The text as the container wrote it."""
        return self.log.encode()

    @property
    def time_ns(self) -> int:
        """When it was written, in nanoseconds since 1970."""
        return parse_time(self.time)


_decoder = msgspec.json.Decoder(LogEntry)


def decode_entries(lines: bytes) -> list[LogEntry]:
    """Read whole lines; what is no entry (torn by a crash) is left out.

    Where a torn entry and the next one share a line, the next one is kept.
    """
    try:
        return _decoder.decode_lines(lines)
    except msgspec.DecodeError:
        pass
    entries = []
    for line in lines.split(b"\n"):
        start = line.rfind(_ENTRY_START)  # cannot be inside a text: its quotes are escaped
        with suppress(msgspec.DecodeError):
            entries.append(_decoder.decode(line[max(start, 0) :]))
    return entries


class _File(Protocol):
    """One open file of a log, read from its first to its last line."""

    identity: tuple[int, int]

    def read(self) -> bytes:
        """Return some more bytes, b"" where it ends now."""
        ...

    def seek_tail(self, lines: int) -> int:
        """Go to where the last ``lines`` lines begin; return how many there are, at most those."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class _PlainFile:
    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)
        self.offset = 0

    def read(self) -> bytes:
        data = os.pread(self._fd, BLOCK, self.offset)
        self.offset += len(data)
        return data

    def seek_tail(self, lines: int) -> int:
        """A torn last line is not counted."""
        position = os.fstat(self._fd).st_size
        self.offset = position
        found = -1  # the newline that ends the last line begins none
        while position:
            start = max(position - BLOCK, 0)
            block = os.pread(self._fd, position - start, start)
            newlines = block.count(b"\n")
            if found + newlines >= lines:
                index = len(block)
                for _ in range(lines - found):
                    index = block.rindex(b"\n", 0, index)
                self.offset = start + index + 1
                return lines
            found += newlines
            position = start
        self.offset = 0
        return found + 1

    def close(self) -> None:
        os.close(self._fd)


class _CompressedFile:
    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)
        self._skip = 0
        self._rewind()

    def _rewind(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._unpacker = zlib.decompressobj(wbits=31)

    def _unpack(self) -> bytes:
        while not self._unpacker.eof:
            data = self._unpacker.unconsumed_tail or os.read(self._fd, BLOCK)
            if not data:
                return b""  # torn by a crash: what there was has been given
            try:
                unpacked = self._unpacker.decompress(data, BLOCK)
            except zlib.error:
                return b""
            if unpacked:
                return unpacked
        return b""

    def read(self) -> bytes:
        while data := self._unpack():
            newlines = data.count(b"\n")
            if self._skip > newlines:
                self._skip -= newlines
                continue
            index = 0
            for _ in range(self._skip):
                index = data.index(b"\n", index) + 1
            self._skip = 0
            if data[index:]:
                return data[index:]
        return b""

    def seek_tail(self, lines: int) -> int:
        total = 0
        while data := self._unpack():
            total += data.count(b"\n")
        self._rewind()
        self._skip = max(total - lines, 0)
        return min(total, lines)

    def close(self) -> None:
        os.close(self._fd)


class LogFiles:
    """All files of one log as one stream of entries. Close it."""

    def __init__(self, path: str, tail: int | None = None) -> None:
        """Begin at the first entry, or ``tail`` entries before the last."""
        self._path = path
        self._rest = b""
        self._last_time = ""
        self._current: _File | None = None
        self._queue = self._open_all()
        if tail is not None:
            self._seek_tail(tail)

    def _open_all(self) -> list[_File]:
        """Open all files, oldest first.

        They are opened newest first: a rotation in between then shows one of them twice, which
        is noticed, where the other order would miss one.
        """
        files: list[_File] = []
        seen = set()
        for path in self._list_paths():
            try:
                file = _open(path)
            except FileNotFoundError:
                continue
            if file.identity in seen:
                file.close()
                continue
            seen.add(file.identity)
            files.append(file)
        return files[::-1]

    def _list_paths(self) -> Iterable[str]:
        """Yield the paths, newest first; looked at one by one, as they may move meanwhile."""
        yield self._path
        for number in range(1, self._highest() + 2):
            plain = f"{self._path}.{number}"
            yield plain if os.path.exists(plain) else f"{plain}.gz"

    def _highest(self) -> int:
        directory, name = os.path.split(self._path)
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return 0
        matches = (
            _ROTATED.fullmatch(other, len(name)) for other in names if other.startswith(name)
        )
        return max((int(match[1]) for match in matches if match), default=0)

    def _seek_tail(self, lines: int) -> None:
        wanted = lines
        for index in range(len(self._queue) - 1, -1, -1):
            wanted -= self._queue[index].seek_tail(wanted)
            if wanted <= 0:
                for file in self._queue[:index]:
                    file.close()
                del self._queue[:index]
                return

    def read(self) -> list[LogEntry] | None:
        """Return the next entries, or None where the log ends now.

        An empty list means that there may be more. After None, later entries are found by
        calling again: also those in files that came by rotation.
        """
        if self._current is None and not self._next_file():
            return None
        assert self._current is not None
        if data := self._current.read():
            return self._split(data)
        if self._queue:
            self._next_file()
            return []
        if not self._has_rotated():
            return None
        if data := self._current.read():  # written after we looked, before the rotation
            return self._split(data)
        self._queue = self._find_newer()
        return [] if self._next_file() else None

    def _next_file(self) -> bool:
        if self._current is None and not self._queue:
            self._queue = self._open_all()  # the container has not run before
        if not self._queue:
            return False
        if self._current is not None:
            self._current.close()
        self._current = self._queue.pop(0)
        self._rest = b""
        return True

    def _split(self, data: bytes) -> list[LogEntry]:
        end = data.rfind(b"\n") + 1
        if not end:
            self._rest += data
            if len(self._rest) > LONGEST_LINE:
                self._rest = b"x"  # garbage: the line that ends it will be left out
            return []
        lines = self._rest + data[:end]
        self._rest = data[end:]
        entries = decode_entries(lines)
        if entries:
            self._last_time = entries[-1].time
        return entries

    def _has_rotated(self) -> bool:
        assert self._current is not None
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return False  # between the renaming and the making of the new one
        return (status.st_dev, status.st_ino) != self._current.identity

    def _find_newer(self) -> list[_File]:
        """Open what follows the current file, which is no longer the newest.

        It is found by its inode or, if it was compressed or deleted meanwhile, by time: what
        begins after the last entry that was read is newer.
        """
        assert self._current is not None
        files = self._open_all()
        for index, file in enumerate(files):
            if file.identity == self._current.identity:
                return _close_but(files, index + 1)
        for index in range(len(files) - 1, 0, -1):
            if self._begins_earlier(files[index - 1]):
                return _close_but(files, index)
        return files

    def _begins_earlier(self, file: _File) -> bool:
        entries: list[LogEntry] = []
        data = b""
        while not entries and len(data) < LONGEST_LINE and (more := file.read()):
            data += more
            entries = decode_entries(data[: data.find(b"\n") + 1])
        if isinstance(file, _PlainFile):
            file.offset = 0
        else:
            file.seek_tail(1 << 62)
        return bool(entries) and entries[0].time <= self._last_time

    def close(self) -> None:
        """Close all files."""
        for file in self._queue:
            file.close()
        if self._current is not None:
            self._current.close()
        self._queue, self._current = [], None


def _open(path: str) -> _File:
    return _CompressedFile(path) if path.endswith(".gz") else _PlainFile(path)


def _close_but(files: list[_File], first: int) -> list[_File]:
    """Close the files before ``first`` and return the others."""
    for file in files[:first]:
        file.close()
    return files[first:]


def sort_key(time: str) -> str:
    """A text that sorts as the times do; our own entries' times are such texts already."""
    if len(time) == 30 and time.endswith("Z"):
        return time
    try:
        return format_time(parse_time(time))
    except InvalidArgument:
        return ""
