"""Commit where something goes wrong: nothing is left, and the message says why."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.errors import BarqueError, Conflict
from barque.images.record import Image
from barque.images.reference import parse_tag_target
from barque.models.image import HistoryEntry, RunConfig
from support.images import IS_ROOT, NEEDS_ROOT, Store, make_tar, stream

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

BASE = make_tar([("file", "a", "base"), ("file", "b", "base")])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store on a file system of 48 MB."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", small], check=True)
    try:
        store = Store(small / "data")
        yield store
        store.database.close()
    finally:
        subprocess.run(["umount", small], check=True)


def prepare(store: Store) -> tuple[Image, Path]:
    base = asyncio.run(store.images.import_image(stream(BASE), repo="base"))
    return base, Path(store.snapshotter.prepare("container", base.chain_id).upper)


async def commit(store: Store, base: Image, **options: object) -> Image:
    changes = store.snapshotter.changes("container")
    return await store.images.commit(
        "container",
        changes,
        base=base,
        run=RunConfig(),
        step=HistoryEntry(),
        **options,  # type: ignore[arg-type]
    )


def test_a_full_disk_is_told_and_leaves_nothing(store: Store) -> None:
    base, upper = prepare(store)
    (upper / "large").write_bytes(os.urandom(20 << 20))
    before = store.leftovers()
    for ballast in (0, 15):  # there is no room for the snapshot; not even for the blob
        (upper.parent / "ballast").write_bytes(bytes(ballast << 20))
        with pytest.raises(BarqueError, match="no space left on device"):
            asyncio.run(commit(store, base))
        assert store.leftovers() == before
    (upper.parent / "ballast").unlink()
    (upper / "large").write_bytes(b"small now")
    image = asyncio.run(commit(store, base))
    assert len(image.layers) == 2


def test_a_container_that_goes_meanwhile_leaves_nothing(store: Store) -> None:
    base, upper = prepare(store)
    (upper / "new").write_text("x")
    before = store.leftovers()

    async def packed() -> None:
        raise Conflict("gone")

    with pytest.raises(Conflict):
        asyncio.run(commit(store, base, packed=packed))
    assert store.leftovers() == before
    assert len(store.images.list()) == 1


def test_nothing_changed_is_an_empty_layer(store: Store) -> None:
    base, _ = prepare(store)
    image = asyncio.run(commit(store, base, target=parse_tag_target("x", "1")))
    assert image.layers == base.layers
    assert image.tags == ["x:1"]
    assert (image.config.history or [])[-1].empty_layer
    assert image.parent == base.id


def test_equal_commits_share_their_layer(store: Store) -> None:
    base, upper = prepare(store)
    (upper / "new").write_text("x")
    one, two = (asyncio.run(commit(store, base)) for _ in range(2))
    assert one.layers == two.layers
    assert store.images.measure_shared(one) == one.size
    assert store.images.measure_layers() == one.size


def test_parents_are_kept_in_archives(store: Store, tmp_path: Path) -> None:
    base, upper = prepare(store)
    (upper / "new").write_text("x")
    child = asyncio.run(commit(store, base))

    async def move(names: list[str]) -> tuple[bytes, dict[str, str]]:
        saved = b"".join([chunk async for chunk in store.images.save(names)])
        other = Store(tmp_path / f"other{len(names)}")
        async for _ in other.images.load(stream(saved), quiet=True):
            pass
        parents = {str(image.id): image.parent for image in other.images.list()}
        other.database.close()
        return saved, parents

    _, parents = asyncio.run(move([child.id, base.id]))
    assert parents == {child.id: base.id, base.id: ""}
    _, parents = asyncio.run(move([child.id]))
    assert parents == {child.id: ""}
