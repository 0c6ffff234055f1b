"""A program on a pseudo-terminal, as a person would use it: type, look, resize."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from support.scale import patient

TIMEOUT_S = patient(15)
_TOLD_AGAIN_S = 0.2


class Terminal:
    """``command`` with a new terminal of ``rows`` x ``columns`` as its controlling one."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self._master, slave = os.openpty()
        self.resize(rows, columns)
        self.seen = ""
        """All output so far."""
        self._read_to = 0
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size; the program gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type ``text``."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str, timeout_s: float = TIMEOUT_S) -> str:
        """Wait until ``pattern`` comes in what has not been expected yet; return what it matched.

        Raises AssertionError with the whole screen after ``timeout_s``.
        """
        until = time.monotonic() + timeout_s
        while True:
            if match := re.compile(pattern).search(self.seen, self._read_to):
                self._read_to = match.end()
                return match[0]
            left = until - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(
                    f"no {pattern!r} in {self.seen[self._read_to :]!r}\nafter {self.seen!r}"
                )

    def expect_size(self, rows: int, columns: int) -> None:
        """Wait until the shell that waits for input has a terminal of this size.

        The command line is told of it again and again: it asks to be told of changes a moment
        after the container's start, maybe after the shell's first output.
        """
        asked = f'"$(stty size)" = "{rows} {columns}"'
        self.type(f"until [ {asked} ]; do sleep 0.05; done; echo it is $((1))\n")
        until = time.monotonic() + TIMEOUT_S
        while True:
            self.signal(signal.SIGWINCH)
            try:
                self.expect(r"it is 1\r\n", _TOLD_AGAIN_S)
            except AssertionError:
                if time.monotonic() > until:
                    raise
            else:
                return

    def _read(self, timeout_s: float) -> bool:
        """Read what there is; False at the end or after ``timeout_s``."""
        if not select.select([self._master], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last program has closed the terminal
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the program to end, reading on, and return its exit code."""
        until = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < until:
            if not self._read(0.05):
                time.sleep(0.01)
        while self._read(0.0):
            pass
        return self.process.wait(max(0.1, until - time.monotonic()))
