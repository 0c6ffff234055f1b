"""Looking at the sources of binds, whose file systems may not answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from barque.engine.propagation import asks_for_more, root_propagation
from barque.errors import InvalidArgument, Unavailable
from barque.images.feed import ANSWER_S, run_bounded
from barque.models.container import MountPoint


async def ask(
    paths: Sequence[str], question: Callable[[str], object], timeout_s: float = ANSWER_S
) -> None:
    """Call ``question`` with each of ``paths``, in a thread of its own.

    Raises what it raises, and Unavailable, which names the path whose file system has not
    answered within ``timeout_s``.
    """
    if not paths:
        return
    asked: list[str] = []

    def run() -> None:
        for path in paths:
            asked.append(path)
            question(path)

    try:
        await run_bounded(run, "ask-sources", "its file system", timeout_s=timeout_s)
    except Unavailable as error:
        where = f"bind source {asked[-1]}: " if asked else ""
        raise Unavailable(f"{where}{error}") from None


def check(path: str) -> None:
    """Raise InvalidArgument if a bind source is missing that must be there. May block."""
    if not os.path.exists(path):
        raise InvalidArgument(
            f'invalid mount config for type "bind": bind source path does not exist: {path}'
        )


def make(path: str) -> None:
    """Make a bind source, a directory, if it is missing. Raises OSError. May block."""
    if not os.path.exists(path):
        os.makedirs(path, mode=0o755, exist_ok=True)


async def look_before_start(mounts: Sequence[MountPoint]) -> str:
    """See that the sources of binds answer, for which a start would wait much longer.

    Returns what the root must be for them; see ``root_propagation``. Raises as ``ask``.
    """
    binds = [(mount.source, mount.propagation) for mount in mounts if mount.type == "bind"]
    await ask([source for source, _ in binds], _look)
    if not any(asks_for_more(propagation) for _, propagation in binds):
        return ""
    what = "the source of a bind mount"
    return await run_bounded(partial(root_propagation, binds), "propagation", what)


def _look(path: str) -> None:
    with suppress(OSError):  # the start says so, in docker's words
        os.stat(path)
