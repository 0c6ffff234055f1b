"""Reading and writing control files."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable

from barque.errors import KernelError


def write(directory: str, name: str, *values: str) -> None:
    """Write each value in one write(2), as control files want it. Raises KernelError."""
    path = f"{directory}/{name}"
    value = ""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(f"write {value!r} to", error.errno or 0, path) from None


def read(directory: str, name: str) -> str:
    """The whole control file, stripped. Raises KernelError."""
    path = f"{directory}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            while chunk := os.read(fd, 65536):
                chunks.append(chunk)
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError("read", error.errno or 0, path) from None
    return b"".join(chunks).decode().strip()


def find(directory: str, name: str) -> str:
    """The whole control file, stripped; "" where the kernel, or the group, does not have it.

    Raises KernelError for other failures.
    """
    try:
        return read(directory, name)
    except KernelError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP}:
            return ""
        raise


def walk(directory: str) -> Iterable[str]:
    """``directory`` and all below it, deepest first; nothing if it is gone."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for name in names:
        yield from walk(name)
    yield directory


def remove_tree(directory: str, deadline: float) -> None:
    """rmdir ``directory`` and all below it, deepest first.

    A group is busy for a moment after its last process has ended; retried until ``deadline``
    (monotonic seconds). Raises KernelError(EBUSY) after that.
    """
    try:
        os.rmdir(directory)  # most have nothing below
    except FileNotFoundError:
        return
    except OSError:
        for path in walk(directory):
            _remove(path, deadline)


def _remove(path: str, deadline: float) -> None:
    wait_s = 0.0005
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() + wait_s > deadline:
                raise KernelError("rmdir", error.errno or 0, path) from None
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, 0.05)
        else:
            return


def kill_all(pids: Callable[[], list[int]], rounds: int = 20) -> None:
    """SIGKILL what ``pids`` lists until it lists nothing new, ``rounds`` times at most."""
    import signal  # noqa: PLC0415 - not on the path of a start

    for _ in range(rounds):
        if not signal_all(pids, signal.SIGKILL):
            return
        time.sleep(0.001)


def signal_all(pids: Callable[[], list[int]], number: int) -> bool:
    """Send a signal to all that ``pids`` lists; whether it lists any.

    Each process is taken by a pidfd and looked for again in the list before the signal, so
    that a number that was reused meanwhile is never hit.
    """
    import signal  # noqa: PLC0415 - not on the path of a start

    listed = pids()
    held: dict[int, int] = {}
    for pid in listed:
        try:
            held[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
    still = set(pids()) if held else set()
    for pid, fd in held.items():
        try:
            if pid in still:
                signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            continue
        finally:
            os.close(fd)
    return bool(listed)
