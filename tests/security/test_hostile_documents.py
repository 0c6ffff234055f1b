"""Documents of images and answers of registries in which something is wrong.

Whatever they say: a clean error and nothing left, or an image that can be shown and removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from barque.api.errors import get_status
from barque.api.image_filters import get_created_ns
from barque.api.images import render_image
from barque.errors import BarqueError, Internal, KernelError
from barque.images.reference import parse_reference
from barque.registry.auth import Authorizer, Challenge, Credentials, TokenReply, TokenRequest
from barque.registry.errors import RegistryError, parse_error
from support.hostile_documents import answers, images, layouts
from support.images import (
    IS_ROOT,
    NEEDS_ROOT,
    Store,
    stream,
)
from support.registry import Shelf, serving

needs_root = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
NOBODY = Credentials()


def drawn(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Set how much is drawn; the same every time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store") / "data")
    yield store
    store.database.close()


async def load(store: Store, archive: bytes) -> None:
    """Load an archive. Raises what went wrong, as itself."""
    async for _ in store.images._load(stream(archive), quiet=False, platform="linux/amd64"):
        continue


async def pull(store: Store, name: str) -> None:
    progress = store.images.exchange.pull(
        name, "latest", platform="linux/amd64", credentials=NOBODY
    )
    async with aclosing(progress):
        async for _ in progress:
            continue


def show(store: Store) -> None:
    """Show all images in every way, as what the API answers."""
    for image in store.images.list():
        told: list[Any] = [render_image(image, minor) for minor in (40, 52)]
        told += [get_created_ns(image), store.images.history(image.id), image.tags, image.digests]
        msgspec.json.encode(told)


def check_clean(error: BarqueError) -> None:
    assert not isinstance(error, Internal | KernelError)
    assert str(error)
    assert len(str(error)) < 3000
    str(error).encode()  # it goes to clients


def run(store: Store, work: Callable[[], Any]) -> BarqueError | None:
    """Do ``work``; whatever comes of it is shown and removed, and nothing may be left."""
    failure: BarqueError | None = None
    try:
        asyncio.run(work())
    except BarqueError as error:
        failure = error
        check_clean(error)
        assert store.images.list() == []
    show(store)
    for image in store.images.list():
        asyncio.run(store.images.remove(image.id, force=True, prune=True, users=lambda _id: []))
    assert store.leftovers() == []
    return failure


@needs_root
@drawn(150)
@given(layouts())
def test_archives(store: Store, archive: bytes) -> None:
    error = run(store, lambda: load(store, archive))
    assert error is None or 400 <= get_status(error) < 500 or get_status(error) == 501


@needs_root
@drawn(80)
@given(images())
def test_registries(store: Store, image: tuple[Any, bytes, str]) -> None:
    blobs, top, media_type = image
    shelf = Shelf()
    for name, (content, kind) in blobs.items():
        shelf.content[f"blobs/{name}"] = content, "application/octet-stream"
        shelf.content[f"manifests/{name}"] = content, kind
    shelf.content["manifests/latest"] = top, media_type

    async def work() -> None:
        async with serving(shelf.serve) as address:
            await pull(store, f"{address}/it")

    run(store, work)


@drawn(150)
@given(answers, st.sampled_from((200, 400, 401, 403, 404, 429, 500)))
def test_answers_of_registries(body: bytes, status: int) -> None:
    check_clean(parse_error(status, body))

    async def send(_request: TokenRequest) -> TokenReply:
        return TokenReply(status, body)

    authorizer = Authorizer("r.example", NOBODY, send, lambda _host: False)
    challenge = Challenge("bearer", {"realm": "https://r.example/token"})
    try:
        header = asyncio.run(authorizer.answer([challenge], []))
    except RegistryError as error:
        check_clean(error)
    else:
        assert header.isascii()


@drawn(60)
@given(answers)
def test_lists_of_registries(store: Store, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, status=404 if "fail" in request.path else 200)

    async def work() -> None:
        async with serving(answer) as address:
            exchange = store.images.exchange
            tags = exchange._pulls.list_tags
            asked: list[Awaitable[Any]] = [
                tags(parse_reference(f"{address}/it"), NOBODY),
                tags(parse_reference(f"{address}/fail"), NOBODY),
                exchange.search(f"{address}/x", 3, NOBODY),
                exchange.look_up(f"{address}/it:latest", NOBODY),
            ]
            for question in asked:
                try:
                    msgspec.json.encode(await question)
                except BarqueError as error:
                    check_clean(error)

    asyncio.run(work())
