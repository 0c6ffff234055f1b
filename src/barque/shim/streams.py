"""The standard streams of one process: its output to the log and the clients, its input back.

Everything is non-blocking and driven by the shim's loop: ``on_...`` methods are called when a
descriptor is ready. Input is passed on only as fast as the process reads it: while its pipe is
full, no client is read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from collections.abc import Callable

from barque.runtime.terminal import open_slave, resize
from barque.shim.clients import Client
from barque.shim.logfile import LogFile
from barque.shim.loop import Loop
from barque.shim.protocol import Streams

_FIRST_READ = 1 << 16
_LARGE_READ = 1 << 20
_INPUT_READ = 1 << 16
_TERMINAL_BYTES = 1 << 17
"""More than the kernel holds between the two sides of a terminal."""


class ProcessStreams:
    """Streams of the container's init or of an exec.

    ``master`` is the terminal or -1; otherwise ``stdin``, ``stdout``, ``stderr`` are our ends of
    the pipes (-1 where there is none). Owns all of them and the clients.
    """

    def __init__(
        self,
        loop: Loop,
        streams: Streams,
        log: LogFile | None,
        on_detach: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._streams = streams
        self._log = log
        self._on_detach = on_detach
        self._outputs: dict[int, str] = {}
        self._stdin = -1
        self._input = b""
        self._input_closed = False
        self._throttled = False
        self._read_size = _FIRST_READ
        self._clients: dict[int, Client] = {}
        self.master = -1
        self._slave = -1
        self.ended = False

    def set_terminal(self, master: int) -> None:
        """Take the terminal's master: both directions go through it.

        The slave is held open too, so that the master does not hang up when a program closes
        its terminal for a moment and opens it again.
        """
        os.set_blocking(master, False)
        self._slave = open_slave(master)
        self.master = master
        self._stdin = master
        self._outputs[master] = "stdout"
        self._loop.watch(master, select.EPOLLIN, self._on_terminal)

    def set_pipes(self, stdin: int, stdout: int, stderr: int) -> None:
        """Take our ends of the pipes."""
        for fd, name in ((stdout, "stdout"), (stderr, "stderr")):
            os.set_blocking(fd, False)
            self._outputs[fd] = name
            self._loop.watch(fd, select.EPOLLIN, self._on_output)
        if stdin >= 0:
            os.set_blocking(stdin, False)
            self._stdin = stdin

    def add_client(self, client: Client) -> None:
        """Attach a client; from here on it gets what the process writes."""
        if self.ended:
            client.close()
            return
        self._clients[client.fd] = client
        self._update(client)

    def resize(self, height: int, width: int) -> None:
        """Set the terminal's size. Raises OSError(ENOTTY) where there is none."""
        if self.master < 0:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        resize(self.master, height, width)

    # Output: process → log and clients

    def _on_terminal(self, fd: int, events: int) -> None:
        if events & select.EPOLLOUT:
            self._write_input()
        if events & ~select.EPOLLOUT:
            self._on_output(fd, events)

    def _on_output(self, fd: int, _events: int) -> None:
        try:
            data = os.read(fd, self._read_size)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the last process has closed the terminal
                raise
            data = b""
        if not data:
            self._end_output(fd)
            return
        if len(data) == self._read_size < _LARGE_READ:
            self._widen(fd)
        self._deliver(self._outputs[fd], data)

    def _widen(self, fd: int) -> None:
        """A lot is written: use a larger pipe and larger reads."""
        self._read_size = _LARGE_READ
        if self.master < 0:
            try:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LARGE_READ)
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.EBUSY}:
                    raise

    def _deliver(self, stream: str, data: bytes) -> None:
        if self._log is not None:
            self._log.write(stream, data)
        if self._clients:
            for client in list(self._clients.values()):
                if client.wants(stream):
                    try:
                        client.send(stream, data)
                    except OSError:
                        self._drop(client)
                    else:
                        self._update(client)

    def _end_output(self, fd: int) -> None:
        self._outputs.pop(fd, None)
        self._loop.forget(fd)
        if fd != self.master:
            os.close(fd)

    def _update(self, client: Client) -> None:
        """Watch a client for what it can do now."""
        events = 0
        held_back = client.reads_stdin and self._input
        if not client.input_ended and not held_back:
            events |= select.EPOLLIN
        if client.pending:
            events |= select.EPOLLOUT
        self._loop.watch(client.fd, events, self._on_client)
        throttled = any(c.full for c in self._clients.values())
        if throttled != self._throttled:
            self._throttled = throttled
            for fd in self._outputs:
                handler = self._on_terminal if fd == self.master else self._on_output
                self._loop.watch(fd, 0 if throttled else select.EPOLLIN, handler)

    def _on_client(self, fd: int, events: int) -> None:
        client = self._clients[fd]
        try:
            if events & select.EPOLLOUT:
                client.flush()
            if events & (select.EPOLLHUP | select.EPOLLERR):
                self._drop(client)
                return
            if events & select.EPOLLIN:
                self._read_client(client)
        except OSError:
            self._drop(client)
            return
        if fd not in self._clients:
            return
        if client.finishing and not client.pending:
            self._drop(client)
        else:
            self._update(client)

    def _drop(self, client: Client) -> None:
        if self._clients.pop(client.fd, None) is None:
            return
        self._loop.forget(client.fd)
        client.close()
        if client.reads_stdin:
            self._client_input_ended()
        if self._throttled:
            self._throttled = False
            for fd in self._outputs:
                handler = self._on_terminal if fd == self.master else self._on_output
                self._loop.watch(fd, select.EPOLLIN, handler)

    def drop_stalled(self) -> None:
        """Let go of clients that have read nothing for too long while output waits."""
        for client in list(self._clients.values()):
            if client.stalled and (client.full or client.finishing):
                self._drop(client)

    # Input: clients → process

    def _read_client(self, client: Client) -> None:
        try:
            data = os.read(client.fd, _INPUT_READ)
        except BlockingIOError:
            return
        if not data:
            # The end of its input is no end of interest: it goes on reading.
            client.input_ended = True
        if not client.reads_stdin:
            return
        if not data:
            client.reads_stdin = False
            self._client_input_ended()
            return
        end = client.detach_position(data)
        if end is not None:
            self._send_input(data[:end])
            self._drop_detached(client)
            return
        self._send_input(data)

    def _drop_detached(self, client: Client) -> None:
        client.reads_stdin = False
        self._on_detach()
        self._drop(client)

    def _client_input_ended(self) -> None:
        """A client's stdin is at its end: so is the process's, where the first one decides."""
        if self._streams.stdin_once and self.master < 0:
            self._input_closed = True
            self._write_input()

    def _send_input(self, data: bytes) -> None:
        if self._stdin < 0:
            return
        self._input += data
        self._write_input()

    def _write_input(self) -> None:
        """Write waiting input as far as the process takes it."""
        was_waiting = bool(self._input)
        while self._input:
            try:
                written = os.write(self._stdin, self._input)
            except BlockingIOError:
                break
            except OSError:  # EPIPE: the process has closed its stdin
                self._input = b""
                self._close_stdin()
                break
            self._input = self._input[written:]
        if self._stdin < 0:
            return
        if self._input:
            events = select.EPOLLOUT
            if self._stdin == self.master:
                events |= select.EPOLLIN
                self._loop.watch(self.master, events, self._on_terminal)
            else:
                self._loop.watch(self._stdin, events, self._on_stdin)
        elif was_waiting:
            if self._stdin == self.master:
                self._loop.watch(self.master, select.EPOLLIN, self._on_terminal)
            else:
                self._loop.forget(self._stdin)
        if not self._input and self._input_closed:
            self._close_stdin()
        if bool(self._input) != was_waiting:
            for client in list(self._clients.values()):
                self._update(client)

    def _on_stdin(self, _fd: int, _events: int) -> None:
        self._write_input()

    def _close_stdin(self) -> None:
        if self._stdin < 0 or self._stdin == self.master:
            return
        self._loop.forget(self._stdin)
        os.close(self._stdin)
        self._stdin = -1

    # The end

    def drain(self) -> None:
        """Read what the ended process has left in its pipes, without waiting.

        That is no more than they hold: others that it has started may be writing for ever.
        """
        for fd in list(self._outputs):
            left = _capacity(fd)
            while fd in self._outputs:
                if left <= 0:
                    self._end_output(fd)
                    break
                try:
                    data = os.read(fd, _LARGE_READ)
                except BlockingIOError:
                    self._end_output(fd)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    self._end_output(fd)
                else:
                    left -= len(data)
                    if data:
                        self._deliver(self._outputs[fd], data)
                    else:
                        self._end_output(fd)

    def finish(self) -> None:
        """The process has ended and its output is drained: let clients go as they are served."""
        self.ended = True
        if self._log is not None:
            self._log.close()
            self._log = None
        self._close_stdin()
        self._input = b""
        for client in list(self._clients.values()):
            client.reads_stdin = False
            if client.finish():
                self._drop(client)
            else:
                self._update(client)
        if self.master >= 0:
            self._loop.forget(self.master)
            os.close(self.master)
            os.close(self._slave)
            self.master = self._slave = self._stdin = -1

    @property
    def served(self) -> bool:
        """Whether no client is left."""
        return not self._clients


def _capacity(fd: int) -> int:
    """How many bytes can be waiting in a pipe, or in a terminal."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return _TERMINAL_BYTES
