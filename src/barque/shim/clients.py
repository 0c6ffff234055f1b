"""Attached clients: each has its own queue, so none waits for another, and nobody for any.

Output goes to a client's socket as fast as it takes it. What it does not take at once is
queued, first in memory, then in an unnamed file next to the container's state; a client that
stops reading therefore delays neither the container nor the other clients. A queue that has
grown to ``_QUEUE_LIMIT`` asks the container to wait as long as its client still reads; a
client that has not read for ``_STALL_S`` is dropped.
"""

from __future__ import annotations

import _socket
import os
import struct
import time

from barque.shim.protocol import ClientSpec

_MEMORY_LIMIT = 1 << 20
_QUEUE_LIMIT = 256 << 20
_STALL_S = 10.0
_FILE_READ = 1 << 20

_HEADERS = {"stdout": b"\x01\0\0\0", "stderr": b"\x02\0\0\0"}
_length = struct.Struct(">I").pack


class Overflow:
    """What a client has not taken: the newest part of its queue, in an unnamed file."""

    def __init__(self, directory: str) -> None:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        self._fd = os.open(directory, flags, 0o600)
        self._read_at = 0
        self.size = 0

    def put(self, data: bytes) -> None:
        """Append. Raises OSError when the disk is full."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self._read_at + self.size)
            self.size += written
            view = view[written:]

    def take(self) -> bytes:
        """The oldest piece."""
        data = os.pread(self._fd, min(_FILE_READ, self.size), self._read_at)
        self._read_at += len(data)
        self.size -= len(data)
        return data

    def close(self) -> None:
        """Give the space back."""
        os.close(self._fd)


class Client:
    """One attached client. Owns ``fd``, a connected stream socket."""

    def __init__(self, fd: int, spec: ClientSpec, spill_directory: str) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.spec = spec
        self.reads_stdin = spec.stdin
        self.finishing = False
        self.input_ended = False
        self._directory = spill_directory
        self._memory: list[bytes] = []
        self._memory_bytes = 0
        self._overflow: Overflow | None = None
        self._progress_at = time.monotonic()
        self._matched = 0

    def wants(self, stream: str) -> bool:
        """Whether this client asked for ``stream``."""
        return self.spec.stdout if stream == "stdout" else self.spec.stderr

    @property
    def pending(self) -> bool:
        """Whether there is output that the client has not taken yet."""
        return bool(self._memory) or self._overflow is not None

    @property
    def full(self) -> bool:
        """Whether the container should wait for this client."""
        return self._overflow is not None and self._overflow.size >= _QUEUE_LIMIT

    @property
    def stalled(self) -> bool:
        """Whether the client has taken nothing for too long."""
        return self.pending and time.monotonic() - self._progress_at > _STALL_S

    def send(self, stream: str, data: bytes) -> None:
        """Pass output on, or queue it. Raises OSError when the client is gone or the disk full."""
        header = _HEADERS[stream] + _length(len(data)) if self.spec.multiplexed else b""
        if self.pending:
            self._queue(header + data)
            return
        try:
            sent = os.writev(self.fd, [header, data] if header else [data])
        except BlockingIOError:
            sent = 0
        self._progress_at = time.monotonic()
        total = len(header) + len(data)
        if sent < total:
            rest = header[sent:] + data[max(sent - len(header), 0) :]
            self._queue(rest)

    def _queue(self, data: bytes) -> None:
        if self._overflow is None and self._memory_bytes + len(data) <= _MEMORY_LIMIT:
            self._memory.append(data)
            self._memory_bytes += len(data)
            return
        if self._overflow is None:
            self._overflow = Overflow(self._directory)
        self._overflow.put(data)

    def flush(self) -> None:
        """Send what is queued as far as the socket takes it. Raises OSError when it is gone."""
        while self.pending:
            if not self._memory:
                self._refill()
                continue
            try:
                sent = os.writev(self.fd, self._memory[:64])
            except BlockingIOError:
                return
            self._progress_at = time.monotonic()
            self._memory_bytes -= sent
            while sent:
                first = self._memory[0]
                if sent < len(first):
                    self._memory[0] = first[sent:]
                    break
                sent -= len(first)
                del self._memory[0]

    def _refill(self) -> None:
        overflow = self._overflow
        if overflow is None:
            return
        data = overflow.take()
        if data:
            self._memory.append(data)
            self._memory_bytes += len(data)
        if not overflow.size:
            overflow.close()
            self._overflow = None

    def detach_position(self, data: bytes) -> int | None:
        """Look for the detach keys in what the client typed.

        Returns the length of what was typed before them, or None if they are not complete.
        A part of the sequence is passed on as typed and remembered for the next read.
        """
        keys = self.spec.detach_keys
        if not keys:
            return None
        for position, byte in enumerate(data):
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    return max(position + 1 - len(keys), 0)
            else:
                self._matched = 1 if byte == keys[0] else 0
        return None

    def finish(self) -> bool:
        """No more output will come. True when all is sent and the client may be closed."""
        self.finishing = True
        return not self.pending

    def close(self) -> None:
        """Close the connection; the peer reads the end of the stream."""
        if self._overflow is not None:
            self._overflow.close()
            self._overflow = None
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=self.fd)
        try:
            end.shutdown(_socket.SHUT_WR)
        except OSError:
            return  # the peer has closed before us
        finally:
            end.close()
