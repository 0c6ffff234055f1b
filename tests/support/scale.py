"""How long the long tests run: ``BARQUE_TEST_SCALE`` multiplies their counts (1 is CI's)."""

from __future__ import annotations

import os


def scaled(count: int) -> int:
    """Return ``count`` times the scale, at least 1."""
    return max(int(count * float(os.environ.get("BARQUE_TEST_SCALE", "1"))), 1)
