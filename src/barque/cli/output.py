"""Where an archive goes: standard output, or a file that appears only when it is whole."""

from __future__ import annotations

import os

from barque.cli.command import CommandError
from barque.cli.streams import write_all
from barque.cli.terminal import STDOUT, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Output:
    """A context manager; see :func:`open_output`."""

    def __init__(self, path: str, failure: str) -> None:
        self._path = path
        self._partial = f"{path}.{os.getpid()}.partial" if path else ""
        self._failure = failure
        self._fd = STDOUT
        self._kept = False

    def __enter__(self) -> Self:
        if self._path:
            try:
                self._fd = os.open(
                    self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
            except OSError as error:
                raise CommandError(
                    f"{self._failure}: open {self._path}: {error.strerror}"
                ) from error
        return self

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        write_all(self._fd, data)

    def keep(self) -> None:
        """Everything has been written: give the file its name."""
        if self._path:
            os.rename(self._partial, self._path)
        self._kept = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._path:
            return
        os.close(self._fd)
        if not self._kept:
            os.unlink(self._partial)


def open_output(path: str, *, refusal: str, failure: str) -> Output:
    """Standard output if ``path`` is "", else a new file there.

    Raises :class:`CommandError`: ``refusal`` if standard output is a terminal, and a message
    that begins with ``failure`` if the file cannot be made.
    """
    if not path and is_terminal(STDOUT):
        raise CommandError(refusal)
    return Output(path, failure)
