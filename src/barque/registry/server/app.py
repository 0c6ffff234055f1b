"""The distribution-spec over HTTP. Source: opencontainers/distribution-spec 1.1."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from barque.content.store import Ingest
from barque.errors import BarqueError
from barque.models.image import OCI_INDEX
from barque.registry.documents import MAX_BYTES
from barque.registry.server.auth import Passwords
from barque.registry.server.errors import Refused
from barque.registry.server.storage import (
    Contents,
    Storage,
    check_digest,
    check_name,
    get_order,
)

_log = logging.getLogger("barque.registry")
_PIECE = 1 << 20
_MAX_UPLOADS = 256
_UPLOAD_IDLE_S = 3600.0
_SILENCE_S = 60.0
_MAX_PAGE = 10_000
_BINARY = "application/octet-stream"
_JSON = "application/json"
_RANGE = re.compile(r"(\d+)-(\d+)")
Handler = Callable[[web.Request, re.Match[str]], Awaitable[web.StreamResponse]]


class _Upload:
    """An upload under way. ``lock`` is held by the request that adds to it."""

    def __init__(self, name: str, ingest: Ingest) -> None:
        self.name = name
        self.ingest = ingest
        self.lock = asyncio.Lock()
        self.used = time.monotonic()


class Registry:
    """Answers the requests of the distribution-spec.

    What is read is in ``contents``; ``storage`` takes what is pushed, and None makes the
    registry read-only. ``passwords`` None lets everybody in. ``max_blob_bytes`` bounds a blob.
    """

    def __init__(
        self,
        contents: Contents,
        storage: Storage | None,
        passwords: Passwords | None = None,
        *,
        max_blob_bytes: int = 64 << 30,
    ) -> None:
        self._contents = contents
        self._writable = storage
        self._passwords = passwords
        self._max_blob_bytes = max_blob_bytes
        self._uploads: dict[str, _Upload] = {}
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = [
            (methods, re.compile(pattern), handler)
            for methods, pattern, handler in (
                ("GET HEAD", r"/v2/?", self._base),
                ("GET", r"/v2/_catalog", self._catalog),
                ("GET", r"/v2/(?P<name>.+)/tags/list", self._tags),
                ("GET", r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)", self._referrers),
                ("GET HEAD", r"/v2/(?P<name>.+)/manifests/(?P<ref>[^/]+)", self._get_manifest),
                ("PUT", r"/v2/(?P<name>.+)/manifests/(?P<ref>[^/]+)", self._put_manifest),
                ("DELETE", r"/v2/(?P<name>.+)/manifests/(?P<ref>[^/]+)", self._delete_manifest),
                ("POST", r"/v2/(?P<name>.+)/blobs/uploads/?", self._begin),
                ("PATCH", r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]+)", self._patch),
                ("PUT", r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]+)", self._finish),
                ("GET", r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]+)", self._status),
                ("DELETE", r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]+)", self._cancel),
                ("GET HEAD", r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)", self._get_blob),
                ("DELETE", r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)", self._delete_blob),
            )
        ]

    def make_app(self) -> web.Application:
        """Return the application. Its clean-up drops unfinished uploads."""
        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _app: web.Application) -> None:
        for upload in self._uploads.values():
            upload.ingest.abort()
        self._uploads.clear()

    @property
    def _storage(self) -> Storage:
        """Where to write. Raises Refused where nothing is to be written."""
        if self._writable is None:
            raise Refused("UNSUPPORTED", "this registry is read-only")
        return self._writable

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await self._dispatch(request)
        except Refused as error:
            response = _refuse(error)
        except web.HTTPRequestEntityTooLarge:
            response = _refuse(Refused("SIZE_INVALID", "the body is larger than allowed"))
        except BarqueError as error:
            _log.exception("%s %s", request.method, request.path)
            response = web.json_response(_error("UNKNOWN", str(error)), status=500)
        if not response.prepared:
            response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if self._passwords is not None:
            await self._passwords.check(request.headers.get("Authorization", ""))
        known = False
        for methods, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match is None:
                continue
            known = True
            if request.method in methods.split():
                if "name" in match.groupdict():
                    check_name(match["name"])
                return await handler(request, match)
        if known:
            raise Refused("UNSUPPORTED", f"{request.method} is not allowed here")
        return web.json_response(_error("NAME_UNKNOWN", "page not found"), status=404)

    async def _base(self, _request: web.Request, _match: re.Match[str]) -> web.StreamResponse:
        return web.json_response({})

    # Blobs

    async def _get_blob(self, _request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        digest = check_digest(match["digest"])
        path = await asyncio.to_thread(self._contents.get_blob, match["name"], digest)
        headers = {
            "Content-Type": _BINARY,
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
            "Cache-Control": "max-age=31536000",
        }
        return web.FileResponse(path, headers=headers, chunk_size=_PIECE)

    async def _delete_blob(self, _request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        digest = check_digest(match["digest"])
        await asyncio.to_thread(self._storage.delete_blob, match["name"], digest)
        return web.Response(status=202)

    async def _begin(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        name, query = match["name"], request.query
        if "mount" in query:
            digest = check_digest(query["mount"])
            source = check_name(query["from"]) if "from" in query else name
            if await asyncio.to_thread(self._storage.mount, name, digest, source):
                return _created(f"/v2/{name}/blobs/{digest}", digest)
        storage = self._storage
        self._expire()
        if len(self._uploads) >= _MAX_UPLOADS:
            raise Refused("TOOMANYREQUESTS", f"{_MAX_UPLOADS} uploads are under way: try later")
        upload = _Upload(name, await asyncio.to_thread(storage.begin))
        if "digest" in query:
            try:
                await self._receive(request, upload)
                return await self._commit(upload, query["digest"])
            finally:
                upload.ingest.abort()
        key = secrets.token_hex(16)
        self._uploads[key] = upload
        return _show_upload(key, upload, status=202)

    def _expire(self) -> None:
        now = time.monotonic()
        for key, upload in list(self._uploads.items()):
            if now - upload.used > _UPLOAD_IDLE_S and not upload.lock.locked():
                upload.ingest.abort()
                del self._uploads[key]

    def _find(self, match: re.Match[str]) -> _Upload:
        upload = self._uploads.get(match["id"])
        if upload is None or upload.name != match["name"]:
            raise Refused("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        upload.used = time.monotonic()
        return upload

    async def _patch(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        upload = self._find(match)
        async with upload.lock:
            self._check_range(request, upload)
            await self._receive(request, upload)
        return _show_upload(match["id"], upload, status=202)

    def _check_range(self, request: web.Request, upload: _Upload) -> None:
        """Raise Refused where a chunk does not follow what is there."""
        given = request.headers.get("Content-Range", "")
        if not given:
            return
        found = _RANGE.fullmatch(given.removeprefix("bytes "))
        size = upload.ingest.size
        length = request.content_length
        fits = found is not None and int(found[1]) == size
        if not fits or (length is not None and int(found[2]) - size + 1 != length):  # type: ignore[index]  # it matched
            headers = {"Range": f"0-{max(size - 1, 0)}"}
            raise Refused("RANGE_INVALID", f"the next chunk begins at {size}", headers)

    async def _receive(self, request: web.Request, upload: _Upload) -> None:
        """Add the request's body to an upload. What came stays, also when it breaks off."""
        length = request.content_length
        if length is not None and upload.ingest.size + length > self._max_blob_bytes:
            raise Refused("SIZE_INVALID", f"a blob has at most {self._max_blob_bytes} bytes here")
        pieces = bytearray()
        content = request.content
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    piece = await content.readany()
            except TimeoutError:
                raise Refused("BLOB_UPLOAD_INVALID", "the upload came too slowly") from None
            pieces += piece
            if upload.ingest.size + len(pieces) > self._max_blob_bytes:
                raise Refused(
                    "SIZE_INVALID", f"a blob has at most {self._max_blob_bytes} bytes here"
                )
            if len(pieces) >= _PIECE or (not piece and pieces):
                await asyncio.shield(asyncio.to_thread(upload.ingest.write, bytes(pieces)))
                upload.used = time.monotonic()
                pieces.clear()
            if not piece:
                return

    async def _finish(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        upload = self._find(match)
        digest = request.query.get("digest", "")
        check_digest(digest)
        async with upload.lock:
            self._check_range(request, upload)
            await self._receive(request, upload)
            self._uploads.pop(match["id"], None)
            try:
                return await self._commit(upload, digest)
            finally:
                upload.ingest.abort()

    async def _commit(self, upload: _Upload, text: str) -> web.StreamResponse:
        digest = check_digest(text)
        await asyncio.shield(
            asyncio.to_thread(self._storage.finish, upload.name, upload.ingest, digest)
        )
        return _created(f"/v2/{upload.name}/blobs/{digest}", digest)

    async def _status(self, _request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        return _show_upload(match["id"], self._find(match), status=204)

    async def _cancel(self, _request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        upload = self._find(match)
        async with upload.lock:
            self._uploads.pop(match["id"], None)
            upload.ingest.abort()
        return web.Response(status=204)

    # Manifests

    async def _get_manifest(
        self, _request: web.Request, match: re.Match[str]
    ) -> web.StreamResponse:
        document = await asyncio.to_thread(self._contents.get_manifest, match["name"], match["ref"])
        headers = {
            "Content-Type": document.media_type,
            "Docker-Content-Digest": document.digest,
            "ETag": f'"{document.digest}"',
        }
        return web.Response(body=document.content, headers=headers)

    async def _put_manifest(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        async with asyncio.timeout(_SILENCE_S):
            content = await request.read()
        media_type = request.content_type if "Content-Type" in request.headers else ""
        stored = await asyncio.shield(
            asyncio.to_thread(
                self._storage.put_manifest, match["name"], match["ref"], content, media_type
            )
        )
        response = _created(f"/v2/{match['name']}/manifests/{stored.digest}", stored.digest)
        if stored.subject:
            response.headers["OCI-Subject"] = stored.subject
        return response

    async def _delete_manifest(
        self, _request: web.Request, match: re.Match[str]
    ) -> web.StreamResponse:
        await asyncio.to_thread(self._storage.delete_manifest, match["name"], match["ref"])
        return web.Response(status=202)

    # Lists

    async def _catalog(self, request: web.Request, _match: re.Match[str]) -> web.StreamResponse:
        names = await asyncio.to_thread(self._contents.list_repositories)
        return _reply_page(request, names, lambda page: {"repositories": page})

    async def _tags(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        name = match["name"]
        tags = await asyncio.to_thread(self._contents.list_tags, name)
        return _reply_page(request, tags, lambda page: {"name": name, "tags": page})

    async def _referrers(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        digest = check_digest(match["digest"])
        found = await asyncio.to_thread(self._contents.list_referrers, match["name"], digest)
        headers = {}
        wanted = request.query.get("artifactType", "")
        if wanted:
            found = [descriptor for descriptor in found if descriptor.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        body = msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found})
        return web.Response(body=body, headers=headers, content_type=OCI_INDEX)


def _created(location: str, digest: str) -> web.Response:
    headers = {"Location": location, "Docker-Content-Digest": digest}
    return web.Response(status=201, headers=headers)


def _show_upload(key: str, upload: _Upload, *, status: int) -> web.Response:
    headers = {
        "Location": f"/v2/{upload.name}/blobs/uploads/{key}",
        "Range": f"0-{max(upload.ingest.size - 1, 0)}",
        "Docker-Upload-UUID": key,
    }
    return web.Response(status=status, headers=headers)


def _reply_page(
    request: web.Request, items: Sequence[str], show: Callable[[Sequence[str]], Any]
) -> web.Response:
    """Reply with the items after ``last``, at most ``n``, and where the next are."""
    last, text = request.query.get("last", ""), request.query.get("n", str(_MAX_PAGE))
    if not text.isascii() or not text.isdigit():
        raise Refused("UNSUPPORTED", f"n={text[:20]!r} is not a number")
    count = min(int(text), _MAX_PAGE)
    left = [item for item in items if get_order(item) > get_order(last)]
    page = left[:count]
    headers = {}
    if page and len(left) > count:
        query = urlencode({"n": count, "last": page[-1]})
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return web.json_response(show(page), headers=headers)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message, "detail": {}}]}


def _refuse(error: Refused) -> web.Response:
    body = msgspec.json.encode(_error(error.code, str(error)))
    return web.Response(body=body, status=error.status, content_type=_JSON, headers=error.headers)
