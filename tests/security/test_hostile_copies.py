"""cp beside a container that moves its files under the hand of who copies.

CVE-2018-15664: a link is swapped in between look-up and use. CVE-2019-14271: something of the
container's is loaded while its root is entered. And archives that want out.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from barque.engine.copying import pack_path, stat_path, unpack_at
from barque.engine.roots import join_root, mount_root
from barque.errors import BarqueError, InvalidArgument, NotFound
from barque.models.container import MountPoint
from barque.models.launch import RootfsMount
from support.images import IS_ROOT, NEEDS_ROOT, Item, make_tar

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

SECONDS = 2.0
NEVER = threading.Event()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("secret")
    (path / "secret").chmod(0o600)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "dir").mkdir(parents=True)
    (path / "dir/secret").write_text("inside")
    (path / "etc").mkdir()
    return path


@asynccontextmanager
async def opened(tree: Path, tmp_path: Path) -> AsyncIterator[int]:
    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    async with mount_root(RootfsMount(type="bind", source=str(tree)), [], str(place)) as (root, _):
        yield root


def with_root(tree: Path, tmp_path: Path, work: Callable[[int], None]) -> None:
    async def go() -> None:
        async with opened(tree, tmp_path) as root:
            await asyncio.to_thread(work, root)

    asyncio.run(go())


@contextmanager
def hostile(step: Callable[[], None]) -> Iterator[None]:
    """Repeat ``step`` in a thread for as long as the block runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            with suppress(OSError):
                step()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def repeat(work: Callable[[], None]) -> int:
    count = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(BarqueError):
            work()
            count += 1
    return count


def swap(tree: Path, outside: Path) -> Callable[[], None]:
    """Make ``dir`` a link to what is outside, and a directory again."""
    link, spare = tree / "link", tree / "spare"

    def step() -> None:
        link.symlink_to(outside)
        (tree / "dir").rename(spare)
        link.rename(tree / "dir")
        (tree / "dir").unlink()
        spare.rename(tree / "dir")

    return step


def test_what_is_copied_in_stays_inside(tree: Path, outside: Path, tmp_path: Path) -> None:
    before = sorted(os.listdir(outside))
    archive = make_tar(
        [("dir", "sub", None), ("file", "sub/evil", "x"), ("file", "secret", "evil")]
    )

    def work(root: int) -> None:
        with hostile(swap(tree, outside)):
            assert repeat(lambda: unpack_at(root, "/dir", "c", io.BytesIO(archive), NEVER))

    with_root(tree, tmp_path, work)
    assert sorted(os.listdir(outside)) == before
    assert (outside / "secret").read_text() == "secret"


def test_what_is_copied_out_comes_from_inside(tree: Path, outside: Path, tmp_path: Path) -> None:
    def work(root: int) -> None:
        def look() -> None:
            pieces: list[bytes] = []
            pack_path(root, "/dir", "c", pieces.append, NEVER)
            pack_path(root, "/dir/secret", "c", pieces.append, NEVER)
            data = b"".join(pieces)
            assert b"secret" not in data.replace(b"dir/secret", b"").replace(b"secret\0", b"")
            assert stat_path(root, "/dir/secret", "c").size == len("inside")

        with hostile(swap(tree, outside)):
            assert repeat(look)

    with_root(tree, tmp_path, work)


def test_a_fifo_swapped_for_a_link_changes_no_mode(
    tree: Path, outside: Path, tmp_path: Path
) -> None:
    archive = make_tar([("fifo", "pipe", None)], mode=0o666)
    link = tree / "link"

    def step() -> None:
        if not link.is_symlink():
            link.symlink_to(outside / "secret")
        link.rename(tree / "dir/pipe")

    def work(root: int) -> None:
        with hostile(step):
            assert repeat(lambda: unpack_at(root, "/dir", "c", io.BytesIO(archive), NEVER))

    with_root(tree, tmp_path, work)
    assert stat.S_IMODE((outside / "secret").stat().st_mode) == 0o600


HOSTILE: dict[str, list[Item]] = {
    "climbs": [("file", "../../../../evil", "x")],
    "absolute": [("file", "/../evil", "x")],
    "through a link": [("symlink", "l", "{outside}"), ("file", "l/evil", "x")],
    "through a relative link": [("symlink", "l", "../../../../../../../{outside}"), ("file", "l/evil", "x")],
    "through two links": [("symlink", "a", "{outside}"), ("symlink", "b", "a"), ("file", "b/evil", "x")],
    "over a link": [("symlink", "l", "{outside}/secret"), ("file", "l", "evil")],
    "a directory over a link": [("symlink", "l", "{outside}"), ("dir", "l", None), ("file", "l/evil", "x")],
    "hard link out": [("link", "h", "{outside}/secret"), ("file", "h", "evil")],
    "hard link by a link": [("symlink", "l", "{outside}"), ("link", "h", "l/secret"), ("file", "h", "evil")],
    "hard link that climbs": [("link", "h", "../../../../../..{outside}/secret")],
    "a fifo by a link": [("symlink", "l", "{outside}"), ("fifo", "l/evil", None)],
    "the root as a link": [("symlink", "./", "{outside}"), ("file", "evil", "x")],
    "a link as its own parent": [("symlink", "l", "l"), ("file", "l/evil", "x")],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("target", ["/", "/dir", "/away"])
def test_archives_do_not_get_out(
    name: str, target: str, tree: Path, outside: Path, tmp_path: Path
) -> None:
    (tree / "away").symlink_to(outside)
    (tree / str(outside).lstrip("/")).mkdir(parents=True)
    items: list[Item] = [
        (kind, path, value.replace("{outside}", str(outside)) if isinstance(value, str) else value)
        for kind, path, value in HOSTILE[name]
    ]

    def work(root: int) -> None:
        with suppress(InvalidArgument):
            unpack_at(root, target, "c", io.BytesIO(make_tar(items)), NEVER)

    with_root(tree, tmp_path, work)
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "secret"
    assert (outside / "secret").stat().st_nlink == 1
    assert "evil" not in os.listdir(tmp_path)


def test_links_are_resolved_in_the_root(tree: Path, outside: Path, tmp_path: Path) -> None:
    (tree / "etc/passwd").write_text("root of the container")
    (tree / "escape").symlink_to("../../../../../../etc/passwd")
    (tree / "loop").symlink_to("loop")
    (tree / "magic").symlink_to("/proc/self/root")

    def work(root: int) -> None:
        assert stat_path(root, "/escape", "c").link_target == "/etc/passwd"
        assert stat_path(root, "../../dir", "c").name == "dir"
        with pytest.raises(NotFound):
            stat_path(root, "/loop/", "c")
        with pytest.raises(NotFound):
            stat_path(root, "/magic/etc", "c")

    with_root(tree, tmp_path, work)


def test_reading_makes_nothing_and_mounts_vanish(tree: Path, outside: Path, tmp_path: Path) -> None:
    """A stopped container's mounts are seen, in no mount table but their own."""
    lower, top, place = tmp_path / "lower", tmp_path / "top", tmp_path / "place"
    for path in (lower, top, place):
        path.mkdir()
    point = MountPoint(type="bind", source=str(outside), destination="/made/here", rw=False)
    rootfs = RootfsMount(type="overlay", lower=[str(top), str(lower)], readonly=True)
    table = Path("/proc/self/mountinfo").read_text()

    async def go() -> None:
        async with mount_root(rootfs, [point], str(place)) as (root, _):
            assert Path("/proc/self/mountinfo").read_text() == table
            assert stat_path(root, "/made/here/secret", "c").size == len("secret")
            with pytest.raises(BarqueError):
                unpack_at(
                    root, "/made/here", "c", io.BytesIO(make_tar([("file", "f", "x")])), NEVER
                )

    asyncio.run(go())
    assert os.listdir(top) == os.listdir(lower) == []
    assert os.listdir(outside) == ["secret"]
    assert Path("/proc/self/mountinfo").read_text() == table


def test_joining_leaves_the_thread_where_it_was() -> None:
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)

    async def go() -> None:
        async with join_root(namespace) as root:
            assert os.path.samestat(os.fstat(root), os.stat("/"))

    own = os.readlink("/proc/self/ns/mnt")
    asyncio.run(go())
    assert os.readlink("/proc/thread-self/ns/mnt") == own
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(namespace)


def test_no_more_than_the_tree_is_removed(tree: Path, outside: Path, tmp_path: Path) -> None:
    """What is in the way is removed without following links."""
    (tree / "dir/sub").mkdir()
    (tree / "dir/sub/link").symlink_to(outside)

    def work(root: int) -> None:
        unpack_at(root, "/dir", "c", io.BytesIO(make_tar([("file", "sub", "now a file")])), NEVER)
        archive = io.BytesIO(make_tar([("dir", "sub", None)]))
        with pytest.raises(InvalidArgument, match="cannot overwrite"):
            unpack_at(root, "/dir", "c", archive, NEVER, keep_kinds=True)

    with_root(tree, tmp_path, work)
    assert (tree / "dir/sub").read_text() == "now a file"
    assert os.listdir(outside) == ["secret"]
    shutil.rmtree(tree)
