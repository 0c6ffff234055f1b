"""Trees that layers are made of and changed in, and what changing them is called."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.models.launch import RootfsMount
from barque.snapshots.trees import open_directory, walk_tree

CAPABILITY = b"\1\0\0\2" + bytes(16)


@contextmanager
def mounted(mount: RootfsMount, where: Path) -> Iterator[Path]:
    """Mount a snapshot on ``where``, as a container does, and give its root."""
    where.mkdir(exist_ok=True)
    if mount.type == "overlay":
        options = f"lowerdir={':'.join(mount.lower)}"
        if mount.upper:
            options += f",upperdir={mount.upper},workdir={mount.work}"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(where)]
    else:
        command = ["mount", "--bind", mount.source, str(where)]
    subprocess.run(command, check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def make_base(root: Path) -> None:
    """Make the tree that ``CHANGES`` change."""
    for name in ("dir/sub", "gone/deep", "opaque/old", "swap", "keep/in", "merge/a", "refill"):
        (root / name).mkdir(parents=True)
    for name in (
        "file", "chmod", "chown", "mtime", "xattr", "caps", "same", "linked", "grown", "target",
        "dir/sub/file", "gone/deep/file", "opaque/old/file", "opaque/top", "swap/in", "swapped",
        "keep/in/file", "merge/a/old", "refill/one", "refill/two", "both",
    ):  # fmt: skip
        (root / name).write_text(name)
    (root / "symlink").symlink_to("file")
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)


def _set_times(path: Path) -> None:
    os.utime(path, ns=(1_500_000_000_000_000_000, 1_500_000_000_000_000_000))


def _recreate_directory(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def _to_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file now")


def _to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def _replace(path: Path) -> None:
    path.unlink()
    path.write_text("something else altogether")


def _relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


Step = Callable[[Path], object]


def _all(*steps: Step) -> Step:
    def run(path: Path) -> None:
        for step in steps:
            step(path)

    return run


CHANGES: list[tuple[str, Step, set[str]]] = [
    ("nothing", lambda r: None, set()),
    ("add a file", lambda r: (r / "new").write_text("x"), {"A new"}),
    ("add a directory", lambda r: (r / "newdir/below").mkdir(parents=True), {"A newdir", "A newdir/below"}),
    ("add below a directory", lambda r: (r / "dir/sub/more").write_text("x"), {"C dir", "C dir/sub", "A dir/sub/more"}),
    ("modify a file", lambda r: (r / "grown").write_text("grown longer"), {"C grown"}),
    ("delete a file", lambda r: (r / "file").unlink(), {"D file"}),
    ("delete a tree", lambda r: shutil.rmtree(r / "gone"), {"D gone"}),
    ("delete below", lambda r: (r / "dir/sub/file").unlink(), {"C dir", "C dir/sub", "D dir/sub/file"}),
    ("chmod only", lambda r: (r / "chmod").chmod(0o600), {"C chmod"}),
    ("set-user-id", lambda r: (r / "chmod").chmod(0o4755), {"C chmod"}),
    ("chown only", lambda r: os.chown(r / "chown", 5, 6), {"C chown"}),
    ("date only", lambda r: _set_times(r / "mtime"), {"C mtime"}),
    ("capability only", lambda r: os.setxattr(r / "caps", "security.capability", CAPABILITY), {"C caps"}),
    ("touch a directory", lambda r: _set_times(r / "keep"), set()),
    ("chmod a directory", lambda r: (r / "keep").chmod(0o700), {"C keep"}),
    ("chmod a directory in one", lambda r: (r / "keep/in").chmod(0o700), {"C keep", "C keep/in"}),
    ("a file becomes a directory", lambda r: _to_directory(r / "swapped"), {"C swapped", "A swapped/inside"}),
    ("a directory becomes a file", lambda r: _to_file(r / "swap"), {"C swap"}),
    ("a file becomes a link", lambda r: _relink(r / "target"), {"C target"}),
    ("a link leads elsewhere", lambda r: _relink(r / "symlink"), {"C symlink"}),
    ("delete, then recreate a file", lambda r: _replace(r / "both"), {"C both"}),
    ("recreate a directory", lambda r: _recreate_directory(r / "opaque"), {"C opaque", "D opaque/old", "D opaque/top"}),
    ("recreate, then fill a directory", _all(lambda r: _recreate_directory(r / "refill"), lambda r: (r / "refill/two").write_text("2"), lambda r: (r / "refill/three").write_text("3")), {"C refill", "D refill/one", "C refill/two", "A refill/three"}),
    ("rename a file", lambda r: (r / "file").rename(r / "dir/moved"), {"D file", "C dir", "A dir/moved"}),
    ("rename a directory", lambda r: subprocess.run(["mv", r / "dir", r / "elsewhere"], check=True), {"D dir", "A elsewhere", "A elsewhere/sub", "A elsewhere/sub/file"}),
    ("a hard link to what was there", lambda r: os.link(r / "linked", r / "second"), {"A second"}),
    ("two new hard links", _all(lambda r: (r / "one").write_text("x"), lambda r: os.link(r / "one", r / "two")), {"A one", "A two"}),
    ("made and deleted again", _all(lambda r: (r / "brief").write_text("x"), lambda r: (r / "brief").unlink()), set()),
    ("rewritten as it was", lambda r: (r / "same").chmod(stat.S_IMODE((r / "same").stat().st_mode)), set()),
    ("a device", lambda r: os.mknod(r / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5)), {"A zero"}),
    ("another device", _all(lambda r: (r / "null").unlink(), lambda r: os.mknod(r / "null", stat.S_IFCHR | 0o666, os.makedev(1, 5))), {"C null"}),
    ("delete a FIFO", lambda r: (r / "fifo").unlink(), {"D fifo"}),
    ("odd names", _all(lambda r: (r / "new\nline").write_text("x"), lambda r: (r / os.fsdecode(b"\xff\xfe")).write_text("x"), lambda r: (r / ("n" * 255)).write_text("x")), {"A new\nline", "A \udcff\udcfe", "A " + "n" * 255}),
    ("a sparse file", _all(lambda r: (r / "sparse").touch(), lambda r: os.truncate(r / "sparse", 1 << 30)), {"A sparse"}),
    ("an own attribute", lambda r: os.setxattr(r / "xattr", "user.x", b"y"), set()),
]  # fmt: skip
"""(what is done, how, the list of ``diff``), each on a tree of its own."""


def describe(root: int, since_ns: int) -> dict[str, str]:
    """Say in words what stands below ``root``, by path.

    What is as it mostly is goes without saying: the owner 0:0, the modes 755 of directories and
    644 of all else, and dates at 0 or after ``since_ns``.
    """
    found: dict[str, str] = {}
    inodes: dict[int, str] = {}
    for path, status in walk_tree(root):
        name = os.fsdecode(path)
        is_directory = stat.S_ISDIR(status.st_mode)
        if not is_directory and status.st_ino in inodes:
            found[name] = f"same as {inodes[status.st_ino]}"
            continue
        inodes[status.st_ino] = name
        parent, _, base = path.rpartition(b"/")
        with open_directory(root, parent) as directory:
            words = [_describe_content(directory, base, status)]
            mode = stat.S_IMODE(status.st_mode)
            if not stat.S_ISLNK(status.st_mode) and mode != (0o755 if is_directory else 0o644):
                words.append(f"mode {mode:o}")
            where = f"/proc/self/fd/{directory}/{os.fsdecode(base)}"
            for key in sorted(os.listxattr(where, follow_symlinks=False)):
                value = os.getxattr(where, key, follow_symlinks=False)
                words.append(f"{key}={value.decode('latin-1')}")
        if (status.st_uid, status.st_gid) != (0, 0):
            words.append(f"owner {status.st_uid}:{status.st_gid}")
        if status.st_mtime_ns and not 0 <= status.st_mtime_ns - since_ns < 3600 * 10**9:
            words.append(f"at {status.st_mtime_ns}")
        found[name] = " ".join(words)
    return found


def _describe_content(directory: int, name: bytes, status: os.stat_result) -> str:
    device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            return "dir"
        case stat.S_IFLNK:
            return f"-> {os.fsdecode(os.readlink(name, dir_fd=directory))}"
        case stat.S_IFCHR:
            return f"char {device}"
        case stat.S_IFBLK:
            return f"block {device}"
        case stat.S_IFIFO:
            return "fifo"
        case _ if status.st_size > 40:
            return f"file of {status.st_size} bytes"
        case _:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
            with os.fdopen(fd, "rb") as file:
                return f"file {file.read().decode('latin-1')!r}"
