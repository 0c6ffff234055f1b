"""Tests that run in a process of their own."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

_DEADLINE_S = 120


def run_in_child(work: Callable[[], None]) -> None:
    """Run ``work`` in a forked child. Raises AssertionError with the traceback where it fails."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            signal.alarm(_DEADLINE_S)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - handed to the parent as text
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text or f"wait status {status}"
