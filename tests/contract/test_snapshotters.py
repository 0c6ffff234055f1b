"""What every snapshotter promises: see barque.snapshots.contract."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    KernelError,
    NotFound,
)
from barque.models.launch import RootfsMount
from barque.snapshots.btrfs import BtrfsSnapshotter
from barque.snapshots.changes import ChangeKind, Changes
from barque.snapshots.contract import Snapshotter
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from barque.snapshots.views import mount_classic, open_view
from barque.store.database import Database
from support.images import IS_ROOT
from support.trees import CHANGES, Step, make_base, mounted

IMPLEMENTATIONS = [OverlaySnapshotter, VfsSnapshotter, BtrfsSnapshotter]


class Place:
    """Where a snapshotter keeps its things; ``open`` does what a restart does."""

    def __init__(self, root: Path, kind: type[DirectorySnapshotter]) -> None:
        self.root = root
        self.kind = kind
        self.database = Database(root / "barque.db")

    def open(self) -> Snapshotter:
        return self.kind(self.root / "s", self.database, self.root / "trash")

    def restart(self) -> Snapshotter:
        self.database.close()
        self.database = Database(self.root / "barque.db")
        return self.open()

    def directories(self) -> set[str]:
        return {path.name for path in (self.root / "s").iterdir()}


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs file system of its own."""
    if not IS_ROOT or not shutil.which("mkfs.btrfs"):
        pytest.skip("needs root and mkfs.btrfs (btrfs-progs)")
    folder = tmp_path_factory.mktemp("btrfs")
    image, where = folder / "image", folder / "mnt"
    image.touch()
    os.truncate(image, 512 << 20)
    where.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda kind: kind.driver)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    root = tmp_path
    if request.param is BtrfsSnapshotter:
        root = request.getfixturevalue("btrfs") / tmp_path.name
        root.mkdir()
    place = Place(root, request.param)
    yield place
    place.database.close()


@pytest.fixture
def snapshots(place: Place) -> Snapshotter:
    return place.open()


def writable(mount: RootfsMount) -> Path:
    return Path(mount.upper or mount.source)


def layers(mount: RootfsMount) -> list[Path]:
    """Return the directories that make up a mount, top first."""
    if mount.type == "bind":
        return [Path(mount.source)]
    return [Path(path) for path in ([mount.upper] if mount.upper else []) + mount.lower]


def see(mount: RootfsMount, name: str) -> str:
    """Read ``name`` as it would be seen through the mount, whiteouts aside."""
    return next((path / name).read_text() for path in layers(mount) if (path / name).exists())


def commit_layer(snapshots: Snapshotter, name: str, parent: str, files: dict[str, str]) -> None:
    mount = snapshots.prepare(f"making-{name}", parent)
    for path, text in files.items():
        (writable(mount) / path).write_text(text)
    snapshots.commit(name, f"making-{name}", sum(map(len, files.values())))


def test_an_active_snapshot_begins_with_its_parents_content(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {"a": "1", "b": "1"})
    commit_layer(snapshots, "two", "one", {"b": "2"})
    mount = snapshots.prepare("container", "two")
    assert see(mount, "a") == "1"
    assert see(mount, "b") == "2"
    assert not mount.readonly
    (writable(mount) / "a").write_text("changed")
    assert see(mount, "a") == "changed"
    assert see(snapshots.view("view", "two"), "a") == "1"


def test_siblings_do_not_see_each_other(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {"a": "1"})
    first, second = snapshots.prepare("x", "one"), snapshots.prepare("y", "one")
    (writable(first) / "a").write_text("x")
    assert see(second, "a") == "1"


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_views_are_read_only(snapshots: Snapshotter, depth: int) -> None:
    parent = ""
    for number in range(depth):
        commit_layer(snapshots, f"l{number}", parent, {f"f{number}": str(number)})
        parent = f"l{number}"
    mount = snapshots.view("view", parent)
    assert mount.readonly
    assert not mount.upper
    assert [see(mount, f"f{number}") for number in range(depth)] == list(map(str, range(depth)))


def test_a_first_layer_is_a_plain_directory(snapshots: Snapshotter) -> None:
    mount = snapshots.prepare("first", "")
    assert (mount.type, mount.readonly) == ("bind", False)
    assert list(Path(mount.source).iterdir()) == []
    assert stat.S_IMODE(Path(mount.source).stat().st_mode) == 0o755


def test_mounts_says_the_same_again(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {})
    assert snapshots.prepare("x", "one") == snapshots.mounts("x")
    assert snapshots.view("v", "one") == snapshots.mounts("v")
    with pytest.raises(InvalidArgument):
        snapshots.mounts("one")


def test_prepare_async_does_the_same(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {"a": "1"})
    mount = asyncio.run(snapshots.prepare_async("x", "one"))
    assert see(mount, "a") == "1"
    assert mount == snapshots.mounts("x")


def test_what_is_known(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {"a": "12345"})
    commit_layer(snapshots, "two", "one", {"a": "1"})
    snapshots.prepare("x", "two")
    snapshots.view("v", "two")
    assert [(s.key, s.parent, s.kind, s.size_bytes) for s in snapshots.walk()] == [
        ("one", "", "committed", 5),
        ("two", "one", "committed", 1),
        ("x", "two", "active", 0),
        ("v", "two", "view", 0),
    ]
    assert snapshots.stat("two") == snapshots.walk()[1]
    assert snapshots.find("three") is None
    with pytest.raises(NotFound):
        snapshots.stat("three")


def test_all_is_known_after_a_restart(place: Place) -> None:
    before = place.open()
    commit_layer(before, "one", "", {"a": "1"})
    mount = before.prepare("x", "one")
    (writable(mount) / "b").write_text("2")
    after = place.restart()
    after.recover()
    assert after.walk() == before.walk()
    assert after.mounts("x") == mount
    assert see(after.mounts("x"), "b") == "2"


def test_keys_are_unique(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {})
    snapshots.prepare("x", "")
    for key in ("one", "x"):
        with pytest.raises(AlreadyExists):
            snapshots.prepare(key, "")
        with pytest.raises(AlreadyExists):
            snapshots.view(key, "one")
    with pytest.raises(AlreadyExists):
        snapshots.commit("one", "x", 0)
    assert snapshots.stat("x").kind == "active"


def test_parents_are_committed(snapshots: Snapshotter) -> None:
    snapshots.prepare("x", "")
    for make in (snapshots.prepare, snapshots.view):
        with pytest.raises(InvalidArgument):
            make("y", "x")
        with pytest.raises(NotFound):
            make("y", "nothing")
    assert snapshots.find("y") is None
    with pytest.raises(InvalidArgument):
        snapshots.view("y", "")


def test_only_active_snapshots_are_committed(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {})
    snapshots.view("v", "one")
    for key in ("one", "v"):
        with pytest.raises(InvalidArgument):
            snapshots.commit("two", key, 0)
    with pytest.raises(NotFound):
        snapshots.commit("two", "nothing", 0)


def test_a_key_is_free_after_commit(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {})
    assert snapshots.find("making-one") is None
    snapshots.prepare("making-one", "one")


def test_parents_stay(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {"a": "1"})
    commit_layer(snapshots, "two", "one", {})
    snapshots.view("v", "two")
    for key in ("one", "two"):
        with pytest.raises(Conflict):
            snapshots.remove(key)
    for key in ("v", "two", "one"):
        snapshots.remove(key)
    assert snapshots.walk() == []


def test_removing_gives_the_space_back(place: Place) -> None:
    snapshots = place.open()
    mount = snapshots.prepare("x", "")
    (writable(mount) / "d" / "e").mkdir(parents=True)
    (writable(mount) / "d" / "f").write_text("x")
    snapshots.remove("x")
    with pytest.raises(NotFound):
        snapshots.remove("x")
    assert place.directories() == set()
    assert list((place.root / "trash").iterdir()) != []
    snapshots.reap()
    assert list((place.root / "trash").iterdir()) == []


def test_usage_counts_what_was_added(snapshots: Snapshotter) -> None:
    mount = snapshots.prepare("x", "")
    root = writable(mount)
    (root / "d").mkdir()
    (root / "d" / "a").write_text("x" * 1000)
    os.link(root / "d" / "a", root / "b")
    (root / "l").symlink_to("12345")
    assert snapshots.usage("x") == 1005
    snapshots.commit("one", "x", 1005)
    assert snapshots.usage("one") == 1005
    with pytest.raises(NotFound):
        snapshots.usage("nothing")


def test_recovery_clears_directories_that_nobody_recorded(place: Place) -> None:
    snapshots = place.open()
    snapshots.prepare("x", "")
    (place.root / "s" / "99" / "fs" / "d").mkdir(parents=True)
    again = place.restart()
    again.recover()
    assert "99" not in place.directories()
    assert again.find("x") is not None


def test_recovery_forgets_what_was_lost(place: Place) -> None:
    snapshots = place.open()
    snapshots.prepare("x", "")
    snapshots.prepare("y", "")
    lost = writable(snapshots.mounts("x")).parent
    lost.rename(place.root / "elsewhere")
    again = place.restart()
    again.recover()
    assert [s.key for s in again.walk()] == ["y"]


def test_a_prepare_that_was_killed_is_no_obstacle(place: Place) -> None:
    snapshots = place.open()
    (place.root / "s" / "1" / "fs").mkdir(parents=True)
    (place.root / "s" / "1" / "fs" / "old").write_text("x")
    mount = snapshots.prepare("x", "")
    assert list(writable(mount).iterdir()) == []


def test_a_prepare_that_fails_leaves_nothing(place: Place) -> None:
    snapshots = place.open()
    (place.root / "s").rename(place.root / "away")
    with pytest.raises(KernelError):
        snapshots.prepare("x", "")
    (place.root / "away").rename(place.root / "s")
    assert snapshots.find("x") is None
    assert place.restart().walk() == []
    assert place.directories() == set()


def test_removal_follows_no_link(place: Place) -> None:
    outside = place.root / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    snapshots = place.open()
    root = writable(snapshots.prepare("x", ""))
    (root / "dir").symlink_to(outside)
    (root / "file").symlink_to(outside / "precious")
    (root / "d").mkdir()
    (root / "d" / "dir").symlink_to("../../../../outside")
    snapshots.remove("x")
    snapshots.reap()
    assert (outside / "precious").read_text() == "x"
    assert list((place.root / "trash").iterdir()) == []


def test_a_tree_deeper_than_any_path_is_removed(place: Place) -> None:
    snapshots = place.open()
    fd = os.open(writable(snapshots.prepare("x", "")), os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 20, dir_fd=fd)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = below
    os.close(fd)
    assert snapshots.usage("x") == 0
    snapshots.remove("x")
    snapshots.reap()
    assert list((place.root / "trash").iterdir()) == []


@pytest.mark.skipif(not IS_ROOT, reason="needs root: makes devices and sets owners")
def test_everything_about_a_file_is_kept(snapshots: Snapshotter) -> None:
    root = writable(snapshots.prepare("making", ""))
    os.chown(root, 7, 8)
    root.chmod(0o750)
    (root / "file").write_text("x")
    os.chown(root / "file", 1000, 100)
    (root / "file").chmod(0o4755)
    os.setxattr(root / "file", "user.a", b"b")
    os.setxattr(root / "file", "security.capability", b"\1\0\0\2" + bytes(16))
    os.link(root / "file", root / "hard")
    (root / "dir").mkdir()
    (root / "dir" / "sym").symlink_to("/nowhere")
    os.chown(root / "dir" / "sym", 5, 6, follow_symlinks=False)
    os.mknod(root / "dir" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(root / "dir" / "fifo", 0o600)
    with (root / "sparse").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"end")
    for path in [*sorted(root.rglob("*"), reverse=True), root]:
        os.utime(path, ns=(-5_000_000_001, 1_234_567_891), follow_symlinks=False)
    snapshots.commit("one", "making", 0)

    mount = snapshots.prepare("x", "one")
    top = writable(mount)
    assert (top.stat().st_uid, top.stat().st_gid, stat.S_IMODE(top.stat().st_mode)) == (7, 8, 0o750)
    copied = layers(mount)[-1]
    for path in root.rglob("*"):
        ours, theirs = path.lstat(), (copied / path.relative_to(root)).lstat()
        for field in ("st_mode", "st_uid", "st_gid", "st_nlink", "st_rdev", "st_mtime_ns"):
            assert getattr(ours, field) == getattr(theirs, field), (path, field)
    assert os.getxattr(copied / "file", "user.a") == b"b"
    assert os.getxattr(copied / "file", "security.capability") == b"\1\0\0\2" + bytes(16)
    assert (copied / "dir" / "sym").readlink() == Path("/nowhere")
    assert (copied / "sparse").stat().st_blocks < 1000
    assert (copied / "sparse").read_bytes()[-3:] == b"end"


def show(changes: Changes) -> list[str]:
    return [
        f"{change.kind.name[0].replace('M', 'C')} {os.fsdecode(change.path)}"
        for change in changes
        if change.kind is not ChangeKind.UNCHANGED
    ]


@pytest.fixture
def changing(snapshots: Snapshotter) -> Snapshotter:
    """A snapshotter with a base of two layers under the active snapshot ``x``."""
    make_base(writable(snapshots.prepare("making", "")))
    snapshots.commit("base", "making", 0)
    commit_layer(snapshots, "top", "base", {"upper": "1"})
    snapshots.prepare("x", "top")
    return snapshots


@pytest.mark.skipif(not IS_ROOT, reason="needs root: mounts the snapshot")
@pytest.mark.parametrize(("step", "expected"), [(step, expected) for _, step, expected in CHANGES], ids=[name for name, _, _ in CHANGES])  # fmt: skip
def test_changes_are_told(
    changing: Snapshotter, tmp_path: Path, step: Step, expected: set[str]
) -> None:
    with mounted(changing.mounts("x"), tmp_path / "mnt") as root:
        step(root)
        assert set(show(changing.changes("x"))) == expected
    changes = changing.changes("x")
    assert set(show(changes)) == expected
    paths = [change.path for change in changes]
    assert len(paths) == len(set(paths))
    for number, path in enumerate(paths):
        parent = path.rpartition(b"/")[0]
        assert not parent or parent in paths[:number], "a directory comes first"


@pytest.mark.skipif(not IS_ROOT, reason="needs root: mounts the snapshot")
def test_mount_points_are_no_changes(changing: Snapshotter, tmp_path: Path) -> None:
    stubs = frozenset((b"etc", b"etc/hosts", b"dev", b"dev/pts", b"dir/stub"))
    with mounted(changing.mounts("x"), tmp_path / "mnt") as root:
        for name in ("etc", "dev/pts"):
            (root / name).mkdir(parents=True)
        (root / "etc/hosts").touch()
        (root / "dir/stub").touch()
        assert changing.changes("x", stubs) == []
        (root / "etc/mine").write_text("x")
        assert show(changing.changes("x", stubs)) == ["C etc", "A etc/mine"]
        (root / "dir").chmod(0o711)
        assert show(changing.changes("x", stubs)) == ["C dir", "C etc", "A etc/mine"]


@pytest.mark.skipif(not IS_ROOT, reason="needs root: mounts the snapshot")
def test_what_is_seen_from_outside(changing: Snapshotter, tmp_path: Path) -> None:
    with mounted(changing.mounts("x"), tmp_path / "mnt") as root:
        (root / "file").unlink()
        (root / "new").write_text("now")
        with open_view(changing.peek("x")) as fd:
            assert "file" not in os.listdir(fd)
            assert {"new", "upper", "dir"} <= set(os.listdir(fd))
            with pytest.raises(OSError, match="Read-only"):
                os.open("more", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    with open_view(changing.peek("top")) as fd:
        assert "file" in os.listdir(fd)


@pytest.mark.skipif(not IS_ROOT, reason="needs root: mounts the snapshot")
def test_a_first_layer_is_all_added(snapshots: Snapshotter) -> None:
    make_base(writable(snapshots.prepare("x", "")))
    changes = snapshots.changes("x")
    assert {change.kind for change in changes} == {ChangeKind.ADDED}
    assert {change.path for change in changes} >= {b"dir", b"dir/sub/file", b"fifo", b"null"}


def test_btrfs_needs_btrfs(tmp_path: Path) -> None:
    database = Database(tmp_path / "barque.db")
    with pytest.raises(FailedPrecondition, match="needs a btrfs file system"):
        BtrfsSnapshotter(tmp_path / "btrfs", database, tmp_path / "trash")
    database.close()


def test_two_snapshotters_share_a_database(tmp_path: Path) -> None:
    database = Database(tmp_path / "barque.db")
    one = OverlaySnapshotter(tmp_path / "overlay", database, tmp_path / "trash")
    two = VfsSnapshotter(tmp_path / "vfs", database, tmp_path / "trash")
    one.prepare("x", "")
    two.prepare("x", "")
    assert len(one.walk()) == len(two.walk()) == 1
    database.close()


def test_a_damaged_parent_is_dropped_and_made_again_below_its_children(
    place: Place, snapshots: Snapshotter
) -> None:
    commit_layer(snapshots, "one", "", {"a": "1"})
    commit_layer(snapshots, "two", "one", {"b": "2"})
    snapshots.prepare("container", "two")
    assert [snapshots.find_damage(key) for key in ("one", "two", "container")] == [""] * 3
    snapshots.drop("one")
    assert snapshots.find("one") is None
    assert "missing" in snapshots.find_damage("two")
    commit_layer(snapshots, "one", "", {"a": "1"})
    assert snapshots.find_damage("two") == ""
    assert [snapshot.key for snapshot in snapshots.walk()] == ["one", "two", "container"]
    assert see(snapshots.mounts("container"), "a") == "1"
    with pytest.raises(Conflict):
        snapshots.remove("one")
    snapshots = place.restart()
    snapshots.recover()
    assert [snapshot.key for snapshot in snapshots.walk()] == ["one", "two", "container"]
    for key in ("container", "two", "one"):
        snapshots.remove(key)
    snapshots.reap()
    assert place.directories() == set()


def test_strays_are_found_and_discarded(place: Place, snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "one", "", {"a": "1"})
    (place.root / "s" / "stray").mkdir()
    assert snapshots.list_strays() == ["stray"]
    for name in ("stray", *place.directories()):
        snapshots.discard_stray(name)
    assert snapshots.list_strays() == []
    assert snapshots.find_damage("one") == ""


def test_differences_of_one_layer_made_twice_are_found(snapshots: Snapshotter) -> None:
    commit_layer(snapshots, "base", "", {"a": "1"})
    for name in ("one", "other"):
        mount = snapshots.prepare(name, "base")
        (writable(mount) / "b").write_text("2")
        os.utime(writable(mount) / "b", (1, 1))
    stop = threading.Event()
    assert snapshots.find_difference("one", "other", stop) == ""
    (writable(snapshots.mounts("other")) / "b").write_text("3")
    os.utime(writable(snapshots.mounts("other")) / "b", (1, 1))
    assert snapshots.find_difference("one", "other", stop) == "/b has other content"


@pytest.mark.skipif(not IS_ROOT, reason="mounts an overlay: needs root")
@pytest.mark.parametrize("depth", [2, 127])
def test_a_classic_overlay_shows_the_same_and_is_seen_by_nobody(tmp_path: Path, depth: int) -> None:
    snapshots = Place(tmp_path, OverlaySnapshotter).open()
    parent = ""
    for number in range(depth):
        commit_layer(snapshots, f"layer{number}", parent, {f"file{number}": str(number)})
        parent = f"layer{number}"
    mount = snapshots.peek(parent)
    before = Path("/proc/self/mountinfo").read_text()
    here = Path.cwd()
    fd = mount_classic(mount.lower)
    try:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        try:
            assert sorted(os.listdir(root)) == sorted(f"file{n}" for n in range(depth))
        finally:
            os.close(root)
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        os.close(fd)
    assert Path.cwd() == here


def test_more_layers_than_a_page_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="more than this kernel"):
        mount_classic([f"{tmp_path}/{number}/fs" for number in range(1000)])
