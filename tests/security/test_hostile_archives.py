"""Every archive of the corpus, imported, loaded and pulled, with two snapshotters.

The oracle: it is refused in the right words, or makes the right tree; what lies beside the root
is as before; the memory needed is bounded; and nothing is left when it is gone.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from barque.errors import BarqueError
from barque.images.compression import open_decompressed
from barque.images.record import Image
from barque.images.tar import Limits
from barque.registry.auth import Credentials
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from barque.snapshots.views import open_view
from support.hostile_archives import CASES, UP, Case
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
from support.trees import describe

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

LIMITS = Limits(entries=1000, total_bytes=64 << 20, file_bytes=1 << 40)
MEMORY_BYTES = 150 << 20
BASE = make_tar([("dir", "base", None), ("file", "base/kept", "kept")])
BELOW = {"base": "dir", "base/kept": "file 'kept'"}
HIDING_ALL = "an opaque root"
ROUTES = ("import", "load", "pull")


class Source:
    """The bytes of a blob, for a decompressor."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int, /) -> bytes:
        data, self._content = self._content[:size], self._content[size:]
        return data


class Scene:
    """A store, and beside it what must not be touched."""

    def __init__(self, path: Path, kind: type[DirectorySnapshotter]) -> None:
        self.outside = path / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        (self.outside / "directory").mkdir()
        (self.outside / "directory" / "file").write_text("kept")
        self.store = Store(path / "data", kind, LIMITS)
        self.began_ns = time.time_ns() - 10**9

    def survey(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in [self.outside, *sorted(self.outside.rglob("*"))]:
            status = path.lstat()
            times = (status.st_mtime_ns, status.st_ctime_ns)
            content = path.read_bytes() if path.is_file() else b""
            found.append((path, status.st_mode, status.st_nlink, status.st_uid, times, content))
        beside = (self.outside.parent, self.store.root, self.store.root / "snapshots")
        return found + [tuple(sorted(path.iterdir())) for path in beside]

    def run(self, route: str, layer: bytes, diff_id: str) -> Image:
        """Make an image of the layer: alone where it is imported, else on another. Raises."""
        match route:
            case "import":
                return asyncio.run(self.store.images.import_image(stream(layer), repo="it"))
            case "load":
                asyncio.run(self._load(layer, diff_id))
            case _:
                asyncio.run(self._pull(layer, diff_id))
        return self.store.images.list()[0]

    async def _load(self, layer: bytes, diff_id: str) -> None:
        config = make_config([BASE, layer]).replace(digest(layer).encode(), diff_id.encode())
        archive = make_docker_archive([(["it:latest"], [BASE, layer], config)])
        async for line in self.store.images.load(stream(archive), quiet=True):
            if "error" in line:
                raise BarqueError(line["error"])

    async def _pull(self, layer: bytes, diff_id: str) -> None:
        shelf = Shelf()
        rootfs = {"type": "layers", "diff_ids": [digest(BASE), diff_id]}
        shelf.add_image([BASE, layer], "latest", rootfs=rootfs)
        async with serving(shelf.serve) as address:
            progress = self.store.images.exchange.pull(
                f"{address}/it", "latest", platform="linux/amd64", credentials=Credentials()
            )
            async with aclosing(progress):
                async for _ in progress:
                    continue

    def read(self, image: Image) -> dict[str, str]:
        """Say what the image's root holds; ``@`` stands for what is outside of it."""
        mount = self.store.snapshotter.view("look", image.chain_id)
        try:
            with open_view(mount) as root:
                found = describe(root, self.began_ns)
        finally:
            self.store.snapshotter.remove("look")
        inside = str(self.outside).lstrip("/")
        ways = re.compile(f"({UP})?/?{re.escape(inside)}")
        shown = {}
        for path, what in found.items():
            head, outside, rest = f"{path}/".partition(f"{inside}/")
            name = f"{head}@/{rest}".rstrip("/") if outside else path
            if not outside and any(f"{inside}/".startswith(at) for at in tails(f"{path}/")):
                continue  # a directory on the way there
            shown[name] = ways.sub(lambda way: "^" if way[1] else "@", what)
        return shown

    def remove_all(self) -> None:
        for image in self.store.images.list():
            asyncio.run(
                self.store.images.remove(image.id, force=True, prune=True, users=lambda _id: [])
            )


def tails(path: str) -> list[str]:
    """Return the path, and what of it stands after each slash."""
    parts = path.split("/")
    return ["/".join(parts[at:]) for at in range(len(parts) - 1)]


@pytest.fixture(params=[OverlaySnapshotter, VfsSnapshotter], ids=lambda kind: kind.driver)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path, request.param)
    yield scene
    scene.store.database.close()


def get_memory(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(key)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Check that the block needs no more than ``MEMORY_BYTES``."""
    Path("/proc/self/clear_refs").write_text("5")
    before = get_memory("VmRSS")
    yield
    assert get_memory("VmHWM") - before < MEMORY_BYTES


def test_names_are_unique_and_the_corpus_is_not_small() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_becomes_of(scene: Scene, case: Case) -> None:
    layer = case.build(str(scene.outside))
    before = scene.survey()
    for route in ROUTES:
        with bounded_memory():
            if isinstance(case.verdict, str):
                with pytest.raises(BarqueError) as caught:
                    scene.run(route, layer, digest(layer))
                assert re.search(case.verdict, str(caught.value)), (route, str(caught.value))
                assert len(str(caught.value)) < 1500
            else:
                plain = b"".join(open_decompressed(Source(layer))[1])
                found = scene.read(scene.run(route, layer, digest(plain)))
                below = BELOW if route != "import" and case.name != HIDING_ALL else {}
                assert without_whiteouts(found) == without_whiteouts(case.verdict | below), route
        assert scene.survey() == before, route
        scene.remove_all()
        assert scene.store.leftovers() == [], route


def without_whiteouts(tree: dict[str, str]) -> dict[str, str]:
    """Take away what overlayfs, where it merges layers, does not show."""
    return {path: what for path, what in tree.items() if what != "char 0:0"}
