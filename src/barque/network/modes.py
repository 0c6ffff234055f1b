"""The words of network modes and the networks that are always there."""

from __future__ import annotations

CONTAINER_PREFIX = "container:"
"""``container:ID`` shares the network of another container."""
DEFAULT_MODES = frozenset({"", "default", "bridge"})
PREDEFINED = frozenset({"bridge", "host", "none", "default"})
