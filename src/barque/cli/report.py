"""Errors, as the user sees them: on stderr, in docker's words where it has some."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.errors import BarqueError


def print_error(error: BarqueError) -> None:
    """One line, or the several of a message that has them."""
    # What was printed so far comes first, also where both go to the same file.
    sys.stdout.flush()
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
