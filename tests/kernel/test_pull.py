"""Pull and push between the image service and registries in this process, good and bad."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from barque.content.store import PARTIAL_AGE_S
from barque.errors import BarqueError, InvalidArgument, KernelError, NotFound
from barque.images.service import ImageService
from barque.models.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from barque.registry.auth import Credentials
from barque.registry.config import RegistryConfig
from barque.registry.errors import Damaged, RegistryError
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from support.images import IS_ROOT, NEEDS_ROOT, Store, make_tar, stream
from support.registry import Shelf, digest, own_registry, serving

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

NOBODY = Credentials()
BASE = make_tar([("dir", "etc", None), ("file", "etc/a", "base"), ("file", "etc/b", "base")])
TOP = make_tar([("file", "etc/.wh.b", ""), ("file", "etc/a", "top")])
LARGE = make_tar([("file", "large", random.Random(1).randbytes(3 << 20))])
OTHER = make_tar([("file", "other", "other")])
Messages = list[dict[str, Any]]


@pytest.fixture(params=[OverlaySnapshotter, VfsSnapshotter], ids=lambda kind: kind.driver)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind: type[DirectorySnapshotter] = request.param
    before = len(os.listdir("/proc/self/fd"))
    store = Store(tmp_path / "data", kind)
    yield store
    store.database.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def pull(store: Store, name: str, tag: str = "latest", platform: str = "") -> Messages:
    progress = store.images.exchange.pull(name, tag, platform=platform, credentials=NOBODY)
    async with aclosing(progress):
        return [message async for message in progress]


async def push(store: Store, name: str, tag: str = "latest") -> Messages:
    progress = store.images.exchange.push(name, tag, credentials=NOBODY)
    async with aclosing(progress):
        return [message async for message in progress]


def statuses(messages: Messages, name: str) -> list[str]:
    """What was said of one part, without repetition."""
    said = [message["status"] for message in messages if message.get("id") == name]
    return [text for at, text in enumerate(said) if at == 0 or said[at - 1] != text]


def short(content: bytes) -> str:
    return digest(content)[7:19]


def test_a_pull_says_what_docker_says_and_makes_an_image(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        top = shelf.add_image([BASE, LARGE, TOP], "latest")
        async with serving(shelf.serve) as address:
            name = f"{address}/some/image"
            said = await pull(store, name)
            assert said[0] == {"status": "Pulling from some/image", "id": "latest"}
            assert said[-2] == {"status": f"Digest: {top['digest']}"}
            assert said[-1] == {"status": f"Status: Downloaded newer image for {name}:latest"}
            for layer in (BASE, LARGE, TOP):
                heard = statuses(said, short(layer))
                assert heard[0] == "Pulling fs layer"
                wanted = ["Verifying Checksum", "Download complete", "Pull complete"]
                assert [text for text in heard if text in wanted] == wanted
                assert heard[-1] == "Pull complete"
            image = store.images.get(f"{name}:latest")
            assert image.digests == [f"{name}@{top['digest']}"]
            assert [layer.diff_id for layer in image.layers] == [
                digest(layer) for layer in (BASE, LARGE, TOP)
            ]
            # Everything is here already.
            asked = len(shelf.requests)
            said = await pull(store, name)
            assert said[-1] == {"status": f"Status: Image is up to date for {name}:latest"}
            assert statuses(said, short(BASE)) == ["Already exists"]
            assert [request.method for request in shelf.requests[asked:]] == ["HEAD"]
            # By digest, and under a name of its own.
            await pull(store, f"{address}/other", top["digest"])
            assert f"{address}/other@{top['digest']}" in store.images.get(image.id).digests

    asyncio.run(test())


def test_only_new_layers_are_fetched_and_removal_leaves_nothing(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE, TOP], "one")
        shelf.add_image([BASE, TOP, OTHER], "two")
        shelf.add_image([OTHER, BASE], "three")
        async with serving(shelf.serve) as address:
            await pull(store, f"{address}/x", "one")
            said = await pull(store, f"{address}/x", "two")
            assert statuses(said, short(BASE)) == ["Already exists"]
            # The blob is here, but on another layer: it is unpacked again, not fetched.
            asked = len(shelf.requests)
            await pull(store, f"{address}/x", "three")
            fetched = [r.path for r in shelf.requests[asked:] if "blobs" in r.path]
            assert not [path for path in fetched if digest(BASE) in path or digest(OTHER) in path]
        for tag in ("one", "two", "three"):
            await store.images.remove(
                f"{address}/x:{tag}", force=False, prune=True, users=lambda _id: []
            )

    asyncio.run(test())
    assert store.leftovers() == []


def test_all_tags(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE], "one", "two")
        shelf.content["tags/list"] = b'{"name":"x","tags":["one","two"]}', "application/json"
        async with serving(shelf.serve) as address:
            await pull(store, f"{address}/x", "")
            assert store.images.get(f"{address}/x:one").tags == [
                f"{address}/x:one",
                f"{address}/x:two",
            ]

    asyncio.run(test())


def test_a_layer_in_flight_is_fetched_once(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([LARGE, BASE], "one")
        shelf.add_image([LARGE, TOP], "two")
        shelf.add_image([LARGE, LARGE], "three")

        async def slow(request: web.Request) -> web.StreamResponse:
            if "blobs" in request.path:
                await asyncio.sleep(0.1)
            return await shelf.serve(request)

        async with serving(slow) as address:
            await asyncio.gather(*(pull(store, f"{address}/x", t) for t in ("one", "two", "three")))
        fetched = [request.path for request in shelf.requests if digest(LARGE) in request.path]
        assert len(fetched) == 1

    asyncio.run(test())


def test_who_waits_for_a_pull_that_is_given_up_goes_on_alone(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([LARGE, BASE], "latest")
        started = asyncio.Event()

        async def slow(request: web.Request) -> web.StreamResponse:
            if "blobs" in request.path:
                started.set()
                await asyncio.sleep(0.2)
            return await shelf.serve(request)

        async with serving(slow) as address:
            first = asyncio.ensure_future(pull(store, f"{address}/x"))
            await started.wait()
            second = asyncio.ensure_future(pull(store, f"{address}/y"))
            await asyncio.sleep(0.1)
            first.cancel()
            await asyncio.wait([first])
            await second
            assert store.images.get(f"{address}/y").size == (3 << 20) + 8
            assert store.images.find(f"{address}/x") is None

    asyncio.run(test())


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.3])
def test_a_pull_that_is_given_up_leaves_only_what_came_of_blobs(
    store: Store, after_s: float
) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE, LARGE, TOP], "latest")

        async def stalls(request: web.Request) -> web.StreamResponse:
            if digest(LARGE) not in request.path:
                return await shelf.serve(request)
            response = web.StreamResponse(headers={"Content-Length": str(len(LARGE))})
            await response.prepare(request)
            await response.write(LARGE[:1_000_000])
            await asyncio.sleep(30)
            return response

        async with serving(stalls) as address:
            task = asyncio.ensure_future(pull(store, f"{address}/x"))
            await asyncio.sleep(after_s)
            task.cancel()
            await asyncio.wait([task], timeout=10)
            assert task.cancelled()

    asyncio.run(test())
    assert store.images.list() == []
    parts = {f"partial-{digest(blob).removeprefix('sha256:')}" for blob in (BASE, LARGE, TOP)}
    assert set(store.leftovers()) <= parts
    store.content.drop_partials()
    assert store.leftovers() == []


def left_of_damage(store: Store) -> list[str]:
    """What is kept, but for a sound layer with which another pull may go on."""
    sound = f"partial-{digest(BASE).removeprefix('sha256:')}"
    return [name for name in store.leftovers() if name != sound]


def lie(shelf: Shelf, wanted: bytes, given: bytes) -> None:
    shelf.content[f"blobs/{digest(wanted)}"] = given, ""


@pytest.mark.parametrize("size_matches", [True, False])
def test_a_layer_with_another_digest_is_refused(store: Store, size_matches: bool) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE, OTHER], "latest")
        forged = bytearray(OTHER)
        forged[512] ^= 1
        lie(shelf, OTHER, bytes(forged) if size_matches else OTHER + b"more")
        async with serving(shelf.serve) as address:
            with pytest.raises(Damaged, match=r"verification failed|more than the"):
                await pull(store, f"{address}/x")

    asyncio.run(test())
    assert left_of_damage(store) == []


def test_a_config_with_another_digest_is_refused(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE], "latest")
        manifest = json.loads(shelf.content["manifests/latest"][0])
        name = f"blobs/{manifest['config']['digest']}"
        content = shelf.content[name][0].replace(b"amd64", b"arm64")
        shelf.content[name] = content, ""
        async with serving(shelf.serve) as address:
            with pytest.raises(Damaged, match="config verification failed"):
                await pull(store, f"{address}/x")

    asyncio.run(test())
    assert store.leftovers() == []


def test_a_layer_that_is_not_the_one_in_the_config_is_refused(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        diff_ids = {"type": "layers", "diff_ids": [digest(BASE), digest(TOP)]}
        shelf.add_image([BASE, OTHER], "forged", rootfs=diff_ids)
        shelf.add_image([BASE], "short", rootfs=diff_ids)
        async with serving(shelf.serve) as address:
            with pytest.raises(Damaged, match="damaged or forged"):
                await pull(store, f"{address}/x", "forged")
            with pytest.raises(Damaged, match="1 layers, but the config names 2"):
                await pull(store, f"{address}/x", "short")

    asyncio.run(test())
    assert left_of_damage(store) == []


def test_a_layer_that_is_missing_or_no_archive(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE, b"\x1f\x8b no gzip at all"], "latest")
        shelf.add_image([BASE, OTHER], "gone")
        del shelf.content[f"blobs/{digest(OTHER)}"]
        async with serving(shelf.serve) as address:
            with pytest.raises(InvalidArgument, match="invalid gzip data"):
                await pull(store, f"{address}/x")
            with pytest.raises(RegistryError, match="blob unknown"):
                await pull(store, f"{address}/x", "gone")

    asyncio.run(test())
    assert left_of_damage(store) == []


def test_platforms(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        manifests = []
        for architecture, variant, layer in (
            ("arm", "v6", OTHER),
            ("arm", "v7", TOP),
            ("amd64", "", BASE),
        ):
            entry = shelf.add_image([layer], architecture=architecture, variant=variant)
            own = {"os": "linux", "architecture": architecture, "variant": variant}
            manifests.append(entry | {"platform": own})
        unknown = {"os": "unknown", "architecture": "unknown"}
        manifests.insert(0, shelf.add_image([LARGE]) | {"platform": unknown})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        top = shelf.add_manifest(index, "latest")
        async with serving(shelf.serve) as address:
            name = f"{address}/x"
            for platform, layer in (
                ("linux/arm/v7", TOP),
                ("linux/arm/v6", OTHER),
                ("amd64", BASE),
            ):
                await pull(store, name, platform=platform)
                assert store.images.get(name).layers[0].diff_id == digest(layer)
                assert f"{name}@{top['digest']}" in store.images.get(name).digests
            with pytest.raises(
                NotFound,
                match="no matching manifest for linux/s390x in the manifest list entries",
            ):
                await pull(store, name, platform="linux/s390x")
            shelf.add_image([OTHER], "lone", architecture="s390x")
            said = await pull(store, name, "lone")
            assert "wanted linux/" in said[-2]["status"]

    asyncio.run(test())


def test_what_is_not_an_image_is_refused(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        chart = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": shelf.add_blob(b"{}", "application/vnd.cncf.helm.config.v1+json"),
            "layers": [],
        }
        shelf.add_manifest(chart, "chart")
        foreign = chart | {
            "config": shelf.add_blob(
                b'{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["%s"]}}'
                % digest(OTHER).encode(),
                OCI_CONFIG,
            ),
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    "digest": digest(OTHER),
                    "size": len(OTHER),
                    "urls": ["https://example.invalid/layer"],
                }
            ],
        }
        shelf.add_manifest(foreign, "foreign")
        async with serving(shelf.serve) as address:
            with pytest.raises(InvalidArgument, match=r"unsupported media type .*helm"):
                await pull(store, f"{address}/x", "chart")
            with pytest.raises(NotFound, match=r"is foreign.*https://example\.invalid/layer"):
                await pull(store, f"{address}/x", "foreign")
            with pytest.raises(NotFound, match=r"manifest for .*/x:none not found: manifest unk"):
                await pull(store, f"{address}/x", "none")

    asyncio.run(test())
    assert store.leftovers() == []


def test_a_lost_layer_is_repaired_by_pulling_again(store: Store) -> None:
    async def test() -> None:
        shelf = Shelf()
        shelf.add_image([BASE, TOP], "latest")
        async with serving(shelf.serve) as address:
            await pull(store, f"{address}/x")
            store.content.delete(digest(TOP))
            said = await pull(store, f"{address}/x")
            assert statuses(said, short(TOP))[-1] == "Pull complete"
            assert store.content.has(digest(TOP))

    asyncio.run(test())


def test_a_full_disk_fails_the_pull_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", root], check=True)
    try:
        (root / "barque.db").symlink_to(tmp_path / "barque.db")  # it is not what is full
        store = Store(root)

        async def test() -> None:
            shelf = Shelf()
            shelf.add_image([LARGE, BASE], "large")
            shelf.add_image([BASE], "small")
            async with serving(shelf.serve) as address:
                with pytest.raises(KernelError, match="no space left on device"):
                    await pull(store, f"{address}/x", "large")
                assert store.leftovers() == []
                await pull(store, f"{address}/x", "small")

        asyncio.run(test())
        store.database.close()
    finally:
        subprocess.run(["umount", root], check=True)


# Push


def import_image(store: Store, name: str, content: bytes) -> Any:
    return store.images.import_image(stream(content), repo=name)


def test_push_and_pull_give_the_same_digest(store: Store, tmp_path: Path) -> None:
    async def test() -> None:
        async with own_registry(tmp_path / "registry") as address:
            name = f"{address}/made/here"
            image = await import_image(store, name, LARGE)
            said = await push(store, name)
            pushed = said[-1]["aux"]
            assert said[0] == {"status": f"The push refers to repository [{name}]"}
            assert statuses(said, short(LARGE))[0] == "Preparing"
            assert statuses(said, short(LARGE))[-1] == "Pushed"
            shown = f"latest: digest: {pushed['Digest']} size: {pushed['Size']}"
            assert said[-2] == {"status": shown}
            again = await push(store, name)
            assert again[-1]["aux"] == pushed
            assert statuses(again, short(LARGE)) == ["Preparing", "Layer already exists"]
            await store.images.remove(name, force=False, prune=True, users=lambda _id: [])
            assert store.leftovers() == []

            await pull(store, name)
            assert store.images.get(name).id == image.id
            store.images.tag(name, f"{address}/second", "v1")
            said = await push(store, f"{address}/second", "v1")
            assert statuses(said, short(LARGE))[-1] == "Mounted from made/here"
            assert said[-1]["aux"]["Digest"] == pushed["Digest"]

    asyncio.run(test())


def test_what_was_pulled_goes_out_as_it_came(store: Store, tmp_path: Path) -> None:
    async def test() -> None:
        shelf = Shelf()
        compressed = gzip.compress(BASE, 1)
        config = {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest(BASE), digest(TOP)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": shelf.add_blob(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [shelf.add_blob(compressed, OCI_LAYER_GZIP), shelf.add_blob(TOP, OCI_LAYER)],
            "annotations": {"kept": "as it is"},
        }
        top = shelf.add_manifest(manifest, "latest")
        async with serving(shelf.serve) as source, own_registry(tmp_path / "own") as address:
            await pull(store, f"{source}/x")
            store.images.tag(f"{source}/x", f"{address}/y", "")
            said = await push(store, f"{address}/y")
            assert said[-1]["aux"]["Digest"] == top["digest"]

    asyncio.run(test())


def test_the_digest_stays_where_the_layer_was_here_before(store: Store, tmp_path: Path) -> None:
    """The layer's blob is another one than the registry's, and is never fetched."""

    async def test() -> None:
        async with own_registry(tmp_path / "own") as address:
            async with aiohttp.ClientSession() as http:
                shelf = Shelf()
                layer = shelf.add_blob(gzip.compress(BASE, 1), OCI_LAYER_GZIP)
                rootfs = {"type": "layers", "diff_ids": [digest(BASE)]}
                config = {"os": "linux", "architecture": "amd64", "rootfs": rootfs}
                about = shelf.add_blob(json.dumps(config).encode(), OCI_CONFIG)
                for path, (content, _) in list(shelf.content.items()):
                    url = f"http://{address}/v2/a/blobs/uploads/?digest={path[6:]}"
                    assert (await http.post(url, data=content)).status == 201
                manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [layer]}
                top = shelf.add_manifest(manifest | {"config": about}, "latest")
                url = f"http://{address}/v2/a/manifests/latest"
                headers = {"Content-Type": OCI_MANIFEST}
                content, _ = shelf.content["manifests/latest"]
                assert (await http.put(url, data=content, headers=headers)).status == 201
            await import_image(store, "local", BASE)
            said = await pull(store, f"{address}/a")
            assert statuses(said, layer["digest"][7:19]) == ["Already exists"]
            store.images.tag(f"{address}/a", f"{address}/b", "")
            said = await push(store, f"{address}/b")
            assert said[-1]["aux"]["Digest"] == top["digest"]

    asyncio.run(test())


def test_pushes_that_fail_say_why(store: Store, tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(NotFound, match="does not exist locally with the tag: r:5/none"):
            await push(store, "r:5/none")
        async with own_registry(tmp_path / "own", read_only=True) as address:
            await import_image(store, f"{address}/x:1", BASE)
            with pytest.raises(NotFound, match=f"tag does not exist: {address}/x:2"):
                await push(store, f"{address}/x", "2")
            with pytest.raises(BarqueError, match="read-only"):
                await push(store, f"{address}/x", "1")
        with pytest.raises(InvalidArgument, match="digest reference"):
            await push(store, f"{address}/x@{digest(b'')}")

    asyncio.run(test())


def test_an_upload_that_is_cut_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barque.registry.transfer.CHUNK", 1 << 20)
    monkeypatch.setattr("barque.registry.transfer.upload.__kwdefaults__", {"chunk": 1 << 20})
    cuts = 0

    async def test() -> None:
        nonlocal cuts
        from barque.registry.server.app import Registry
        from barque.registry.server.storage import Storage

        storage = Storage(tmp_path / "own")
        registry = Registry(storage, storage)
        receive = registry._receive

        async def cut(request: web.Request, upload: Any) -> None:
            nonlocal cuts
            await receive(request, upload)
            if request.method == "PATCH" and cuts < 2:
                cuts += 1  # the chunk has arrived, but the answer never does
                assert request.transport
                request.transport.close()

        registry._receive = cut  # type: ignore[method-assign]  # a fault is put in
        async with serving(registry.make_app()) as address:
            await import_image(store, f"{address}/x", LARGE)
            said = await push(store, f"{address}/x")
            await pull(store, f"{address}/x", said[-1]["aux"]["Digest"])

    asyncio.run(test())
    assert cuts == 2


def test_an_engine_s_images_are_served_as_they_are(store: Store, tmp_path: Path) -> None:
    async def test() -> None:
        from barque.registry.server.app import Registry
        from barque.registry.server.engine import EngineContents

        image = await import_image(store, "team/made:1", BASE)
        contents = EngineContents(store.root)
        other = Store(tmp_path / "other")
        async with serving(Registry(contents, None).make_app()) as address:
            await pull(other, f"{address}/team/made", "1")
            assert other.images.get(f"{address}/team/made:1").id == image.id
            found = await store.images.exchange.search(f"{address}/made", 10, NOBODY)
            assert [item["name"] for item in found] == [f"{address}/team/made"]
            with pytest.raises(NotFound, match="not found"):
                await pull(other, f"{address}/team/none", "1")
            other.images.tag(image.id, f"{address}/team/new", "")
            with pytest.raises(BarqueError, match="read-only"):
                await push(other, f"{address}/team/new")
        other.database.close()

    asyncio.run(test())


class Cutting(Shelf):
    """A registry that cuts every connection after ``left`` bytes of large blobs, until mended."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    async def serve(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        content, _ = self.content.get(f"blobs/{name}", (b"", ""))
        if self.left < 0 or len(content) < 1 << 16:
            return await super().serve(request)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        send, self.left = min(self.left, len(content)), max(0, self.left - len(content))
        await response.write(content[:send])
        if send < len(content):
            assert request.transport is not None
            request.transport.abort()
        return response


def pieces(store: Store) -> int:
    """Return how many bytes are kept of blobs whose download was cut."""
    return sum(path.stat().st_size for path in (store.root / "content/ingest").glob("partial-*"))


def test_a_cut_pull_is_resumed_by_the_next(store: Store) -> None:
    """Also by one of another engine on the same data, and of another image with the layer."""

    async def run() -> None:
        shelf = Cutting(4 << 20)
        second = make_tar([("file", "second", random.Random(2).randbytes(2 << 20))])
        shelf.add_image([BASE, LARGE, second], "one")
        async with serving(shelf.serve) as address:
            config = RegistryConfig(max_download_attempts=1)
            store.images = ImageService(
                store.database, store.content, store.snapshotter, registries=config
            )
            with pytest.raises(BarqueError):
                await pull(store, f"{address}/x", "one")
            came = pieces(store)
            assert (1 << 20) < came <= 4 << 20
            assert [name for name in store.leftovers() if not name.startswith("partial-")] == []
            store.database.close()
            again = Store(store.root, type(store.snapshotter))
            store.database = again.database
            again.snapshotter.recover()
            again.images.recover()
            assert pieces(again) == came
            shelf.left = -1
            shelf.add_image([LARGE, second], "two")
            await pull(again, f"{address}/x", "two")
            assert shelf.sent_bytes == len(LARGE) + len(second) - came
            assert pieces(again) == 0
            await pull(again, f"{address}/x", "one")
            assert shelf.sent_bytes == len(LARGE) + len(second) - came

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"x" * 100_000, LARGE + b"x" * 100_000, LARGE])
def test_what_is_left_of_a_cut_pull_is_not_believed(store: Store, content: bytes) -> None:
    async def run() -> None:
        shelf = Shelf()
        shelf.add_image([LARGE], "latest")
        left = store.root / "content/ingest" / f"partial-{digest(LARGE).removeprefix('sha256:')}"
        left.write_bytes(content)
        async with serving(shelf.serve) as address:
            await pull(store, f"{address}/x")
            assert store.content.path(digest(LARGE)).read_bytes() == LARGE
            assert pieces(store) == 0
            if content == LARGE:
                assert shelf.sent_bytes == 0

    asyncio.run(run())


def test_what_is_left_of_cut_pulls_is_bounded(store: Store) -> None:
    folder = store.root / "content/ingest"
    for number, age_s in enumerate((10, 3600, 23 * 3600, 25 * 3600)):
        path = folder / f"partial-{number:064x}"
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - age_s,) * 2)
    store.content.reap()
    assert [path.name[-1] for path in sorted(folder.iterdir())] == ["0", "1", "2"]
    assert store.content.drop_partials(PARTIAL_AGE_S, 2500) == 1000
    assert [path.name[-1] for path in sorted(folder.iterdir())] == ["0", "1"]

    async def prune() -> None:
        _, freed = await store.images.prune(
            match=lambda _image: True, dangling_only=True, users=lambda _image: []
        )
        assert freed == 2000

    asyncio.run(prune())
    assert list(folder.iterdir()) == []


FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"


def add_foreign(shelf: Shelf, content: bytes, *urls: str) -> str:
    """Add an image of a layer that the registry does not have; return its manifest's digest."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
    }
    layer = {"mediaType": FOREIGN, "digest": digest(content), "size": len(content), "urls": urls}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": shelf.add_blob(json.dumps(config).encode(), OCI_CONFIG),
        "layers": [layer],
    }
    return str(shelf.add_manifest(manifest, "latest")["digest"])


def test_a_foreign_layer_comes_from_elsewhere_and_is_not_pushed(
    store: Store, tmp_path: Path
) -> None:
    async def run() -> None:
        elsewhere: list[web.Request] = []

        async def other(request: web.Request) -> web.StreamResponse:
            elsewhere.append(request)
            if request.path != "/layer":
                return web.Response(status=404)
            return web.Response(body=LARGE)

        shelf = Shelf()
        async with serving(other) as host, serving(shelf.serve) as address:
            wanted = add_foreign(shelf, LARGE, f"http://{host}/gone", f"http://{host}/layer")
            progress = store.images.exchange.pull(
                f"{address}/x",
                "latest",
                platform="",
                credentials=Credentials(username="me", password="secret"),
            )
            async with aclosing(progress):
                assert [message async for message in progress]
            assert [request.path for request in elsewhere] == ["/gone", "/layer"]
            assert not any("Authorization" in request.headers for request in elsewhere)
            image = store.images.get(f"{address}/x")
            assert image.layers[0].media_type == FOREIGN
            async with own_registry(tmp_path / "registry") as registry:
                store.images.tag(image.id, f"{registry}/x", "latest")
                await push(store, f"{registry}/x")
                found = await store.images.exchange.look_up(f"{registry}/x", NOBODY)
                assert found["Descriptor"]["digest"] == wanted
                blobs = [path.name for path in (tmp_path / "registry/blobs/sha256").iterdir()]
                assert digest(LARGE).removeprefix("sha256:") not in blobs
                await store.images.remove(image.id, force=True, prune=True, users=lambda _image: [])
                await pull(store, f"{registry}/x")
                assert len(elsewhere) == 4

    asyncio.run(run())


def test_a_foreign_layer_is_not_believed(store: Store) -> None:
    async def run() -> None:
        async def other(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=LARGE[:-1] + b"x")

        shelf = Shelf()
        async with serving(other) as host, serving(shelf.serve) as address:
            add_foreign(shelf, LARGE, f"http://{host}/layer")
            with pytest.raises(Damaged):
                await pull(store, f"{address}/x")
            for bad in ("file:///etc/passwd", "http://registry.invalid/layer", "ftp://x/y", "::"):
                add_foreign(shelf, LARGE, bad)
                with pytest.raises(NotFound, match=r"is foreign.*could not be fetched"):
                    await pull(store, f"{address}/x")
            add_foreign(shelf, LARGE)
            with pytest.raises(NotFound, match=r"its manifest names no other place"):
                await pull(store, f"{address}/x")

    asyncio.run(run())
    assert store.leftovers() == []
