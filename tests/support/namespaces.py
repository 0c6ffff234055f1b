"""Namespaces that are held by somebody, to be joined."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.waiting import wait_until


def release() -> tuple[int, int]:
    """The version of this kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


def is_refused_without_own_mounts(code: int, lines: list[str]) -> bool:
    """Whether this kernel cannot put a root together outside; assert that this is said then."""
    if release() >= (6, 15):
        return False
    assert code == 1
    assert "without a mount namespace of its own needs Linux 6.15" in lines[0]
    return True


@contextmanager
def holder(*command: str, kind: str) -> Iterator[str]:
    """The path of a namespace of ``kind`` that a process holds."""
    process = subprocess.Popen(command)
    path = f"/proc/{process.pid}/ns/{kind}"
    try:
        wait_until(
            lambda: os.stat(path).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino, "it is made"
        )
        yield path
    finally:
        process.kill()
        process.wait()
