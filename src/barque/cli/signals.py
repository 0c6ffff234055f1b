"""Signals that reach the command line while a container runs in the foreground.

They are passed on to the container (``--sig-proxy``). Three times SIGINT or SIGTERM ends
the command line itself, whatever the container does. SIGWINCH is a change of the window.

Handlers are installed with the C module: :mod:`signal` imports :mod:`enum`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has no stub
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, Self

_FORCE_AFTER = 3
# Never passed on: what concerns our own process, what cannot be caught, what says that our
# own code is broken, and the two by which a shell stops its background jobs.
_OWN = frozenset(
    (
        _signal.SIGCHLD,
        _signal.SIGPIPE,
        _signal.SIGURG,
        _signal.SIGWINCH,
        _signal.SIGKILL,
        _signal.SIGSTOP,
        _signal.SIGSEGV,
        _signal.SIGBUS,
        _signal.SIGFPE,
        _signal.SIGILL,
        _signal.SIGTTIN,
        _signal.SIGTTOU,
        32,  # glibc's own, for threads
        33,
    )
)
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


class Interrupted(BaseException):
    """A signal ends the command line; ``signum`` says which. Not an error to be handled."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Forwarding:
    """While entered, signals go to ``deliver`` (the container) instead of ending us.

    ``deliver`` is called with the signal's number, in the main thread, between any two of
    its steps; it must use a connection of its own and not raise. Without ``deliver`` the
    signals that end a process raise :class:`Interrupted`, so that the terminal is restored.
    """

    def __init__(self, deliver: Callable[[int], None] | None) -> None:
        self._deliver = deliver
        self._previous: dict[int, Any] = {}
        self._asked_to_end = 0

    def __enter__(self) -> Self:
        signals: tuple[int, ...] = _ENDING
        if self._deliver is not None:
            signals = tuple(number for number in range(1, _signal.NSIG) if number not in _OWN)
        handler = self._forward if self._deliver is not None else self._interrupt
        for number in signals:
            if _signal.getsignal(number) is None:
                continue  # not installed by Python: not ours to take
            try:
                self._previous[number] = _signal.signal(number, handler)
            except (OSError, ValueError):
                continue  # reserved by the C library
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            _signal.signal(number, handler)
        self._previous.clear()

    def _forward(self, signum: int, _frame: FrameType | None) -> None:
        if signum in (_signal.SIGINT, _signal.SIGTERM):
            self._asked_to_end += 1
            if self._asked_to_end >= _FORCE_AFTER:
                os.write(2, b"\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n")
                raise SystemExit(1)
        assert self._deliver is not None
        self._deliver(signum)

    @staticmethod
    def _interrupt(signum: int, _frame: FrameType | None) -> None:
        raise Interrupted(signum)


class WindowChanges:
    """While entered, ``fd`` becomes readable after each SIGWINCH; :meth:`drain` resets it."""

    def __init__(self) -> None:
        self.fd = -1
        self._write = -1
        self._previous: Any = None

    def __enter__(self) -> Self:
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous = _signal.signal(_signal.SIGWINCH, self._note)
        return self

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        try:
            os.write(self._write, b"w")
        except BlockingIOError:
            return  # it is full: readable already

    def drain(self) -> None:
        """Read what has been noted so far."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _signal.signal(_signal.SIGWINCH, self._previous)
        os.close(self.fd)
        os.close(self._write)
