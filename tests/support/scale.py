"""How long the long tests run, and how long anything may take, as the environment says.

``BARQUE_TEST_SCALE`` multiplies the counts of the long tests (1 is CI's), ``BARQUE_TEST_PATIENCE``
the deadlines of all: an emulated processor on a busy machine is slow, which is no failure.
"""

from __future__ import annotations

import os

_PATIENCE = float(os.environ.get("BARQUE_TEST_PATIENCE", "1"))


def scaled(count: int) -> int:
    """Return ``count`` times the scale, at least 1."""
    return max(int(count * float(os.environ.get("BARQUE_TEST_SCALE", "1"))), 1)


def patient(seconds: float) -> float:
    """Return a deadline of ``seconds`` times the patience."""
    return seconds * _PATIENCE
