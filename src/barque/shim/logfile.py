r"""The json-file log: written at memory speed, a chunk at a time.

Each line is ``{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}``,
Docker's format. A chunk of output is escaped as a whole and its newlines are replaced by the
text between two entries, so the cost is a few passes in C, not a loop over lines. All lines of
one read bear the time of that read.

A line longer than 16 KiB is cut into entries without a newline; the last line is kept until
its newline comes or the stream ends.
"""

from __future__ import annotations

import os
import time
import zlib
from contextlib import suppress
from json.encoder import encode_basestring

import msgspec

from barque.models.launch import LogTarget

_MAX_LINE = 16384
_SPECIAL = bytes(n for n in range(256) if n != 10 and (n < 32 or n >= 128 or n in b'"\\'))
_START = b'{"log":"'
_NEWLINE = "\ud800"
"""Stands for a newline while a chunk is escaped: no decoded text contains it."""


def _escape(text: bytes, newline: bytes) -> bytes:
    """The text as JSON string content, with ``newline`` in place of each newline.

    Invalid UTF-8 becomes U+FFFD.
    """
    if len(text.translate(None, _SPECIAL)) == len(text):
        return text.replace(b"\n", newline)
    characters = text.decode("utf-8", "replace").replace("\n", _NEWLINE)
    escaped = encode_basestring(characters)[1:-1]
    return escaped.replace(_NEWLINE, newline.decode()).encode()


def timestamp(time_ns: int) -> str:
    """RFC 3339 with nine digits, UTC."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    t = time.gmtime(seconds)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T"
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}.{nanoseconds:09}Z"
    )


class LogFile:
    """One container's log. ``write`` never raises and never waits for anything but the disk.

    What cannot be written (disk full) is lost, whole entries at a time; the container goes on.
    """

    def __init__(self, target: LogTarget) -> None:
        self._target = target
        self._attributes = b""
        if target.attrs:
            self._attributes = b',"attrs":' + msgspec.json.encode(target.attrs)
        self._rest: dict[str, bytes] = {}
        self._compressor = 0
        self._open()

    def _open(self) -> None:
        """Open the file. Where that fails ``_fd`` is -1, and the next write tries again."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._size = 0
        try:
            self._fd = os.open(self._target.path, flags, 0o640)
        except OSError:
            self._fd = -1
        else:
            self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, chunk: bytes) -> None:
        """Log what was read from ``stream`` (``stdout`` or ``stderr``)."""
        data = self._rest.pop(stream, b"") + chunk
        end = data.rfind(b"\n") + 1
        lines, rest = data[:end], data[end:]
        if _has_long_line(lines):
            self._write_long(stream, lines)
        elif lines:
            self._append(self._encode(stream, lines))
        while len(rest) >= _MAX_LINE:
            piece, rest = _cut(rest)
            self._append(self._encode_piece(stream, piece))
        if rest:
            self._rest[stream] = rest

    def flush(self) -> None:
        """Log unfinished last lines: their streams have ended."""
        for stream in list(self._rest):
            self._append(self._encode_piece(stream, self._rest.pop(stream)))

    def _write_long(self, stream: str, lines: bytes) -> None:
        for line in lines.splitlines(keepends=True):
            rest = line
            while len(rest) > _MAX_LINE:
                piece, rest = _cut(rest)
                self._append(self._encode_piece(stream, piece))
            self._append(self._encode(stream, rest))

    def _end(self, stream: str) -> bytes:
        when = timestamp(time.time_ns()).encode()
        return b'","stream":"%b"%b,"time":"%b"}\n' % (stream.encode(), self._attributes, when)

    def _encode(self, stream: str, lines: bytes) -> bytes:
        """Entries for whole lines."""
        between = b"\\n" + self._end(stream) + _START
        return (_START + _escape(lines, between))[: -len(_START)]

    def _encode_piece(self, stream: str, piece: bytes) -> bytes:
        """One entry for a piece of a line."""
        return _START + _escape(piece, b"\\n") + self._end(stream)

    def _append(self, entries: bytes) -> None:
        limit = self._target.max_size_bytes
        while entries:
            if limit and self._size >= limit:
                self._rotate()
            part = entries
            if limit and self._size + len(entries) > limit:
                part = entries[: entries.index(b"\n", max(limit - self._size - 1, 0)) + 1]
            self._write_all(part)
            entries = entries[len(part) :]

    def _write_all(self, data: bytes) -> None:
        """Write all of it or nothing: a torn entry would spoil the next one."""
        if self._fd < 0:
            self._open()
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._cut_back()
            return
        self._size += len(data)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:  # the disk fails: a later reader skips the torn entry
            return

    def _rotate(self) -> None:
        """Shift path.1 to path.2 and so on, the oldest falls off; begin a new file.

        Where that fails (somebody has removed the file, the disk is broken) what is opened is
        whatever is there.
        """
        path, keep = self._target.path, self._target.max_files
        if self._compressor:  # it works on the names that are shifted now
            os.waitpid(self._compressor, 0)
            self._compressor = 0
        with suppress(OSError):
            self._close()
            suffix = ".gz" if self._target.compress else ""
            for number in range(keep - 2, 0, -1):
                _rename(f"{path}.{number}{suffix}", f"{path}.{number + 1}{suffix}")
            if keep > 1:
                os.rename(path, f"{path}.1")
                if self._target.compress:
                    self._compressor = _compress(f"{path}.1")
            else:
                os.unlink(path)
        self._open()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Log unfinished lines and close."""
        self.flush()
        self._close()


def _has_long_line(lines: bytes) -> bool:
    """Whether a line is longer than one entry; looks at one place in 16 KiB."""
    start = 0
    while len(lines) - start > _MAX_LINE:
        newline = lines.rfind(b"\n", start, start + _MAX_LINE + 1)
        if newline < 0:
            return True
        start = newline + 1
    return False


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """At most 16 KiB, not in the middle of a UTF-8 sequence, and the rest."""
    end = _MAX_LINE
    while end > _MAX_LINE - 4 and data[end : end + 1] and 0x80 <= data[end] < 0xC0:
        end -= 1
    return data[:end], data[end:]


def _rename(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        return


def _compress(path: str) -> int:
    """Compress ``path`` in a process of its own, and return that; the caller waits for it."""
    child = os.fork()
    if child:
        return child
    try:
        os.nice(10)
        packer = zlib.compressobj(wbits=31)
        partial = f"{path}.gz.part"
        with open(path, "rb") as source, open(partial, "wb") as target:
            while chunk := source.read(1 << 20):
                target.write(packer.compress(chunk))
            target.write(packer.flush())
        os.rename(partial, f"{path}.gz")
        os.unlink(path)
    finally:
        os._exit(0)
