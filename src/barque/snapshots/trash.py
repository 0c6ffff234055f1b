"""Deleting trees that a hostile program has written.

A tree is first renamed into the trash, which nobody else can see, and deleted from there.
Every step goes through directory descriptors and follows no symbolic link, so nothing
outside the tree is ever touched, even while its writer still has it mounted. A tree may be
deeper than any path is long: what lies deeper than ``_DEPTH`` is first moved to the top.
"""

from __future__ import annotations

import os
import secrets
import stat
from errno import EXDEV
from pathlib import Path

from barque.errors import FailedPrecondition, KernelError

_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSES = 64


def discard(path: Path, trash: Path) -> None:
    """Rename ``path`` into the trash; nothing happens if it does not exist.

    Raises KernelError, with EXDEV if the trash is on another file system.
    """
    try:
        path.rename(trash / f"{path.name}-{secrets.token_hex(8)}")
    except FileNotFoundError:
        return
    except OSError as error:
        hint = "the trash must be on the same file system" if error.errno == EXDEV else ""
        raise KernelError("rename", error.errno or 0, str(path), hint) from error


def empty_trash(trash: Path) -> None:
    """Delete all that is in ``trash``. Blocks as long as it takes: call it from a thread.

    What cannot be deleted is left for the next time, and the first reason is raised as
    FailedPrecondition when the rest is gone. May run beside itself.
    """
    fd = os.open(trash, _DIRECTORY)
    try:
        removal = _Removal(fd)
        removal.run([os.fsencode(name) for name in os.listdir(fd)])
    finally:
        os.close(fd)
    if removal.error is not None:
        raise FailedPrecondition(
            f"{trash} could not be emptied: {removal.error}; it is tried again later"
        )


def remove_tree(parent_fd: int, name: bytes) -> None:
    """Delete ``name`` and all below it, whatever it is. Raises OSError.

    ``name`` is one component of a path. Blocks as long as it takes.
    """
    removal = _Removal(parent_fd)
    removal.run([name])
    if removal.error is not None:
        raise removal.error


class _Removal:
    """Removes trees that stand in ``top``, which also takes what lies too deep."""

    def __init__(self, top: int) -> None:
        self.error: OSError | None = None
        self._top = top
        self._pending: list[bytes] = []

    def run(self, names: list[bytes]) -> None:
        """Remove ``names``; the first failure stays in ``error``."""
        self._pending = names
        while self._pending:
            name = self._pending.pop()
            try:
                status = os.stat(name, dir_fd=self._top, follow_symlinks=False)
                self._remove(self._top, name, stat.S_ISDIR(status.st_mode), 0)
            except FileNotFoundError:
                continue  # another reaper was faster
            except OSError as error:
                self.error = self.error or error

    def _remove(self, parent: int, name: bytes, is_directory: bool, depth: int) -> None:
        if not is_directory:
            os.unlink(name, dir_fd=parent)
        elif depth > _DEPTH:
            flat = b"deep-" + secrets.token_hex(16).encode()
            os.rename(name, flat, src_dir_fd=parent, dst_dir_fd=self._top)
            self._pending.append(flat)
        else:
            self._remove_directory(parent, name, depth)

    def _remove_directory(self, parent: int, name: bytes, depth: int) -> None:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            for _ in range(_PASSES):  # readdir may skip names while others are deleted
                if not self._empty(fd, depth):
                    break
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)

    def _empty(self, fd: int, depth: int) -> bool:
        """Delete what is in the directory; tell whether there was anything deletable."""
        found = False
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    name = os.fsencode(entry.name)
                    self._remove(fd, name, entry.is_dir(follow_symlinks=False), depth + 1)
                    found = True
                except FileNotFoundError:
                    continue  # another reaper was faster
                except OSError as error:
                    self.error = self.error or error
        return found
