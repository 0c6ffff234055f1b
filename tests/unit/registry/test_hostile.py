"""Registries that lie, stall, or want what is not theirs. Real HTTP on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from barque.errors import BarqueError, NotImplementedHere
from barque.models.image import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from barque.registry import connection
from barque.registry.auth import Credentials
from barque.registry.client import Repository, open_repository
from barque.registry.config import RegistryConfig
from barque.registry.connection import Connection
from barque.registry.documents import Document, parse
from barque.registry.endpoints import Endpoint
from barque.registry.errors import Damaged, RegistryError, Unreachable
from barque.registry.transfer import download
from support.registry import Shelf, digest, serving

ME = Credentials(username="me", password="secret")
BLOB = bytes(range(256)) * 4096


def ask(address: str, what: Callable[[Repository], Awaitable[Any]], who: Credentials = ME) -> Any:
    async def run() -> Any:
        async with open_repository(address, "x", who, RegistryConfig(), what) as (_, result):
            return result

    return run()


async def fetch(repository: Repository, content: bytes, attempts: int = 3) -> bytes:
    received = b""
    pieces = download(repository, digest(content), len(content), attempts, lambda _pause: None)
    async with aclosing(pieces):
        async for piece in pieces:
            received += piece
    return received


def test_a_manifest_with_another_digest_is_refused() -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([b"layer"], "latest")
        wanted = digest(b"another")
        shelf.content[f"manifests/{wanted}"] = shelf.content["manifests/latest"]
        async with serving(shelf.serve) as address:
            with pytest.raises(Damaged, match="verification failed"):
                await ask(address, lambda repository: repository.get_manifest(wanted))

            document = await ask(address, lambda repository: repository.get_manifest("latest"))
            size = len(document.content) + 1
            with pytest.raises(Damaged, match="as announced"):
                await ask(address, lambda r: r.get_manifest(document.digest, size))

    asyncio.run(test())


def test_a_registry_that_contradicts_its_own_header_is_refused() -> None:
    async def lie(_request: web.Request) -> web.Response:
        return web.Response(body=b"{}", headers={"Docker-Content-Digest": digest(b"other")})

    async def test() -> None:
        async with serving(lie) as address:
            with pytest.raises(Damaged, match="verification failed"):
                await ask(address, lambda repository: repository.get_manifest("latest"))

    asyncio.run(test())


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_manifest_is_not_read(announced: bool) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        headers = {"Content-Length": str(1 << 40)} if announced else {}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
                sent += 65536
        except ConnectionError:
            return response

    async def test() -> None:
        async with serving(endless) as address:
            with pytest.raises(Damaged, match="more than the"):
                await ask(address, lambda repository: repository.get_manifest("latest"))

    asyncio.run(test())
    assert sent < 32 << 20


def test_an_endless_blob_ends_at_its_announced_size() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    async def test() -> None:
        async with serving(endless) as address:
            with pytest.raises(Damaged, match="more than the 1048576 bytes"):
                await ask(address, lambda repository: fetch(repository, BLOB))

    asyncio.run(test())


def test_a_blob_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.Pace, "_WINDOW_S", 0.2)

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.02)
        except ConnectionError:
            return response

    async def test() -> None:
        async with serving(trickle) as address:
            with pytest.raises(Unreachable, match="bytes came in"):
                await ask(address, lambda repository: fetch(repository, BLOB, attempts=1))

    asyncio.run(test())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_at_the_address_is_told_in_plain_words(scheme: str) -> None:
    async def test() -> None:
        async with serving(Shelf().serve) as address:
            pass
        endpoint = Endpoint(f"{scheme}://{address}", verify=False)
        config = RegistryConfig()
        async with Connection(endpoint, Credentials(), config) as opened:
            with pytest.raises(Unreachable) as failed:
                await Repository(opened, "", ()).ping()
        told = f'Get "{scheme}://{address}/v2/": cannot connect to {address}: connection refused'
        assert str(failed.value) == told

    asyncio.run(test())


def test_a_cut_download_goes_on_where_it_broke_off() -> None:
    shelf = Shelf()
    shelf.add_blob(BLOB, "x")
    ranges: list[str] = []

    async def cut(request: web.Request) -> web.StreamResponse:
        if "blobs" not in request.path or len(ranges) >= 3:
            return await shelf.serve(request)
        given = request.headers.get("Range", "")
        ranges.append(given)
        start = int(given.removeprefix("bytes=").partition("-")[0] or 0)
        headers = {"Content-Length": str(len(BLOB) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await response.write(BLOB[start : start + 200_000])
        assert request.transport
        request.transport.close()
        return response

    async def test() -> None:
        async with serving(cut) as address:
            assert await ask(address, lambda repository: fetch(repository, BLOB)) == BLOB

    asyncio.run(test())
    assert ranges[0] == ""
    assert ranges[1] == f"bytes=200000-{len(BLOB) - 1}"


def test_a_resumed_download_from_another_place_is_refused() -> None:
    first = True

    async def wrong(request: web.Request) -> web.StreamResponse:
        nonlocal first
        if first and "blobs" in request.path:
            first = False
            response = web.StreamResponse(headers={"Content-Length": str(len(BLOB))})
            await response.prepare(request)
            await response.write(BLOB[:100_000])
            assert request.transport
            request.transport.close()
            return response
        headers = {"Content-Range": f"bytes 5-{len(BLOB) - 1}/{len(BLOB)}"}
        return web.Response(body=BLOB[5:], status=206, headers=headers)

    async def test() -> None:
        async with serving(wrong) as address:
            with pytest.raises(Damaged, match="asked for the bytes from"):
                await ask(address, lambda repository: fetch(repository, BLOB))

    asyncio.run(test())


def test_redirects_do_not_carry_credentials() -> None:
    seen: list[str | None] = []

    async def thief(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        if len(seen) == 1:
            # Asking nicely does not help either.
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
        return web.Response(body=BLOB)

    async def test() -> None:
        async with serving(thief) as elsewhere:

            async def registry(request: web.Request) -> web.StreamResponse:
                if "Authorization" not in request.headers:
                    return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
                raise web.HTTPTemporaryRedirect(f"http://{elsewhere}/blob")

            async with serving(registry) as address:
                with pytest.raises(RegistryError):
                    await ask(address, lambda repository: fetch(repository, BLOB))
                assert await ask(address, lambda repository: fetch(repository, BLOB)) == BLOB

    asyncio.run(test())
    assert seen == [None, None]


@pytest.mark.parametrize("target", ["http://example.invalid/", "file:///etc/passwd", "ftp://x/"])
def test_redirects_out_of_https_are_not_followed(target: str) -> None:
    async def redirect(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": target})

    async def test() -> None:
        async with serving(redirect) as address:
            with pytest.raises(RegistryError, match="was refused"):
                await ask(address, lambda repository: fetch(repository, BLOB))

    asyncio.run(test())


def test_redirects_without_end_are_given_up() -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": request.path})

    async def test() -> None:
        async with serving(redirect) as address:
            with pytest.raises(RegistryError, match="redirects"):
                await ask(address, lambda repository: fetch(repository, BLOB))

    asyncio.run(test())


def test_a_token_realm_on_a_stranger_gets_no_credentials() -> None:
    async def registry(_request: web.Request) -> web.StreamResponse:
        challenge = 'Bearer realm="http://stranger.invalid/token",service="x"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def test() -> None:
        async with serving(registry) as address:
            with pytest.raises(RegistryError, match="credentials travel by https only"):
                await ask(address, lambda repository: repository.get_manifest("latest"))

    asyncio.run(test())


def test_a_token_realm_is_not_followed_elsewhere() -> None:
    stolen: list[str | None] = []

    async def thief(request: web.Request) -> web.StreamResponse:
        stolen.append(request.headers.get("Authorization"))
        return web.json_response({"token": "t"})

    async def test() -> None:
        async with serving(thief) as elsewhere:

            async def registry(request: web.Request) -> web.StreamResponse:
                if request.path == "/token":
                    raise web.HTTPTemporaryRedirect(f"http://{elsewhere}/")
                challenge = f'Bearer realm="http://{request.host}/token"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})

            async with serving(registry) as address:
                with pytest.raises(RegistryError):
                    await ask(address, lambda repository: repository.get_manifest("latest"))

    asyncio.run(test())
    assert stolen == []


def test_tokens_are_fetched_once_and_used() -> None:
    asked: list[str] = []
    shelf = Shelf()
    shelf.add_image([b"layer"], "latest")

    async def registry(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            asked.append(request.query_string)
            return web.json_response({"access_token": "good"})
        if request.headers.get("Authorization") == "Bearer good":
            return await shelf.serve(request)
        challenge = f'Bearer realm="http://{request.host}/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def both(repository: Repository) -> Document:
        await repository.get_manifest("latest")
        return await repository.get_manifest("latest")

    async def test() -> None:
        async with serving(registry) as address:
            await ask(address, both)

    asyncio.run(test())
    assert asked == ["service=s&scope=repository:x:pull&account=me"]


def test_a_busy_registry_is_asked_again_but_not_for_hours() -> None:
    answers = [web.Response(status=503), web.Response(status=429, headers={"Retry-After": "0"})]
    shelf = Shelf()
    shelf.add_image([b"layer"], "latest")

    async def registry(request: web.Request) -> web.StreamResponse:
        return answers.pop(0) if answers else await shelf.serve(request)

    async def test() -> None:
        async with serving(registry) as address:
            await ask(address, lambda repository: repository.get_manifest("latest"))
            body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "rate limit"}]})
            headers = {"Retry-After": "3600", "Content-Type": "application/json"}
            answers.append(web.Response(status=429, headers=headers, body=body.encode()))
            with pytest.raises(RegistryError, match="toomanyrequests: rate limit"):
                await ask(address, lambda repository: repository.get_manifest("latest"))

    asyncio.run(test())


def test_tag_lists_are_read_page_by_page_and_not_for_ever() -> None:
    async def registry(request: web.Request) -> web.StreamResponse:
        last = int(request.query.get("last", "0"))
        headers = {"Link": f'</v2/x/tags/list?last={last + 1}>; rel="next"'} if last < 3 else {}
        if request.query.get("last") == "2":
            headers = {"Link": '<http://127.0.0.1:1/v2/x/tags/list>; rel="next"'}
        return web.json_response({"name": "x", "tags": [f"t{last}"]}, headers=headers)

    async def pages(request: web.Request) -> web.StreamResponse:
        last = int(request.query.get("last", "0"))
        headers = {"Link": f'</v2/x/tags/list?last={last + 1}>; rel="next"'} if last < 3 else {}
        return web.json_response({"name": "x", "tags": [f"t{last}"]}, headers=headers)

    async def test() -> None:
        async with serving(pages) as address:
            found = await ask(address, lambda repository: repository.list_tags())
            assert found == ["t0", "t1", "t2", "t3"]
        async with serving(registry) as address:
            with pytest.raises(Damaged, match="another host"):
                await ask(address, lambda repository: repository.list_tags())

    asyncio.run(test())


CONFIG = {"mediaType": OCI_CONFIG, "digest": digest(b"{}"), "size": 2}
MANIFEST = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


@pytest.mark.parametrize(
    ("document", "content_type", "error"),
    [
        (MANIFEST | {"manifests": []}, OCI_MANIFEST, "at once"),
        (INDEX | {"layers": []}, OCI_INDEX, "at once"),
        (INDEX | {"config": CONFIG}, "", "at once"),
        (MANIFEST, OCI_INDEX, "came as"),
        (INDEX | {"mediaType": OCI_MANIFEST}, OCI_MANIFEST, "has other content"),
        ({"schemaVersion": 2}, "", "neither"),
        ([], "", "not understood"),
        (MANIFEST | {"config": CONFIG | {"size": -1}}, "", "size of -1"),
        (MANIFEST | {"config": CONFIG | {"digest": "sha256:../../x"}}, "", "invalid digest"),
        (MANIFEST | {"config": CONFIG | {"digest": "md5:abc"}}, "", "invalid digest"),
    ],
)
def test_documents_that_contradict_themselves(document: Any, content_type: str, error: str) -> None:
    content = json.dumps(document).encode()
    with pytest.raises(Damaged, match=error):
        parse(Document(content, digest(content), content_type))  # type: ignore[arg-type]  # a str


def test_deep_documents_are_refused() -> None:
    content = b'{"layers":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(Damaged):
        parse(Document(content, digest(content), ""))  # type: ignore[arg-type]  # a str


def test_schema_1_is_refused_with_advice() -> None:
    content = json.dumps({"schemaVersion": 1, "fsLayers": [], "history": []}).encode()
    with pytest.raises(NotImplementedHere, match="schema 1"):
        parse(Document(content, digest(content), ""))  # type: ignore[arg-type]  # a str


def test_nobody_there_says_where_and_what() -> None:
    with pytest.raises(BarqueError, match=r'Get "http://127.0.0.1:1/v2/x/manifests/latest"'):
        asyncio.run(ask("127.0.0.1:1", lambda repository: repository.get_manifest("latest")))
