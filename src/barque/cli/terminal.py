"""The user's terminal: whether there is one, its size, raw mode.

Source: termios(3), tty_ioctl(4).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

STDIN, STDOUT, STDERR = 0, 1, 2


def is_terminal(fd: int) -> bool:
    """True if ``fd`` is a terminal; False as well if it is closed."""
    return os.isatty(fd)


def window_size(fd: int = STDOUT) -> tuple[int, int]:
    """Height and width of the terminal at ``fd``; (0, 0) if it is none."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return 0, 0
    return size.lines, size.columns


class RawMode:
    """While entered, the terminal at ``fd`` hands every byte through as it is typed.

    Nothing happens if ``fd`` is no terminal. The old mode comes back on leaving, however
    that happens, and once only.
    """

    def __init__(self, fd: int = STDIN) -> None:
        self._fd = fd
        self._saved: list[Any] | None = None

    def __enter__(self) -> Self:
        if not is_terminal(self._fd):
            return self
        import termios  # noqa: PLC0415 - only for terminals

        self._saved = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        # The flags are those of cfmakeraw, termios(3).
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = (mode[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN] = 1
        mode[6][termios.VTIME] = 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        return self

    def restore(self) -> None:
        """Put the terminal back as it was found."""
        saved, self._saved = self._saved, None
        if saved is not None:
            import termios  # noqa: PLC0415 - only for terminals

            termios.tcsetattr(self._fd, termios.TCSANOW, saved)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()
