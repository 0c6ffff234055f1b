"""From method and path to an operation.

Fixed paths are one look-up. Paths with a name are matched by what stands around the name,
as names hold slashes (``/images/registry:5000/a/b:tag/json``); the longest fixed text wins.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from barque.api.errors import PageNotFound
from barque.api.operations import Operation


class Router:
    """A table of operations, searched by request."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._fixed: dict[tuple[str, str], Operation] = {}
        patterns: dict[tuple[str, str], list[tuple[int, re.Pattern[str], Operation]]] = defaultdict(
            list
        )
        for operation in operations:
            method, path = operation.method, operation.path
            if "{" not in path:
                self._fixed[method, path] = operation
                continue
            fixed = re.sub(r"\{\w+\}", "", path)
            pattern = re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(path)), re.DOTALL)
            patterns[method, path.split("/")[1]].append((len(fixed), pattern, operation))
        self._patterns = {
            key: [(pattern, operation) for _, pattern, operation in sorted(found, key=_longest)]
            for key, found in patterns.items()
        }

    def find(self, method: str, path: str) -> tuple[Operation, str]:
        """Return the operation and the name in the path ("" if it has none).

        Raises PageNotFound.
        """
        operation = self._fixed.get((method, path))
        if operation is not None:
            return operation, ""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        for pattern, candidate in self._patterns.get((method, first), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return candidate, match[1]
        raise PageNotFound


def _longest(entry: tuple[int, re.Pattern[str], Operation]) -> int:
    return -entry[0]
