"""The maker's end of a process that is on its way to its program: what it tells, and the answers.

See ``runtime.status`` for the messages. They are not trusted: who may trace a process of its
container can speak in its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import msgspec

from barque.kernel.seqpacket import Socket, receive_from, refuse_descriptors
from barque.runtime.status import (
    Branched,
    Created,
    Failure,
    Listener,
    Mounted,
    Pty,
    Unmapped,
    Warning_,
    decode,
)

Question = Unmapped | Mounted | Listener | Created

_MOST = 256
_WARNINGS = 16
_WARNING_LENGTH = 512
_FAILURE_LENGTH = 4096
"""Characters, six bytes each at most: what passes them on has room for them in its message."""
_ERRNOS = 4096
_FORGED = Failure("start", 0, "the process reported what only another would", 128)


def _bounded(failure: Failure) -> Failure:
    """As it may be passed on, whoever has made it."""
    code = failure.exit_code if failure.exit_code in {126, 127, 128} else 128
    number = failure.errno if 0 <= failure.errno < _ERRNOS else 0
    stage, message = failure.stage[:_WARNING_LENGTH], failure.message[:_FAILURE_LENGTH]
    return Failure(stage, number, message, code)


class Reports:
    """What the process has told so far.

    ``master`` is its terminal, the taker's, or -1; ``failure`` why it will not get there.
    ``branched`` is the pid of who said to be the process, in place of who was made, or 0;
    ``waits``: it wants an answer to that (``go``).
    """

    def __init__(self, end: Socket, answer: Callable[[Question], None], *, terminal: bool) -> None:
        """Takes ownership of ``end``, the first of ``pair_with_senders``.

        ``answer`` does what is due when the process asks. With ``terminal`` a descriptor of one is
        to come; no other is taken, so that nobody has us close what cannot be closed.
        """
        self._end = end
        self._answer = answer
        self._awaits_terminal = terminal
        if not terminal:
            refuse_descriptors(end)
        self._taken = 0
        self.master = -1
        self.warnings: list[str] = []
        self.failure: Failure | None = None
        self.branched = 0
        self.waits = False

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to take."""
        return self._end.fileno()

    def take(self) -> bool:
        """Take the next report, waiting for it; False when there will be no more.

        What makes no sense is the ``failure`` that ends it. Raises what ``answer`` raises: the
        process waits still then.
        """
        try:
            data, fds, sender = receive_from(self._end, descriptors=self._awaits_terminal)
        except ConnectionResetError:  # it has died with an answer unread
            return False
        try:
            return self._take(data, fds, sender)
        finally:
            for fd in fds:
                os.close(fd)

    def _take(self, data: bytes, fds: list[int], sender: int) -> bool:
        """Take what was received, and out of ``fds`` what is kept."""
        try:
            message = decode(data) if data else None
        except (msgspec.DecodeError, RecursionError):
            message = _FORGED
        self._taken += 1
        if self._taken > _MOST:
            message = _FORGED
        match message:
            case None:
                return False
            case Pty() if fds and self._awaits_terminal and not self.branched:
                self.master = fds.pop()
                self._awaits_terminal = False
                refuse_descriptors(self._end)
            case Warning_(message=text):
                if len(self.warnings) < _WARNINGS:
                    self.warnings.append(text[:_WARNING_LENGTH])
            case Branched(waits=waits) if not self.branched and sender:
                self.branched, self.waits = sender, waits
            case Pty() | Branched():
                self.failure = _FORGED
            case Failure():
                self.failure = _bounded(message)
            case question:
                self._answer(question)
                self.go()
        return self.failure is None

    def go(self) -> None:
        """Answer the process, which waits; that it has died meanwhile is told by its reports."""
        self.waits = False
        with suppress(BrokenPipeError, ConnectionResetError):
            os.write(self._end.fileno(), b"go")

    def close(self) -> None:
        """Close our end: who asks from here on leaves."""
        self.waits = False
        self._end.close()
