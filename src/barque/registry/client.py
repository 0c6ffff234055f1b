"""The distribution-spec, from the client's side: one repository of one registry.

Source: opencontainers/distribution-spec 1.1, "Endpoints"; docker's catalog and /v1/search.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import msgspec

from barque.content.digests import digest_bytes
from barque.content.documents import decode_document
from barque.errors import BarqueError, InvalidArgument
from barque.registry.auth import Credentials
from barque.registry.config import RegistryConfig
from barque.registry.connection import Answer, Body, Connection, Pace
from barque.registry.documents import ACCEPT, MAX_BYTES, Document
from barque.registry.endpoints import list_endpoints
from barque.registry.errors import Damaged, RegistryError, Unreachable

_T = TypeVar("_T")
_DOCUMENT_S = 60.0
_MAX_PAGE_BYTES = 4 << 20
_MAX_PAGES = 1000
_MAX_TAGS = 100_000
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_BINARY = "application/octet-stream"
Slice = Callable[[int, int], AsyncIterator[bytes]]
"""Gives the bytes from an offset on, so many."""


class Repository:
    """One repository. Valid while its connection is open."""

    def __init__(self, connection: Connection, path: str, scopes: Sequence[str]) -> None:
        self._connection = connection
        self.path = path
        self._scopes = tuple(scopes)

    def _url(self, rest: str) -> str:
        return f"/v2/{self.path}/{rest}"

    async def ping(self) -> None:
        """Ask whether the registry speaks the protocol and lets us in. Raises as all do."""
        async with (
            asyncio.timeout(_DOCUMENT_S),
            self._connection.request("GET", "/v2/", scopes=self._scopes, expect=(200, 404)),
        ):
            return

    # Manifests

    async def find_digest(self, reference: str) -> str:
        """Return the digest that a tag has, without fetching it; "" if the registry is silent.

        Raises RegistryError, Unreachable.
        """
        async with self._bounded(
            "HEAD", self._url(f"manifests/{reference}"), headers={"Accept": ACCEPT}
        ) as answer:
            return answer.headers.get("Docker-Content-Digest", "")

    async def get_manifest(self, reference: str, size: int | None = None) -> Document:
        """Return the manifest or index of a tag or digest, its digest verified.

        ``size`` is what a descriptor announced. Raises RegistryError, Unreachable, Damaged.
        """
        async with self._bounded(
            "GET", self._url(f"manifests/{reference}"), headers={"Accept": ACCEPT}
        ) as answer:
            content = await answer.read(MAX_BYTES)
            told = answer.headers.get("Docker-Content-Digest", "")
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = digest_bytes(content)
        announced = reference if ":" in reference else told
        if announced.startswith("sha256:") and announced != digest:
            raise Damaged(
                f"manifest verification failed for digest {announced}: the content has {digest}"
            )
        if size is not None and size != len(content):
            raise Damaged(f"manifest {digest} has {len(content)} bytes, not {size} as announced")
        return Document(content, digest, media_type)

    async def put_manifest(self, reference: str, document: Document) -> None:
        """Store a manifest or index under a tag or its digest. Raises as all do."""

        async def body() -> AsyncIterator[bytes]:
            yield document.content

        headers = {
            "Content-Type": document.media_type,
            "Content-Length": str(len(document.content)),
        }
        async with self._bounded(
            "PUT",
            self._url(f"manifests/{reference}"),
            headers=headers,
            body=body,
            expect=(200, 201),
        ) as answer:
            told = answer.headers.get("Docker-Content-Digest", "")
            if told.startswith("sha256:") and told != document.digest:
                raise Damaged(f"the registry took {document.digest} for {told}")

    async def list_tags(self) -> list[str]:
        """Return all tags, page after page. Raises as all do."""
        tags: list[str] = []
        async for page in self._pages(self._url("tags/list"), _Tags):
            tags += page.tags or []
            if len(tags) > _MAX_TAGS:
                raise Damaged(f"{self.path} has more than {_MAX_TAGS} tags: it was refused")
        return tags

    async def _pages(self, url: str, kind: type[_T]) -> AsyncIterator[_T]:
        for _ in range(_MAX_PAGES):
            async with self._bounded("GET", url) as answer:
                content = await answer.read(_MAX_PAGE_BYTES)
                more = _NEXT.search(answer.headers.get("Link", ""))
                here = answer.url
            try:
                page = decode_document(content, kind)
            except InvalidArgument as error:
                raise Damaged(f"{here}: the list is {error}") from error
            yield page
            if more is None:
                return
            following = urljoin(here, more[1])
            if urlsplit(following)[:2] != urlsplit(here)[:2]:
                raise Damaged(f"{here}: the list goes on on another host: it was refused")
            url = following
        raise Damaged(f"{url}: the list has more than {_MAX_PAGES} pages: it was refused")

    # Blobs, down

    async def read_blob(
        self, digest: str, size: int, offset: int = 0, url: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Give a blob's bytes from ``offset`` on. The caller verifies the digest of the whole.

        With ``url`` they come from there, and credentials stay with the registry; it may be where
        the registry may redirect to: https, or plain http between insecure hosts. Raises
        RegistryError, Unreachable where it breaks off, Damaged if more than ``size`` bytes come.
        """
        headers = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
        async with self._connection.request(
            "GET",
            url or self._url(f"blobs/{digest}"),
            scopes=() if url else self._scopes,
            headers=headers,
            expect=(200, 206),
        ) as answer:
            skip = offset if answer.status == 200 else 0
            if answer.status == 206:
                _check_range(answer.headers.get("Content-Range", ""), offset)
            left, pace = size - offset, Pace()
            async for piece in answer.pieces():
                pace.add(len(piece))
                data = piece[skip:]
                skip -= min(skip, len(piece))
                left -= len(data)
                if left < 0:
                    raise Damaged(f"{digest}: more than the {size} bytes announced came")
                if data:
                    yield data
            if left:
                raise Unreachable(f"{digest}: the connection ended {left} bytes early")

    async def has_blob(self, digest: str, size: int) -> bool:
        """Tell whether the registry has a blob of this size. Raises as all do."""
        try:
            async with self._bounded("HEAD", self._url(f"blobs/{digest}")) as answer:
                length = answer.headers.get("Content-Length", "")
                return not length.isdigit() or int(length) == size
        except RegistryError as error:
            if error.is_missing:
                return False
            raise

    # Blobs, up

    async def mount(self, digest: str, source: str) -> str:
        """Take a blob over from another repository of the registry.

        Returns "" if that worked, else where to upload it instead. Raises as all do.
        """
        return await self._start({"mount": digest, "from": source})

    async def start_upload(self) -> str:
        """Begin an upload; return where to send it. Raises as all do."""
        location = await self._start({})
        if not location:
            raise Damaged("the registry began no upload, though it was asked to")
        return location

    async def _start(self, query: dict[str, str]) -> str:
        url = self._url("blobs/uploads/") + (f"?{urlencode(query)}" if query else "")
        async with self._bounded(
            "POST", url, headers={"Content-Length": "0"}, expect=(201, 202)
        ) as answer:
            return "" if answer.status == 201 else _find_location(answer.headers, answer.url)

    async def send_chunk(
        self, location: str, slice_: Slice, offset: int, end: int, size: int
    ) -> str:
        """Send the bytes from ``offset`` up to ``end``; return where to go on."""
        headers = {"Content-Type": _BINARY, "Content-Length": str(end - offset)}
        if (offset, end) != (0, size):
            headers["Content-Range"] = f"{offset}-{end - 1}"
        async with self._connection.request(
            "PATCH",
            location,
            scopes=self._scopes,
            headers=headers,
            body=lambda: slice_(offset, end - offset),
            expect=(202, 201, 204),
        ) as answer:
            return _find_location(answer.headers, answer.url, location)

    async def find_offset(self, location: str) -> tuple[str, int]:
        """Ask how much of an upload has arrived; return where to go on, and from where."""
        async with self._bounded("GET", location, expect=(204, 202, 200)) as answer:
            received = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", ""))
            where = _find_location(answer.headers, answer.url, location)
            return where, int(received[1]) + 1 if received and received[1] != "0" else 0

    async def finish_upload(self, location: str, digest: str) -> None:
        """Say which blob the upload was."""
        parts = urlsplit(location)
        query = [*parse_qsl(parts.query, keep_blank_values=True), ("digest", digest)]
        url = urlunsplit(parts._replace(query=urlencode(query)))
        async with self._bounded(
            "PUT", url, headers={"Content-Length": "0"}, expect=(201, 204)
        ) as answer:
            told = answer.headers.get("Docker-Content-Digest", "")
            if told.startswith("sha256:") and told != digest:
                raise Damaged(f"the registry took {digest} for {told}")

    async def cancel_upload(self, location: str) -> None:
        """Let the registry forget an upload. Raises as all do."""
        async with self._bounded("DELETE", location, expect=(204, 202, 200, 404, 405)):
            return

    # Finding

    async def search(self, term: str, limit: int) -> list[dict[str, object]]:
        """Ask docker's search API. Raises as all do."""
        query = urlencode({"q": term, "n": limit})
        async with self._bounded("GET", f"/v1/search?{query}") as answer:
            content = await answer.read(_MAX_PAGE_BYTES)
        try:
            return decode_document(content, _Found).results
        except InvalidArgument as error:
            raise RegistryError(f"the search's answer is {error}") from error

    async def list_repositories(self) -> list[str]:
        """Return the registry's repositories, where it tells. Raises as all do."""
        names: list[str] = []
        async for page in self._pages("/v2/_catalog?n=1000", _Catalog):
            names += page.repositories
            if len(names) > _MAX_TAGS:
                break
        return names

    @asynccontextmanager
    async def _bounded(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        expect: Sequence[int] = (200,),
    ) -> AsyncIterator[Answer]:
        """Send a request whose answer is small, within a deadline."""
        try:
            async with (
                asyncio.timeout(_DOCUMENT_S),
                self._connection.request(
                    method, url, scopes=self._scopes, headers=headers, body=body, expect=expect
                ) as answer,
            ):
                yield answer
        except TimeoutError:
            raise Unreachable(f"{method} {url.partition('?')[0]}: no answer in time") from None


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str]


class _Found(msgspec.Struct):
    results: list[dict[str, object]]


def _check_range(header: str, offset: int) -> None:
    match = re.match(r"bytes (\d+)-", header)
    if match is None or int(match[1]) != offset:
        raise Damaged(f"asked for the bytes from {offset} on, the registry sent {header!r}")


def _find_location(headers: Mapping[str, str], url: str, default: str = "") -> str:
    location = headers.get("Location", "")
    if not location and not default:
        raise Damaged(f"{url}: the registry does not say where to upload to")
    return urljoin(url, location) if location else default


@asynccontextmanager
async def open_repository(
    domain: str,
    path: str,
    credentials: Credentials,
    config: RegistryConfig,
    first: Callable[[Repository], Awaitable[_T]],
    *,
    push: bool = False,
    sources: Sequence[str] = (),
) -> AsyncIterator[tuple[Repository, _T]]:
    """Open a repository at the first endpoint where ``first`` succeeds; give its result, too.

    Mirrors fail silently, and get no credentials: those are not for them. Of an insecure
    registry http is tried where https does not answer. ``sources`` are repositories from
    which blobs will be mounted. Raises RegistryError, Unreachable, Damaged of the last try.
    """
    scopes = [f"repository:{path}:{'pull,push' if push else 'pull'}"] if path else []
    scopes += [f"repository:{source}:pull" for source in sources]
    endpoints = await list_endpoints(domain, config, push=push)
    for number, endpoint in enumerate(endpoints):
        given = Credentials() if endpoint.mirror else credentials
        async with Connection(endpoint, given, config) as connection:
            repository = Repository(connection, path, scopes)
            try:
                result = await first(repository)
            except BarqueError as error:
                last = number == len(endpoints) - 1
                if last or not (endpoint.mirror or isinstance(error, Unreachable)):
                    raise
                continue
            yield repository, result
            return


async def check_login(domain: str, credentials: Credentials, config: RegistryConfig) -> str:
    """Check credentials; return the identity token to keep instead of a password, or "".

    Raises RegistryError if they are refused, Unreachable.
    """
    for endpoint in (endpoints := await list_endpoints(domain, config, push=True)):
        async with Connection(endpoint, credentials, config) as connection:
            try:
                await Repository(connection, "", ()).ping()
            except Unreachable:
                if endpoint == endpoints[-1]:
                    raise
                continue
            return connection.authorizer.identity_token
    raise Unreachable(f"{domain}: there is nowhere to ask")
