"""The check of images: each kind of damage is found, and mended as far as it can be."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from barque.images.findings import Finding
from barque.models.image import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from barque.registry.auth import Credentials
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from support.images import (
    IS_ROOT,
    NEEDS_ROOT,
    Store,
    make_config,
    make_docker_archive,
    make_tar,
    stream,
)
from support.registry import Shelf, digest, serving

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

BASE = make_tar(
    [
        ("dir", "etc", None),
        ("file", "etc/a", "base"),
        ("file", "etc/b", "base"),
        ("link", "etc/hard", "etc/a"),
        ("symlink", "etc/soft", "a"),
        ("char", "null", (1, 3)),
    ],
    mtime=1_700_000_000,
)
TOP = make_tar(
    [("file", "etc/.wh.b", ""), ("file", "etc/a", "top!"), ("file", "new/deep/c", "c")],
    mtime=1_700_000_000,
)
ARCHIVE = make_docker_archive([(["app:1"], [BASE, TOP], make_config([BASE, TOP]))])
Damage = Callable[[Store], object]


@pytest.fixture(params=[OverlaySnapshotter, VfsSnapshotter], ids=lambda kind: kind.driver)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind: type[DirectorySnapshotter] = request.param
    store = Store(tmp_path / "data", kind)
    yield store
    store.database.close()


async def load(store: Store) -> None:
    lines = [line async for line in store.images.load(stream(ARCHIVE), quiet=True)]
    assert lines == [{"stream": "Loaded image: app:1\n"}]


async def check(
    store: Store, *, deep: bool = False, repair: bool = False, running: list[str] | None = None
) -> list[Finding]:
    found: list[Finding] = []
    await store.images.check(
        deep=deep,
        repair=repair,
        holders=lambda _chain: running or [],
        tell=found.append,
        report=lambda _name, _status: None,
    )
    return found


def kinds(findings: list[Finding]) -> list[tuple[str, str, bool]]:
    return [(each.kind, each.problem, each.repaired) for each in findings]


def blob(store: Store, content: bytes) -> Path:
    return store.content.path(digest(content))


def layer_file(store: Store, number: int, name: str) -> Path:
    """Return a path in the tree of the image's layer ``number``."""
    chain_id = store.images.get("app:1").layers[number].chain_id
    mount = store.snapshotter.peek(chain_id)
    return Path(mount.lower[0] if mount.lower else mount.source) / name


def overwrite(path: Path, content: bytes) -> None:
    """Change a file as a failing disk does: neither its size nor its date."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def relink(path: Path, target: str) -> None:
    """Let a symbolic link point elsewhere, with its date as before."""
    status = path.lstat()
    path.unlink()
    path.symlink_to(target)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def add_layer(store: Store, chain_id: str) -> None:
    store.snapshotter.prepare("making", "")
    store.snapshotter.commit(chain_id, "making", 0)


def test_nothing_is_found_where_all_is_well(store: Store) -> None:
    async def run() -> None:
        assert await check(store, deep=True) == []
        await load(store)
        assert await check(store, deep=True) == []
        assert await check(store, deep=True, repair=True) == []

    asyncio.run(run())


QUICK: list[tuple[str, Damage, tuple[str, str, bool]]] = [
    (
        "a directory is gone",
        lambda store: shutil.rmtree(layer_file(store, 1, ".").parent),
        ("layer", "is missing", True),
    ),
    (
        "a blob is short",
        lambda store: os.truncate(blob(store, BASE), 100),
        ("blob", f"it has 100 bytes, not {len(BASE)}", False),
    ),
    (
        "a blob is gone",
        lambda store: blob(store, TOP).unlink(),
        ("image", f"its layer {digest(TOP)} is missing", False),
    ),
    (
        "a config is gone",
        lambda store: blob(store, make_config([BASE, TOP])).unlink(),
        ("image", "its config", False),
    ),
    (
        "a config is damaged",
        lambda store: blob(store, make_config([BASE, TOP])).write_bytes(b"{"),
        ("image", "its config cannot be read", False),
    ),
    (
        "a manifest is gone",
        lambda store: store.content.path(store.images.get("app:1").manifest_digest).unlink(),
        ("image", "its manifest", False),
    ),
    (
        "a blob that nothing uses",
        lambda store: store.content.add(b"forgotten"),
        ("blob", "nothing uses it", True),
    ),
    (
        "a layer that nothing uses",
        lambda store: add_layer(store, "sha256:" + "0" * 64),
        ("layer", "nothing uses it", True),
    ),
    (
        "a file in the blobs",
        lambda store: blob(store, BASE).with_name("odd").write_text("x"),
        ("leftover", "it belongs to nothing", True),
    ),
    (
        "an ingest that nobody writes",
        lambda store: (store.root / "content/ingest/0123").write_text("x"),
        ("leftover", "it belongs to nothing", True),
    ),
    (
        "a directory among the snapshots",
        lambda store: (store.root / "snapshots" / store.snapshotter.driver / "77" / "fs").mkdir(
            parents=True
        ),
        ("leftover", "it belongs to nothing", True),
    ),
]
DEEP: list[tuple[str, Damage, tuple[str, str, bool]]] = [
    (
        "a blob has another bit",
        lambda store: overwrite(blob(store, BASE), BASE.replace(b"base", b"bass")),
        ("blob", "its bytes have another digest", False),
    ),
    (
        "a file has another bit",
        lambda store: overwrite(layer_file(store, 1, "new/deep/c"), b"d"),
        ("layer", "/new/deep/c has other content", True),
    ),
    (
        "a file is missing",
        lambda store: layer_file(store, 0, "etc/soft").unlink(),
        ("layer", "/etc/soft is missing", True),
    ),
    (
        "a file was added",
        lambda store: layer_file(store, 1, "etc/more").write_text("x"),
        ("layer", "/etc/more does not belong there", True),
    ),
    (
        "a file has another mode",
        lambda store: layer_file(store, 0, "etc/b").chmod(0o4755),
        ("layer", "/etc/b has another mode", True),
    ),
    (
        "a file has another owner",
        lambda store: os.chown(layer_file(store, 0, "etc/b"), 5, 5),
        ("layer", "/etc/b has another owner", True),
    ),
    (
        "a link points elsewhere",
        lambda store: relink(layer_file(store, 0, "etc/soft"), "b"),
        ("layer", "/etc/soft has another target", True),
    ),
    (
        "a file has another attribute",
        lambda store: os.setxattr(layer_file(store, 1, "new/deep/c"), "trusted.x", b"1"),
        ("layer", "/new/deep/c has other extended attributes", True),
    ),
]


@pytest.mark.parametrize(
    ("damage", "wanted"), [case[1:] for case in QUICK], ids=[c[0] for c in QUICK]
)
def test_damage_is_found_and_mended(
    store: Store, damage: Damage, wanted: tuple[str, str, bool]
) -> None:
    examine(store, damage, wanted, deep=False)


@pytest.mark.parametrize(
    ("damage", "wanted"), [case[1:] for case in DEEP], ids=[c[0] for c in DEEP]
)
def test_damage_that_only_reading_shows(
    store: Store, damage: Damage, wanted: tuple[str, str, bool]
) -> None:
    examine(store, damage, wanted, deep=True)


def examine(store: Store, damage: Damage, wanted: tuple[str, str, bool], *, deep: bool) -> None:
    kind, problem, repairable = wanted

    async def run() -> None:
        await load(store)
        damage(store)
        if deep:
            assert await check(store) == []
        found = await check(store, deep=deep)
        assert (kind, False) in {(each.kind, each.repaired) for each in found}
        assert any(problem in each.problem for each in found), kinds(found)
        mended = await check(store, deep=deep, repair=True)
        assert all(each.repaired for each in mended) == repairable, kinds(mended)
        if repairable:
            assert await check(store, deep=True) == []
        await load(store)
        assert await check(store, deep=True, repair=True) == []
        assert layer_file(store, 1, "new/deep/c").read_text() == "c"
        await store.images.remove("app:1", force=False, prune=True, users=lambda _image: [])
        assert store.leftovers() == []

    asyncio.run(run())


def test_a_layer_that_is_in_use_stays(store: Store) -> None:
    async def run() -> None:
        await load(store)
        path = layer_file(store, 1, "new/deep/c")
        path.chmod(0o777)
        (found,) = await check(store, deep=True, repair=True, running=["web"])
        assert found.result == "kept: web runs on it: stop it and check again"
        assert not found.repaired
        assert path.exists()

    asyncio.run(run())


def test_a_container_that_does_not_run_gets_the_mended_layer(store: Store) -> None:
    async def run() -> None:
        await load(store)
        store.snapshotter.prepare("container", store.images.get("app:1").chain_id)
        shutil.rmtree(layer_file(store, 0, ".").parent)
        found = await check(store, repair=True)
        assert found
        assert all(each.repaired for each in found)
        assert store.snapshotter.find_damage("container") == ""
        lower = [Path(path) for path in store.snapshotter.mounts("container").lower]
        assert all(path.is_dir() for path in lower)
        assert await check(store, deep=True) == []
        store.snapshotter.remove("container")
        await store.images.remove("app:1", force=False, prune=True, users=lambda _image: [])
        assert store.leftovers() == []

    asyncio.run(run())


def test_an_image_that_cannot_be_shown_is_forgotten(store: Store, tmp_path: Path) -> None:
    async def run() -> None:
        await load(store)
        blob(store, make_config([BASE, TOP])).unlink()
        store.database.close()
        again = Store(tmp_path / "data", type(store.snapshotter))
        store.database = again.database
        again.images.recover()
        assert again.images.list() == []
        (found,) = await check(again)
        assert found.kind == "image"
        assert "it is not shown" in found.problem
        await check(again, repair=True)
        assert await check(again) == []
        assert again.leftovers() == []
        await load(again)
        assert await check(again, deep=True) == []

    asyncio.run(run())


@pytest.mark.parametrize("lost", ["blob", "directory", "both", "config"])
def test_a_pull_brings_back_what_was_removed(store: Store, lost: str) -> None:
    """Also where the registry now has the layer under another digest."""

    async def run() -> None:
        shelf = Shelf()
        shelf.add_image([BASE, TOP], "1")
        async with serving(shelf.serve) as address:
            name = f"{address}/app"
            await pull(store, name)
            image = store.images.get(f"{name}:1")
            rows = image.layers
            if lost in ("blob", "both"):
                store.content.path(rows[0].digest).write_bytes(b"damaged")
            if lost in ("directory", "both"):
                tree = store.snapshotter.peek(rows[0].chain_id)
                shutil.rmtree(Path(tree.source).parent)
            if lost == "config":
                store.content.path(image.config_digest).unlink()
            found = await check(store, deep=True, repair=True)
            assert found
            shelf.requests.clear()
            await pull(store, name)
            assert await check(store, deep=True) == []
            fetched = [request.path for request in shelf.requests if "/blobs/" in request.path]
            assert len(fetched) == (0 if lost == "directory" else 1)
            await store.images.remove(f"{name}:1", force=True, prune=True, users=lambda _image: [])
            assert store.leftovers() == []

    asyncio.run(run())


async def pull(store: Store, name: str) -> None:
    progress = store.images.exchange.pull(name, "1", platform="", credentials=Credentials())
    async with aclosing(progress):
        async for _message in progress:
            pass


def test_a_pull_replaces_a_lost_layer_by_one_that_is_packed_otherwise(store: Store) -> None:
    async def run() -> None:
        shelf = Shelf()
        shelf.add_image([BASE], "1")
        async with serving(shelf.serve) as address:
            name = f"{address}/app"
            await pull(store, name)
            image = store.images.get(f"{name}:1")
            store.content.path(image.layers[0].digest).unlink()
            packed = gzip.compress(BASE)
            config = store.content.read(image.config_digest)
            shelf.add_manifest(
                {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "config": shelf.add_blob(config, OCI_CONFIG),
                    "layers": [shelf.add_blob(packed, OCI_LAYER_GZIP)],
                },
                "1",
            )
            await pull(store, name)
            assert store.images.get(f"{name}:1").layers[0].digest == digest(packed)
            assert await check(store, deep=True) == []
            await store.images.remove(f"{name}:1", force=True, prune=True, users=lambda _image: [])
            assert store.leftovers() == []

    asyncio.run(run())
