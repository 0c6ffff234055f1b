"""The maker's end of a process that is on its way to its program: what it tells, and the answers.

See ``runtime.status`` for the messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from barque.kernel.seqpacket import Socket, receive
from barque.runtime.status import (
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


class Reports:
    """What the process has told so far.

    ``master`` is its terminal, the taker's, or -1; ``failure`` why it will not get there.
    """

    def __init__(self, end: Socket, answer: Callable[[Question], None]) -> None:
        """Takes ownership of ``end``. ``answer`` does what is due when the process asks."""
        self._end = end
        self._answer = answer
        self.master = -1
        self.warnings: list[str] = []
        self.failure: Failure | None = None

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to take."""
        return self._end.fileno()

    def take(self) -> bool:
        """Take the next report, waiting for it; False when there will be no more.

        Raises what ``answer`` raises: the process waits still then.
        """
        try:
            data, fds = receive(self._end)
        except ConnectionResetError:  # it has died with an answer unread
            return False
        match decode(data) if data else None:
            case None:
                return False
            case Pty():
                self.master = fds[0]
            case Warning_(message=text):
                self.warnings.append(text)
            case Failure() as failed:
                self.failure = failed
            case question:
                self._answer(question)
                os.write(self._end.fileno(), b"go")
        return True

    def close(self) -> None:
        """Close our end: who asks from here on leaves."""
        self._end.close()
