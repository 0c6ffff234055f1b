"""Copying between the user's terminal or pipes and a hijacked connection.

One thread, one poll: input is read only while the last of it has been sent, output is
written as it comes, so memory is bounded by the buffers here however fast either side is.

Without a terminal output comes in frames (Engine API, ContainerAttach)::

    byte 0      stream: 0 and 1 stdout, 2 stderr, 3 a message of the engine (to stderr)
    bytes 1-3   zero
    bytes 4-7   size of what follows, big-endian

Payloads are written from the buffer that they were received in, many frames with one
writev(2).
"""

from __future__ import annotations

import os
import select

from barque.cli.command import CommandError
from barque.cli.signals import WindowChanges
from barque.cli.terminal import STDERR, STDIN, STDOUT, RawMode, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from barque.cli.detach import DetachKeys
    from barque.client.http import Connection, Response

_PIECE = 1 << 18
_PIPE = 1 << 20
_FRAME_HEADER = 8
_TARGETS = (STDOUT, STDOUT, STDERR, STDERR)
_MOST_PARTS = 512  # below IOV_MAX, 1024
_DETACH_S = 0.5


class Demultiplexer:
    """Frames, in any pieces, to file descriptors."""

    __slots__ = ("_header", "_left", "_target")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._target = STDOUT

    def feed(self, data: memoryview) -> None:
        """Write the payloads in ``data``. Raises :class:`CommandError` for what is no frame."""
        position, end = 0, len(data)
        parts: list[memoryview] = []
        while position < end:
            if self._left:
                payload = data[position : position + self._left]
                position += len(payload)
                self._left -= len(payload)
                parts.append(payload)
                continue
            need = _FRAME_HEADER - len(self._header)
            header = self._header + data[position : position + need].tobytes()
            position += need
            if len(header) < _FRAME_HEADER:
                self._header = header
                break
            self._header = b""
            if header[0] >= len(_TARGETS) or header[1:4] != b"\0\0\0":
                raise CommandError(f"unrecognized stream: {header!r}")
            target = _TARGETS[header[0]]
            if target != self._target or len(parts) >= _MOST_PARTS:
                write_parts(self._target, parts)
                parts = []
            self._target = target
            self._left = int.from_bytes(header[4:], "big")
        write_parts(self._target, parts)


def write_parts(fd: int, parts: list[memoryview]) -> None:
    """Write all of ``parts``, in order."""
    while parts:
        written = os.writev(fd, parts)
        done = 0
        while done < len(parts) and written >= len(parts[done]):
            written -= len(parts[done])
            done += 1
        parts = parts[done:]
        if parts and written:
            parts[0] = parts[0][written:]


def widen_pipe(fd: int) -> None:
    """Let a pipe at ``fd`` hold as much as we read at once; anything else stays as it is."""
    import fcntl  # noqa: PLC0415 - only for streams

    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
    except OSError:
        return  # no pipe, or the user's share of pipe memory is used up


def write_all(fd: int, data: memoryview | bytes) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Streams:
    """One hijacked connection and what it is connected with here.

    ``tty``: the container has a terminal, so output is one raw stream, and ours becomes raw
    while it is copied. ``stdin``: what comes in here goes to the container; its end is
    passed on. ``output``: anything comes back. ``detach``: key sequence that ends the copy
    (with ``tty`` and ``stdin``). ``resize``: called at once and whenever our window
    changes. ``waiting``: for a connection without output, the open wait for the container's
    end, which then ends the copy.

    Takes the connection over and closes it.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tty: bool,
        stdin: bool,
        output: bool = True,
        detach: DetachKeys | None = None,
        resize: Callable[[], None] | None = None,
        waiting: Response | None = None,
    ) -> None:
        self._socket: _socket.socket = connection.socket
        self._pending = connection.pending
        self._tty = tty
        self._stdin = stdin
        self._detach = detach if tty and stdin else None
        self._resize = resize
        self._waiting = None if output else waiting
        self._outgoing = memoryview(b"")
        self._demultiplexer = Demultiplexer()
        self._buffer = bytearray(_PIECE)

    def run(self) -> bool:
        """Copy until the container's side ends. False if the user detached.

        Raises :class:`CommandError` for an error that the engine reports in the stream.
        """
        try:
            if not self._tty:
                widen_pipe(STDOUT)
                return self._copy(None)
            with RawMode() if self._stdin else RawMode(-1), WindowChanges() as changes:
                if self._resize is not None:
                    self._resize()
                return self._copy(changes)
        finally:
            self._socket.close()

    def _copy(self, changes: WindowChanges | None) -> bool:
        if self._pending:
            self._show(memoryview(self._pending))
        if not self._stdin:
            self._end_input()
        self._socket.setblocking(False)
        fd = self._socket.fileno()
        while self._waiting is None or not self._waiting.is_buffered():
            ready = self._wait(fd, changes)
            if changes is not None and changes.fd in ready:
                changes.drain()
                if self._resize is not None:
                    self._resize()
            if self._waiting is not None and self._waiting.fileno() in ready:
                return True
            if fd in ready:
                if ready[fd] & select.POLLOUT:
                    self._send()
                if ready[fd] & ~select.POLLOUT and not self._receive():
                    return True
            if STDIN in ready and self._stdin and not self._read_input():
                return False
        return True

    def _wait(self, fd: int, changes: WindowChanges | None) -> dict[int, int]:
        poll = select.poll()
        poll.register(fd, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        if self._stdin and not self._outgoing:
            poll.register(STDIN, select.POLLIN)
        if changes is not None:
            poll.register(changes.fd, select.POLLIN)
        if self._waiting is not None:
            poll.register(self._waiting.fileno(), select.POLLIN)
        return dict(poll.poll())

    def _receive(self) -> bool:
        """Show what has come. False at its end."""
        while True:
            try:
                size = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            except OSError as error:
                if _is_tls_pause(error):
                    return True
                raise
            if size == 0:
                return False
            self._show(memoryview(self._buffer)[:size])
            if size < _PIECE and not hasattr(self._socket, "pending"):
                return True  # TLS may hold more that poll does not see

    def _show(self, data: memoryview) -> None:
        if self._tty:
            write_all(STDOUT, data)
        else:
            self._demultiplexer.feed(data)

    def _read_input(self) -> bool:
        """Read what was typed. False if it was the detach sequence."""
        try:
            data = os.read(STDIN, _PIECE)
        except OSError:
            data = b""  # a terminal that is gone
        if not data:
            self._stdin = False
            self._end_input()
            return True
        end = self._detach.find_end(data) if self._detach is not None else -1
        if end < 0:
            self._outgoing = memoryview(data)
            self._send()
            return True
        # The engine gets the sequence as well: it tells others that we have detached.
        self._leave(data[:end])
        return False

    def _send(self) -> None:
        while self._outgoing:
            try:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._stdin = False  # nobody reads; what there is to show still comes
                self._outgoing = memoryview(b"")
            except OSError as error:
                if _is_tls_pause(error):
                    return
                raise

    def _end_input(self) -> None:
        """Tell the container that no input will come, and go on listening."""
        try:
            if hasattr(self._socket, "unwrap"):
                self._socket.setblocking(False)
                self._socket.unwrap()  # sends close_notify, and cannot wait for the answer
            else:
                self._socket.shutdown(1)  # SHUT_WR
        except OSError:
            return  # it has ended already

    def _leave(self, last: bytes) -> None:
        """Send the detach sequence and give the engine a moment to see it."""
        self._outgoing = memoryview(last)
        self._send()
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        while poll.poll(_DETACH_S * 1000):
            try:
                if not self._socket.recv(_PIECE):
                    return
            except OSError:
                return


def _is_tls_pause(error: OSError) -> bool:
    """True if TLS only wants to be called again (``ssl`` is loaded then, not otherwise)."""
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def check_terminal(*, stdin: bool, tty: bool) -> None:
    """Raise :class:`CommandError` if a terminal is asked for and our input is none."""
    if stdin and tty and not is_terminal(STDIN):
        raise CommandError("the input device is not a TTY")
