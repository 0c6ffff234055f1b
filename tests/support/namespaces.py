"""Namespaces that are held by somebody, to be joined."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.waiting import wait_until


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
