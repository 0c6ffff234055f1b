"""API versions: which are served, and how a request names one.

Only ``1.N`` exists, so a version is its minor number everywhere else. What differs between
versions is stated where it is rendered.
"""

from __future__ import annotations

import re

from barque.errors import InvalidArgument

NEWEST = 51
"""``Api-Version``: the newest version whose shapes are all served truthfully."""

OLDEST = 24
"""``MinAPIVersion``."""

_PREFIX = re.compile(r"/v([0-9.]+)(/.*|$)", re.DOTALL)


def format_version(minor: int) -> str:
    """Return ``1.<minor>``."""
    return f"1.{minor}"


def split_version(path: str) -> tuple[int, str]:
    """Split ``/v1.44/info`` into (44, ``/info``); a path without prefix means the newest.

    Raises InvalidArgument, with dockerd's texts, for a version that is not served.
    """
    if not path.startswith("/v"):
        return NEWEST, path
    match = _PREFIX.match(path)
    if match is None:
        return NEWEST, path
    text, rest = match[1], match[2] or "/"
    numbers = [int(part) for part in text.split(".") if part]
    major, minor = [*numbers, 0, 0][:2]
    if (major, minor) > (1, NEWEST):
        raise InvalidArgument(
            f"client version {text} is too new. Maximum supported API version is "
            f"{format_version(NEWEST)}"
        )
    if (major, minor) < (1, OLDEST):
        raise InvalidArgument(
            f"client version {text} is too old. Minimum supported API version is "
            f"{format_version(OLDEST)}, please upgrade your client to a newer version"
        )
    return minor, rest
