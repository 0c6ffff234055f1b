"""A root file system with all that is legal on Linux, through everything that keeps images.

What goes in and what comes out is compared file by file, and GNU tar packs the one and unpacks
the other: our own reader and writer cannot agree on a mistake.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from barque.images.pack import pack_tree
from barque.images.record import Image
from barque.models.image import HistoryEntry, RunConfig
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from barque.snapshots.views import open_view
from support.images import IS_ROOT, NEEDS_ROOT, Store
from support.trees import CAPABILITY, mounted

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)


def make_odd_tree(root: Path) -> None:
    """Make a tree of everything that a file system holds, and some archives do not."""
    for name in ("etc", "dev", "usr/bin", "var/empty", "tmp", "x" * 255, "deep"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0\n")
    (root / "usr/bin/tool").write_bytes(os.urandom(70_000))
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/bin/group").write_text("x")
    (root / "usr/bin/group").chmod(0o2750)
    for name in ("link1", "usr/link2", "etc/link3"):
        os.link(root / "usr/bin/tool", root / name)
    (root / "usr/bin/capable").write_text("x")
    os.setxattr(root / "usr/bin/capable", "security.capability", CAPABILITY)
    (root / "attributes").write_text("x")
    os.setxattr(root / "attributes", "user.text", b"value")
    os.setxattr(root / "attributes", "user.binary", bytes(range(256)))
    os.setxattr(root / "attributes", "user.empty", b"")
    os.setxattr(root / "etc", "user.directory", b"d")
    with (root / "sparse").open("wb") as file:
        file.truncate(100 << 20)
        for offset in (0, 1 << 20, 50 << 20, (100 << 20) - 5):
            file.seek(offset)
            file.write(b"data!")
    with (root / "hole").open("wb") as file:
        file.truncate(10 << 20)
    names = [b"new\nline", b"\xff\xfe\x00"[:2], "ünï".encode(), b" leading", b"trailing ",
             b"-dash", b"back\\slash", b"quote'\"", b"\x01\x7f", b"n" * 255, b"tab\t", b"*?[",
             b".hidden", b"..dots", b"...", "e\u0301".encode(), "\u00e9".encode()]  # fmt: skip
    for odd in names:
        with open(os.fsencode(root) + b"/" + odd, "wb") as file:
            file.write(odd)
    (root / "symlink").symlink_to("usr/bin/tool")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("../" * 20 + "x" * 200)
    (root / "long link").symlink_to("l" * 4000)
    deep = root / "deep"
    for _ in range(14):
        deep /= "d" * 250
        deep.mkdir()
    (deep / "bottom").write_text("x")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "dev/large", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    (root / "empty").touch()
    os.chown(root / "etc/passwd", 1, 2)
    os.chown(root / "empty", 3_000_000_000, 4_000_000_000)
    os.chown(root / "symlink", 7, 8, follow_symlinks=False)
    dates = [-1, -1_000_000_000_500_000_000, 1, 999_999_999, 1_700_000_000_123_456_789,
             4_000_000_000_000_000_001, 0]  # fmt: skip
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        date = dates[number % len(dates)]
        os.utime(path, ns=(date, date), follow_symlinks=False)
    os.utime(root, ns=(1_600_000_000_000_000_000, 1_600_000_000_000_000_000))


Facts = dict[bytes, tuple[object, ...]]


def describe(root: Path) -> Facts:
    """Return all that there is to know of each file."""
    found: Facts = {}
    groups: dict[tuple[int, int], bytes] = {}
    for directory, folders, files, fd in os.fwalk(os.fsencode(root)):
        for name in sorted([*folders, *files]):
            path = b"/proc/self/fd/%d/%s" % (fd, name)
            status = os.lstat(path)
            relative = os.path.relpath(os.path.join(directory, name), os.fsencode(root))
            content: object = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            is_directory = stat.S_ISDIR(status.st_mode)
            same = groups.setdefault((status.st_dev, status.st_ino), relative)
            found[relative] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev,
                0 if is_directory else status.st_size, content, same,
                {
                    key: os.getxattr(path, key, follow_symlinks=False)
                    for key in os.listxattr(path, follow_symlinks=False)
                    if not key.startswith(("trusted.overlay.", "security.selinux"))
                },
            )  # fmt: skip
    return found


def pack_with_gnu_tar(root: Path) -> bytes:
    command = ["tar", "--format=posix", "--xattrs", "--xattrs-include=*", "-S", "-C", str(root)]
    return subprocess.run([*command, "-c", "."], check=True, capture_output=True).stdout


def unpack_with_gnu_tar(data: bytes, root: Path) -> None:
    root.mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", str(root), "-xp"]
    subprocess.run(command, check=True, input=data)


async def feed(data: bytes) -> AsyncGenerator[bytes]:
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


def export(store: Store, image: Image) -> bytes:
    pieces: list[bytes] = []
    with open_view(store.snapshotter.peek(image.chain_id)) as root:
        pack_tree(root, pieces.append, threading.Event())
    return b"".join(pieces)


async def commit_and_save(store: Store, base: Image, mount_point: Path) -> tuple[Image, bytes]:
    mount = store.snapshotter.prepare("container", base.chain_id)
    # Overlayfs itself parts hard links where it copies one of them up.
    stay = ("deep", "dev", "usr", "etc", "link1")
    with mounted(mount, mount_point) as root:
        for path in root.iterdir():
            if path.name not in stay:
                subprocess.run(["mv", path, root / "dev"], check=True)  # copies all of it up
        for path in (root / "dev").iterdir():
            if path.name not in ("null", "large"):
                subprocess.run(["mv", path, root], check=True)
        (root / "added").write_text("x")
    changes = store.snapshotter.changes("container")
    image = await store.images.commit(
        "container", changes, base=base, run=RunConfig(cmd=["x"]), step=HistoryEntry()
    )
    saved = b"".join([chunk async for chunk in store.images.save([image.id])])
    return image, saved


@pytest.fixture(params=[OverlaySnapshotter, VfsSnapshotter], ids=lambda kind: kind.driver)
def kind(request: pytest.FixtureRequest) -> type[DirectorySnapshotter]:
    found: type[DirectorySnapshotter] = request.param
    return found


def test_all_comes_back(kind: type[DirectorySnapshotter], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make_odd_tree(tree)
    wanted = describe(tree)

    async def go() -> tuple[bytes, bytes]:
        first = Store(tmp_path / "first", kind)
        base = await first.images.import_image(feed(pack_with_gnu_tar(tree)), repo="base")
        once = export(first, base)
        image, saved = await commit_and_save(first, base, tmp_path / "mnt")
        assert len(image.layers) == 2
        second = Store(tmp_path / "second", kind)
        lines = [line async for line in second.images.load(feed(saved), quiet=True)]
        assert lines == [{"stream": f"Loaded image ID: {image.id}\n"}]
        twice = export(second, second.images.get(image.id))
        again = b"".join([chunk async for chunk in second.images.save([image.id])])
        assert again == saved, "what is saved is the same, whoever saves it"
        for store in (first, second):
            store.database.close()
        return once, twice

    once, twice = asyncio.run(go())
    for name, data in (("once", once), ("twice", twice)):
        unpack_with_gnu_tar(data, tmp_path / name)
        found = describe(tmp_path / name)
        assert (found.pop(b"added", None) is None) == (name == "once")
        assert found.keys() == wanted.keys()
        for path, facts in wanted.items():
            if name == "twice" and path == b"dev":
                continue  # files were moved through it
            assert found[path] == facts, path
    assert (tmp_path / "twice/sparse").stat().st_blocks < 10_000  # copied up in pieces
    assert len(once) < 3 << 20, "holes are not written"


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make_odd_tree(tree)
    packed = []
    for name in ("one", "two"):
        subprocess.run(["cp", "-a", "--sparse=always", tree, tmp_path / name], check=True)
        pieces: list[bytes] = []
        fd = os.open(tmp_path / name, os.O_RDONLY)
        pack_tree(fd, pieces.append, threading.Event())
        os.close(fd)
        packed.append(hashlib.sha256(b"".join(pieces)).hexdigest())
    assert packed[0] == packed[1]


def test_paths_longer_than_a_system_call_takes(
    kind: type[DirectorySnapshotter], tmp_path: Path
) -> None:
    """GNU tar makes no such path: here the archives before and after are compared."""
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(40):  # a path of 10,000 bytes
        os.mkdir("d" * 250, dir_fd=fd)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        os.mkfifo("pipe", dir_fd=fd)
        os.symlink("x" * 4000, "link", dir_fd=fd)
        inner = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
        os.write(inner, b"on the way down")
        os.close(inner)
        os.setxattr(file_path := f"/proc/self/fd/{fd}/file", "user.x", b"y")
        os.link("file", "hard", src_dir_fd=fd, dst_dir_fd=fd)
        os.utime(file_path, ns=(-1, -1))
    os.close(fd)

    def pack(root: int) -> bytes:
        pieces: list[bytes] = []
        pack_tree(root, pieces.append, threading.Event())
        return b"".join(pieces)

    fd = os.open(tree, os.O_RDONLY)
    before = pack(fd)
    os.close(fd)
    store = Store(tmp_path / "store", kind)
    image = asyncio.run(store.images.import_image(feed(before)))
    assert export(store, image) == before
    mount = store.snapshotter.prepare("container", image.chain_id)
    with mounted(mount, tmp_path / "mnt") as root:
        (root / "top").write_text("x")
    assert [change.path for change in store.snapshotter.changes("container")] == [b"top"]
    subprocess.run(["rm", "-rf", tree], check=True)
    store.database.close()
