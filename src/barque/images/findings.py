"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Something that is not as it should be, and what was done about it."""

    kind: str
    """``blob``, ``image``, ``layer``, ``container``, ``volume``, ``network`` or ``leftover``."""
    name: str
    problem: str
    result: str = ""
    """What was done, and what is left to do; "" where nothing was to be done."""
    repaired: bool = False
    """Whether nothing is left to do."""


Tell = Callable[[Finding], None]
Holders = Callable[[str], list[str]]
"""Which containers run on a layer, by its chain ID: their names."""
