"""Documents of images and answers of registries in which something is wrong.

Whatever they say: a clean error and nothing left, or an image that can be shown and removed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
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
from barque.errors import BarqueError, Internal, InvalidArgument, KernelError
from barque.images.reference import parse_reference
from barque.images.service import ImageService
from barque.models.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from barque.registry.auth import (
    Authorizer,
    Challenge,
    Credentials,
    TokenReply,
    TokenRequest,
    decode_credentials,
)
from barque.registry.config import RegistryConfig
from barque.registry.errors import RegistryError, parse_error
from support.hostile_documents import LAYER, answers, images, layouts
from support.images import (
    IS_ROOT,
    NEEDS_ROOT,
    Store,
    digest,
    make_config,
    make_docker_archive,
    make_tar,
    stream,
)
from support.registry import Shelf, serving

needs_root = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
NOBODY = Credentials()


def drawn(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Set how much is drawn; the same every time."""
    return settings(
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store") / "data")
    once = RegistryConfig(max_download_attempts=1)
    store.images = ImageService(store.database, store.content, store.snapshotter, registries=once)
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
@drawn(70)
@given(layouts())
def test_archives(store: Store, archive: bytes) -> None:
    error = run(store, lambda: load(store, archive))
    assert error is None or 400 <= get_status(error) < 500 or get_status(error) == 501


@needs_root
@drawn(8)
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


@drawn(8)
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


def change(document: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(document) | changes).encode()


def archive_of(config: bytes, *tags: str, layers: int = 1) -> bytes:
    return make_docker_archive([(list(tags), [LAYER] * layers, config)])


def layout_of(manifest: bytes, media_type: str = OCI_MANIFEST, **files: bytes) -> bytes:
    """An OCI layout whose index names ``manifest``; blobs are those of a plain image."""
    blobs = [manifest, CONFIG, LAYER, *files.values()]
    described = {"mediaType": media_type, "digest": digest(manifest), "size": len(manifest)}
    index = json.dumps({"schemaVersion": 2, "manifests": [described]}).encode()
    return make_tar(
        [
            ("file", "index.json", index),
            *(("file", f"blobs/sha256/{digest(blob)[7:]}", blob) for blob in blobs),
        ]
    )


CONFIG = make_config([LAYER])
DIFF_ID = digest(LAYER)
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "config": {"mediaType": OCI_CONFIG, "digest": digest(CONFIG), "size": len(CONFIG)},
        "layers": [{"mediaType": OCI_LAYER, "digest": DIFF_ID, "size": len(LAYER)}],
    }
).encode()
DEEP = b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
ROOTFS = {"type": "layers", "diff_ids": [DIFF_ID]}
SHA512 = (
    b'{"schemaVersion": 2, "manifests": [{"mediaType": "", "size": 1, "digest": "sha512:%s"}]}'
    % (b"0" * 128)
)
REFUSED_ARCHIVES = {
    "a config nested deeply": (archive_of(DEEP), "nested too deeply"),
    "a config that is no text": (archive_of(b'{"a\xff": 1}'), "invalid image config"),
    "a config that is a list": (archive_of(b"[]"), "invalid image config"),
    "a config cut off": (archive_of(CONFIG[:50]), "invalid image config"),
    "a config of 9 MB": (archive_of(CONFIG + b" " * (9 << 20)), "a document of 94"),
    "no operating system": (archive_of(change(CONFIG, os=None)), "missing required field `os`"),
    "a date that is none": (archive_of(change(CONFIG, created="yesterday")), "created.*yesterday"),
    "a date that cannot be": (
        archive_of(change(CONFIG, created="2024-02-31T00:00:00Z")),
        "created.*2024-02-31",
    ),
    "another layer's diff ID": (
        archive_of(change(CONFIG, rootfs=ROOTFS | {"diff_ids": [digest(b"x")]})),
        "a layer has diff ID",
    ),
    "too few diff IDs": (
        archive_of(change(CONFIG, rootfs=ROOTFS | {"diff_ids": []})),
        "layers length mismatch: expected 0, got 1",
    ),
    "5000 layers": (
        archive_of(change(CONFIG, rootfs=ROOTFS | {"diff_ids": [DIFF_ID] * 5000}), layers=5000),
        "max depth exceeded",
    ),
    "a name by digest": (
        archive_of(CONFIG, "alpine@sha256:" + "1" * 64),
        "refusing to create a tag with a digest reference",
    ),
    "a name like an id": (archive_of(CONFIG, "sha256:1234"), 'the name "sha256" is kept'),
    "a name that is none": (archive_of(CONFIG, "a:b:c"), "invalid reference format"),
    "manifest.json that is a map": (make_tar([("file", "manifest.json", b"{}")]), "manifest.json"),
    "manifest.json nested deeply": (
        make_tar([("file", "manifest.json", b"[" + DEEP + b"]")]),
        "too deeply",
    ),
    "a file that is not there": (
        make_tar([("file", "manifest.json", b'[{"Config": "../../etc/passwd"}]')]),
        "'../../etc/passwd' is mentioned, but not in it",
    ),
    "links in a circle": (
        make_tar([("symlink", "manifest.json", "a"), ("symlink", "a", "manifest.json")]),
        "does not contain a manifest.json",
    ),
    "a link outside": (
        make_tar([("symlink", "manifest.json", "/etc/passwd")]),
        "does not contain a manifest.json",
    ),
    "docker before 1.10": (make_tar([("file", "repositories", b"{}")]), "before 1.10"),
    "an index that is a list": (make_tar([("file", "index.json", b"[]")]), "index.json"),
    "an empty index": (
        make_tar([("file", "index.json", b'{"schemaVersion": 2, "manifests": []}')]),
        "names no image",
    ),
    "a manifest of another size": (
        layout_of(MANIFEST).replace(
            b'"size": %d' % len(MANIFEST), b'"size": %d' % (len(MANIFEST) + 1)
        ),
        "is sha256:.* of",
    ),
    "a manifest of negative size": (
        layout_of(MANIFEST).replace(
            b'"size": %d' % len(MANIFEST), b'"size": -%d' % (len(MANIFEST) % 100)
        ),
        "of -",
    ),
    "sha512": (
        make_tar([("file", "index.json", SHA512)]),
        "must be sha256",
    ),
    "a manifest and an index at once": (
        layout_of(change(MANIFEST, manifests=[])),
        "a manifest and an index at once",
    ),
    "an index called a manifest": (
        layout_of(json.dumps({"schemaVersion": 2, "manifests": []}).encode()),
        "manifest|config",
    ),
    "a layer of negative size": (
        layout_of(MANIFEST.replace(b'"size": %d}]' % len(LAYER), b'"size": -1}]')),
        "of -1 bytes",
    ),
}


@needs_root
@pytest.mark.parametrize("name", REFUSED_ARCHIVES)
def test_archives_that_are_refused(store: Store, name: str) -> None:
    archive, words = REFUSED_ARCHIVES[name]
    error = run(store, lambda: load(store, archive))
    assert isinstance(error, InvalidArgument)
    assert re.search(words, str(error)), str(error)


TAKEN_ARCHIVES = {
    "keys twice": CONFIG.replace(b"{", b'{"os": "plan9", ', 1),
    "too much history": change(CONFIG, history=[{"created_by": str(n)} for n in range(500)]),
    "no history": change(CONFIG, history=None),
    "history without a date": change(CONFIG, history=[{"created": "soon"}]),
    "another type of root": change(CONFIG, rootfs=ROOTFS | {"type": "other"}),
    "unknown keys": change(CONFIG, x=[[[]]], config={"Nonsense": 1}),
    "no date": change(CONFIG, created=None),
}


@needs_root
@pytest.mark.parametrize("name", TAKEN_ARCHIVES)
def test_archives_that_are_taken(store: Store, name: str) -> None:
    assert run(store, lambda: load(store, archive_of(TAKEN_ARCHIVES[name], "it:latest"))) is None


REFUSED_MANIFESTS = {
    "a manifest and an index at once": (change(MANIFEST, manifests=[]), OCI_MANIFEST, "at once"),
    "neither": (b'{"schemaVersion": 2}', OCI_MANIFEST, "has other content|neither"),
    "another type than it came with": (MANIFEST, OCI_INDEX, "but has other content|but came as"),
    "nested deeply": (DEEP, OCI_MANIFEST, "nested too deeply"),
    "no text": (b'{"\xff": 1}', OCI_MANIFEST, "neither a manifest nor an index"),
    "an artifact": (
        MANIFEST.replace(OCI_CONFIG.encode(), b"application/vnd.cncf.helm.config.v1+json"),
        OCI_MANIFEST,
        "unsupported media type",
    ),
    "a layer of negative size": (
        MANIFEST.replace(b'"size": %d}]' % len(LAYER), b'"size": -1}]'),
        OCI_MANIFEST,
        "has a size of -1 bytes",
    ),
    "a layer of an exabyte": (
        MANIFEST.replace(b'"size": %d}]' % len(LAYER), b'"size": 1152921504606846976}]'),
        OCI_MANIFEST,
        "it was refused",
    ),
    "5000 layers": (
        change(MANIFEST, layers=json.loads(MANIFEST)["layers"] * 5000),
        OCI_MANIFEST,
        "5000 layers, but the config names 1",
    ),
    "schema 1": (b'{"schemaVersion": 1, "fsLayers": []}', "", "schema 1 are not supported"),
    "an index of itself": (
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "%s", "size": 1, "digest": "latest"}]}'
        % OCI_INDEX.encode(),
        OCI_INDEX,
        "invalid digest",
    ),
}


@needs_root
@pytest.mark.parametrize("name", REFUSED_MANIFESTS)
def test_manifests_that_are_refused(store: Store, name: str) -> None:
    manifest, media_type, words = REFUSED_MANIFESTS[name]
    shelf = Shelf()
    for content in (CONFIG, LAYER):
        shelf.add_blob(content, OCI_LAYER)
    shelf.content["manifests/latest"] = manifest, media_type

    async def work() -> None:
        async with serving(shelf.serve) as address:
            await pull(store, f"{address}/it")

    error = run(store, work)
    assert error is not None
    assert re.search(words, str(error)), str(error)


def test_a_header_of_credentials_nested_deeply_is_nobody() -> None:
    header = base64.urlsafe_b64encode(b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}").decode()
    assert decode_credentials(header) == NOBODY
