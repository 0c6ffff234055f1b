"""Registries: pull, push, log in, look up, search."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from barque.api.contracts import Engine, Exchange
from barque.api.errors import explain
from barque.api.filters import get_flag, parse_filters
from barque.api.http import JSON, Call, Reply, Response, Stream, Written, reply_json
from barque.errors import InvalidArgument, PermissionDenied
from barque.registry.auth import Credentials, decode_credentials

_SEARCH_KEYS = frozenset("is-automated is-official stars".split())
_MAX_RESULTS = 100


class Registries:
    """Operations that ask a registry."""

    def __init__(self, engine: Engine) -> None:
        self._images = engine.images

    async def push(self, call: Call) -> Response:
        """Push a tag, or all tags of a repository. Errors are told in the stream."""
        progress = self._images.exchange.push(
            call.name, call.text("tag"), credentials=read_credentials(call)
        )
        return await send_progress(call, progress)

    async def login(self, call: Call) -> Reply:
        """Check credentials."""
        given = await call.json_as(Credentials)
        if given is None:
            raise InvalidArgument("the body must hold the credentials to check")
        try:
            token = await self._images.exchange.login(given.normalised())
        except PermissionDenied as error:
            server = given.serveraddress or "https://registry-1.docker.io/v2/"
            body = {"message": f"login attempt to {server} failed: {error}"}
            return reply_json(body, status=401)
        return reply_json({"Status": "Login Succeeded", "IdentityToken": token})

    async def look_up(self, call: Call) -> Reply:
        """Describe what a registry has under a name."""
        return reply_json(await self._images.exchange.look_up(call.name, read_credentials(call)))

    async def manifest(self, call: Call) -> Reply:
        """Show the manifests that a registry has under a name: barque's own operation."""
        found = await self._images.exchange.inspect_manifest(
            call.name, read_credentials(call), insecure=call.flag("insecure")
        )
        return reply_json(found)

    async def search(self, call: Call) -> Reply:
        """Search a registry."""
        term = call.text("term")
        if not term:
            raise InvalidArgument("the term to search for is missing")
        limit = call.integer("limit") or 0
        if not 0 <= limit <= _MAX_RESULTS:
            raise InvalidArgument(f"limit {limit} is outside the range of [1, {_MAX_RESULTS}]")
        filters = parse_filters(call.text("filters"), _SEARCH_KEYS)
        found = await self._images.exchange.search(term, limit, read_credentials(call))
        for key, field in (("is-official", "is_official"), ("is-automated", "is_automated")):
            if filters.get(key):
                wanted = get_flag(filters, key)
                found = [item for item in found if bool(item.get(field)) is wanted]
        for least in filters.get("stars", []):
            if not least.isdigit():
                raise InvalidArgument(f"invalid filter 'stars={least}'")
            found = [item for item in found if int(item.get("star_count") or 0) >= int(least)]
        return reply_json(found)


def read_credentials(call: Call) -> Credentials:
    """Return what ``X-Registry-Auth`` holds."""
    return decode_credentials(call.header("X-Registry-Auth"))


async def pull(call: Call, exchange: Exchange) -> Response:
    """Pull an image, by tag or digest, or all tags of a repository."""
    progress = exchange.pull(
        call.text("fromImage"),
        call.text("tag"),
        platform=call.text("platform"),
        credentials=read_credentials(call),
    )
    return await send_progress(call, progress)


async def send_progress(call: Call, progress: AsyncGenerator[dict[str, Any], None]) -> Response:
    """Send a progress stream. The work is given up when the client goes away.

    What fails before there was any progress becomes the status of the reply; what fails
    later, the last message of the stream.
    """
    with call.cancelled_by_disconnect():
        async with aclosing(progress):
            return await _send(call, progress)


async def _send(call: Call, progress: AsyncGenerator[dict[str, Any], None]) -> Written:
    stream: Stream | None = None
    try:
        async for message in progress:
            stream = stream or Stream(call, JSON)
            await stream.write(msgspec.json.encode(message) + b"\r\n")
    except Exception as error:
        explained = explain(error)
        if stream is None or explained is None:
            raise
        told = {"errorDetail": {"message": str(explained)}, "error": str(explained)}
        await stream.write(msgspec.json.encode(told) + b"\r\n")
    return (stream or Stream(call, JSON)).end()
