"""Blobs, whole: downloads that go on where they broke off, uploads likewise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from barque.registry.client import Repository, Slice
from barque.registry.errors import RegistryError, Unreachable

CHUNK = 64 << 20
"""Bytes of an upload sent at once: what is sent again, at worst, after a cut."""
_PROGRESS = 64 << 10
_PAUSE_S = 0.2
_MAX_PAUSE_S = 10.0
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


async def download(
    repository: Repository,
    digest: str,
    size: int,
    attempts: int,
    on_retry: Callable[[float], object],
    *,
    offset: int = 0,
    url: str = "",
) -> AsyncGenerator[bytes, None]:
    """Give a blob's bytes from ``offset`` on, resuming after cuts. The caller verifies the digest.

    ``url`` is another place than the registry to get it from.

    Gives up after ``attempts`` tries in a row that brought nearly nothing; ``on_retry`` is
    told the pause in seconds. Raises RegistryError, Unreachable, Damaged. Close it.
    """
    failures = 0
    while not offset or offset < size:
        began = offset
        try:
            async with aclosing(repository.read_blob(digest, size, offset, url)) as pieces:
                async for piece in pieces:
                    offset += len(piece)
                    yield piece
        except (RegistryError, Unreachable) as error:
            failures = 1 if offset - began >= _PROGRESS else failures + 1
            if failures >= attempts or not is_passing(error):
                raise
            pause_s = min(_PAUSE_S * 2.0**failures, _MAX_PAUSE_S)
            on_retry(pause_s)
            await asyncio.sleep(pause_s)
        else:
            return


async def upload(
    repository: Repository,
    digest: str,
    size: int,
    slice_: Slice,
    *,
    location: str,
    attempts: int,
    chunk: int = CHUNK,
) -> None:
    """Send a blob in chunks to ``location``; after a cut, go on where the registry says.

    Raises RegistryError, Unreachable; the upload is cancelled then.
    """
    offset = failures = 0
    try:
        while offset < size:
            end = min(size, offset + chunk)
            try:
                location = await repository.send_chunk(location, slice_, offset, end, size)
            except (RegistryError, Unreachable) as error:
                failures += 1
                resumable = is_passing(error) or getattr(error, "status", 0) == 416
                if failures >= attempts or not resumable:
                    raise
                await asyncio.sleep(min(_PAUSE_S * 2.0**failures, _MAX_PAUSE_S))
                location, offset = await repository.find_offset(location)
            else:
                offset, failures = end, 0
        await repository.finish_upload(location, digest)
    except (RegistryError, Unreachable):
        await _cancel(repository, location)
        raise


async def _cancel(repository: Repository, location: str) -> None:
    try:
        await repository.cancel_upload(location)
    except (RegistryError, Unreachable):
        return  # it expires by itself; the error that led here is the one to tell


def is_passing(error: RegistryError | Unreachable) -> bool:
    """Tell whether the same request may succeed later."""
    return isinstance(error, Unreachable) or error.status in _AGAIN
