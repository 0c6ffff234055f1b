"""Unpacking layers onto a real file system, with devices, owners and attributes."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from barque.errors import InvalidArgument
from barque.images.tar import Limits, Source
from barque.images.unpack import Layer, Whiteouts
from support.images import END, IS_ROOT, NEEDS_ROOT, Item, make_member, make_pax, make_tar

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)


@contextmanager
def opened(*paths: Path) -> Iterator[list[int]]:
    with ExitStack() as stack:
        fds = []
        for path in paths:
            fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
            stack.callback(os.close, fds[-1])
        yield fds


def unpack(
    archive: bytes,
    root: Path,
    whiteouts: Whiteouts = Whiteouts.IGNORE,
    lower: tuple[Path, ...] = (),
    limits: Limits | None = None,
) -> int:
    root.mkdir(exist_ok=True)
    before = len(os.listdir("/proc/self/fd"))
    with opened(root, *lower) as (fd, *lower_fds):
        layer = Layer(fd, whiteouts, tuple(lower_fds), limits)
        try:
            layer.apply(Source([archive]))
        finally:
            assert len(os.listdir("/proc/self/fd")) == before + 1 + len(lower)
    return layer.size_bytes


def tree(root: Path) -> dict[str, str]:
    """Return what stands below ``root``: content, link target or kind by path."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            value = f"-> {path.readlink()}"
        elif stat.S_ISDIR(status.st_mode):
            opaque = "trusted.overlay.opaque" in os.listxattr(path)
            value = "opaque" if opaque else "dir"
        elif stat.S_ISREG(status.st_mode):
            value = path.read_text()
        elif stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            value = "whiteout"
        else:
            value = f"{stat.filemode(status.st_mode)[0]} {status.st_rdev}"
        found[str(path.relative_to(root))] = value
    return found


def test_every_kind_of_entry(tmp_path: Path) -> None:
    archive = make_tar(
        [
            ("dir", "./", None),
            ("dir", "./d", None),
            ("file", "./d/file", "hello"),
            ("link", "./d/hard", "./d/file"),
            ("symlink", "./d/sym", "/absolute"),
            ("char", "./null", (1, 3)),
            ("block", "./sda", (8, 1)),
            ("fifo", "./fifo", None),
        ],
        uid=1000,
        gid=100,
        mode=0o4751,
        mtime=-5,
    )
    root = tmp_path / "root"
    assert unpack(archive, root) == 5
    assert tree(root) == {
        "d": "dir",
        "d/file": "hello",
        "d/hard": "hello",
        "d/sym": "-> /absolute",
        "fifo": "p 0",
        "null": f"c {os.makedev(1, 3)}",
        "sda": f"b {os.makedev(8, 1)}",
    }
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (1000, 100), path
        assert status.st_mtime_ns == -5 * 10**9, path
        if not path.is_symlink():
            assert stat.S_IMODE(status.st_mode) == 0o4751, path
    assert (root / "d" / "file").stat().st_nlink == 2


def test_attributes(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    pax = make_pax(
        {
            b"SCHILY.xattr.security.capability": capability,
            b"SCHILY.xattr.user.a": b"b\n=c",
            b"SCHILY.xattr.trusted.overlay.opaque": b"y",
            b"SCHILY.xattr.trusted.overlay.redirect": b"/etc",
            b"SCHILY.xattr.nonsense": b"x",
            b"mtime": b"1234567890.987654321",
        }
    )
    unpack(pax + make_member(b"file", b"x", uid=b"0001750\0") + END, tmp_path)
    path = tmp_path / "file"
    assert set(os.listxattr(path)) == {"security.capability", "user.a"}
    assert os.getxattr(path, "security.capability") == capability
    assert os.getxattr(path, "user.a") == b"b\n=c"
    assert path.stat().st_mtime_ns == 1234567890_987654321
    assert path.stat().st_uid == 1000


def test_attributes_of_what_cannot_be_opened(tmp_path: Path) -> None:
    pax = make_pax({b"SCHILY.xattr.trusted.a": b"b", b"SCHILY.xattr.user.a": b"b"})
    archive = pax + make_member(b"link", kind=b"2", link=b"/etc/passwd") + END
    unpack(archive, tmp_path)
    assert os.getxattr(tmp_path / "link", "trusted.a", follow_symlinks=False) == b"b"
    assert "trusted.a" not in os.listxattr("/etc/passwd")


def test_parents_are_made(tmp_path: Path) -> None:
    unpack(make_tar([("file", "a/b/c", "x")], uid=5), tmp_path)
    assert tree(tmp_path) == {"a": "dir", "a/b": "dir", "a/b/c": "x"}
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o755
    assert (tmp_path / "a").stat().st_uid == 0


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("file", "a", "1"), ("file", "a", "2")], {"a": "2"}),
        ([("file", "a", "1"), ("dir", "a", None)], {"a": "dir"}),
        ([("dir", "a", None), ("file", "a/b", "x"), ("file", "a", "1")], {"a": "1"}),
        ([("dir", "a", None), ("file", "a/b", "x"), ("dir", "a", None)], {"a": "dir", "a/b": "x"}),
        ([("symlink", "a", "b"), ("file", "a", "1")], {"a": "1"}),
        ([("file", "b", "0"), ("symlink", "a", "b"), ("file", "a", "1")], {"a": "1", "b": "0"}),
        ([("file", "a", "1"), ("symlink", "a", "b")], {"a": "-> b"}),
        ([("dir", "d", None), ("symlink", "a", "d"), ("dir", "a", None), ("file", "a/x", "1")],
         {"a": "dir", "a/x": "1", "d": "dir"}),
        ([("dir", "d", None), ("symlink", "a", "/d"), ("file", "a/x", "1")],
         {"a": "-> /d", "d": "dir", "d/x": "1"}),
        ([("symlink", "a", "/e/f"), ("file", "a/x", "1")],
         {"a": "-> /e/f", "e": "dir", "e/f": "dir", "e/f/x": "1"}),
        ([("symlink", "d/a", "../e"), ("file", "d/a/x", "1")],
         {"d": "dir", "d/a": "-> ../e", "e": "dir", "e/x": "1"}),
        ([("file", "a", "1"), ("link", "a", "a")], {"a": "1"}),
        ([("file", "a", "1"), ("file", "b", "2"), ("link", "b", "a")], {"a": "1", "b": "1"}),
        ([("symlink", "a", "x"), ("link", "b", "a")], {"a": "-> x", "b": "-> x"}),
        ([("file", "/abs", "1"), ("file", "./dot", "2"), ("file", "x//y/../z", "3")],
         {"abs": "1", "dot": "2", "x": "dir", "x/z": "3"}),
        ([("file", "a", "1"), ("file", ".wh.a", ""), ("file", ".wh..wh..opq", "")], {"a": "1"}),
        ([("file", ".wh..wh.plnk/1", ""), ("file", ".wh..wh.aufs", "")], {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("whiteouts", [Whiteouts.IGNORE, Whiteouts.DELETE])
def test_names_that_meet(
    tmp_path: Path, items: list[Item], expected: dict[str, str], whiteouts: Whiteouts
) -> None:
    unpack(make_tar(items), tmp_path, whiteouts)
    assert tree(tmp_path) == expected


def test_directories_keep_their_dates(tmp_path: Path) -> None:
    items: list[Item] = [("dir", "a", None), ("dir", "a/b", None)]
    items += [("file", f"a/b/{number}", "x") for number in range(300)]
    items += [("file", f"d{number}/x", "x") for number in range(200)]
    unpack(make_tar(items, mtime=1000), tmp_path)
    assert (tmp_path / "a").stat().st_mtime == 1000
    assert (tmp_path / "a" / "b").stat().st_mtime == 1000
    assert len(list((tmp_path / "a" / "b").iterdir())) == 300


def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        for at in (1 << 20, 5 << 20):
            file.seek(at)
            file.write(b"data" * 1000)
        file.truncate(20 << 20)
    for options in (["--format=gnu"], ["--format=posix"]):
        archive = subprocess.run(
            ["tar", "c", "-S", *options, "-C", source, "sparse"], check=True, capture_output=True
        ).stdout
        root = tmp_path / options[0]
        assert unpack(archive, root) == 20 << 20
        assert (root / "sparse").read_bytes() == (source / "sparse").read_bytes()
        assert (root / "sparse").stat().st_blocks * 512 < 1 << 20


BELOW: list[Item] = [
    ("dir", "d", None),
    ("file", "d/kept", "lower"),
    ("file", "d/gone", "lower"),
    ("dir", "d/sub", None),
    ("file", "d/sub/deep", "lower"),
    ("file", "top", "lower"),
]
ABOVE: list[tuple[list[Item], dict[str, str], dict[str, str]]] = [
    # (entries, upper layer for overlayfs, what is seen)
    (
        [("file", "d/.wh.gone", "")],
        {"d": "dir", "d/gone": "whiteout"},
        {"d": "dir", "d/kept": "lower", "d/sub": "dir", "d/sub/deep": "lower", "top": "lower"},
    ),
    (
        [("file", "d/.wh.sub", ""), ("file", ".wh.top", "")],
        {"d": "dir", "d/sub": "whiteout", "top": "whiteout"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower"},
    ),
    (
        [("file", "d/new", "upper"), ("file", "d/.wh..wh..opq", "")],
        {"d": "opaque", "d/new": "upper"},
        {"d": "dir", "d/new": "upper", "top": "lower"},
    ),
    (
        [("file", "d/.wh..wh..opq", ""), ("file", "d/new", "upper")],
        {"d": "opaque", "d/new": "upper"},
        {"d": "dir", "d/new": "upper", "top": "lower"},
    ),
    (  # a whiteout does not touch what its own layer brings
        [("file", "top", "upper"), ("file", ".wh.top", "")],
        {"top": "upper"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/deep": "lower", "top": "upper"},
    ),
    (
        [("file", ".wh.top", ""), ("file", "top", "upper")],
        {"top": "upper"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/deep": "lower", "top": "upper"},
    ),
    (  # a directory deleted and made again is empty
        [("file", "d/.wh.sub", ""), ("dir", "d/sub", None), ("file", "d/sub/new", "upper")],
        {"d": "dir", "d/sub": "opaque", "d/sub/new": "upper"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/new": "upper", "top": "lower"},
    ),
    (
        [("dir", "d/sub", None), ("file", "d/sub/new", "upper"), ("file", "d/.wh.sub", "")],
        {"d": "dir", "d/sub": "opaque", "d/sub/new": "upper"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/new": "upper", "top": "lower"},
    ),
    (  # also where only a file below says that it was made again
        [("file", "d/.wh.sub", ""), ("file", "d/sub/new", "upper")],
        {"d": "dir", "d/sub": "opaque", "d/sub/new": "upper"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/new": "upper", "top": "lower"},
    ),
    (
        [("file", "d/sub/new", "upper"), ("file", "d/.wh.sub", "")],
        {"d": "dir", "d/sub": "opaque", "d/sub/new": "upper"},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/new": "upper", "top": "lower"},
    ),
    (
        [("file", "d/sub/new", "upper"), ("file", ".wh..wh..opq", "")],
        {"d": "opaque", "d/sub": "dir", "d/sub/new": "upper", "top": "whiteout"},
        {"d": "dir", "d/sub": "dir", "d/sub/new": "upper"},
    ),
    (  # a directory for a file, a file for a directory
        [("dir", "top", None), ("file", "d", "upper")],
        {"top": "dir", "d": "upper"},
        {"top": "dir", "d": "upper"},
    ),
    (
        [("file", "d", "upper"), ("dir", "d", None)],
        {"d": "opaque"},
        {"d": "dir", "top": "lower"},
    ),
    (  # everything of the root
        [("file", "new", "upper"), ("file", ".wh..wh..opq", "")],
        {"d": "whiteout", "new": "upper", "top": "whiteout"},
        {"new": "upper"},
    ),
    (
        [("dir", "d", None), ("file", "d/new", "upper"), ("file", ".wh..wh..opq", "")],
        {"d": "opaque", "d/new": "upper", "top": "whiteout"},
        {"d": "dir", "d/new": "upper"},
    ),
    (  # a hard link to a file of a lower layer
        [("link", "d/hard", "top")],
        {"d": "dir", "d/hard": "lower", "top": "lower"},
        {"d": "dir", "d/gone": "lower", "d/hard": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/deep": "lower", "top": "lower"},
    ),
    (  # whiteouts of what is not there
        [("file", "x/.wh.y", ""), ("file", "d/.wh.none", ""), ("file", "z/.wh..wh..opq", "")],
        {},
        {"d": "dir", "d/gone": "lower", "d/kept": "lower", "d/sub": "dir",
         "d/sub/deep": "lower", "top": "lower"},
    ),
    (  # whiteouts in what is hidden as a whole
        [("file", "d/.wh.kept", ""), ("file", "d/sub/.wh.deep", ""), ("dir", "d/sub", None),
         ("file", "d/.wh..wh..opq", "")],
        {"d": "opaque", "d/sub": "dir"},
        {"d": "dir", "d/sub": "dir", "top": "lower"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("items", "upper", "_seen"), ABOVE)
def test_whiteouts_for_overlayfs(
    tmp_path: Path, items: list[Item], upper: dict[str, str], _seen: dict[str, str]
) -> None:
    unpack(make_tar(BELOW), tmp_path / "lower")
    unpack(make_tar(items), tmp_path / "upper", Whiteouts.OVERLAY, (tmp_path / "lower",))
    assert tree(tmp_path / "upper") == upper


@pytest.mark.parametrize(("items", "_upper", "seen"), ABOVE)
def test_whiteouts_as_deletions(
    tmp_path: Path, items: list[Item], _upper: dict[str, str], seen: dict[str, str]
) -> None:
    unpack(make_tar(BELOW), tmp_path)
    unpack(make_tar(items), tmp_path, Whiteouts.DELETE)
    assert tree(tmp_path) == seen


@pytest.mark.parametrize(("items", "_upper", "seen"), ABOVE)
def test_whiteouts_through_a_real_overlay(
    tmp_path: Path, items: list[Item], _upper: dict[str, str], seen: dict[str, str]
) -> None:
    lower, upper, merged = tmp_path / "lower", tmp_path / "upper", tmp_path / "merged"
    unpack(make_tar(BELOW), lower)
    unpack(make_tar(items), upper, Whiteouts.OVERLAY, (lower,))
    merged.mkdir()
    script = (
        f"mount -t overlay overlay -o lowerdir={upper}:{lower} {merged} || exit 99;"
        f"cd {merged} && find . -mindepth 1 \\( -type d -printf '%P dir\\n' \\)"
        " -o -printf '%P ' -exec cat {} ';' -printf '\\n'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip(f"needs overlayfs on {tmp_path}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert found == seen


def test_what_comes_through_a_link_is_not_hidden_by_its_own_layer(tmp_path: Path) -> None:
    items: list[Item] = [
        ("symlink", "link", "/d/sub"),
        ("file", "link/new", "upper"),
        ("file", ".wh.d", ""),
    ]
    unpack(make_tar(BELOW), tmp_path)
    unpack(make_tar(items), tmp_path, Whiteouts.DELETE)
    assert tree(tmp_path) == {
        "d": "dir",
        "d/sub": "dir",
        "d/sub/new": "upper",
        "link": "-> /d/sub",
        "top": "lower",
    }


def test_parents_lend_their_attributes_from_below(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    unpack(make_tar([("dir", "t", None)], mode=0o1777, uid=5, gid=6, mtime=1000), lower)
    os.setxattr(lower / "t", "user.a", b"b")
    unpack(make_tar([("file", "t/new", "x")]), upper, Whiteouts.OVERLAY, (lower,))
    status = (upper / "t").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1777, 5, 6)
    assert status.st_mtime == 1000
    assert os.getxattr(upper / "t", "user.a") == b"b"


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([("link", "a", "none")], "does not exist"),
        ([("dir", "d", None), ("link", "a", "d")], "the directory"),
        ([("link", "a", "/")], "hard link"),
        ([("file", "a", "x"), ("file", "a/b", "x")], "not a directory"),
        ([("symlink", "a", "a"), ("file", "a/b", "x")], "cannot be entered|too many"),
        ([("symlink", "a", "b"), ("symlink", "b", "c/d"), ("symlink", "c", "a"),
          ("file", "a/x", "x")], "cannot be entered|too many"),
        ([("file", ".wh.", "")], "not the whiteout"),
        ([("file", "d/.wh..", "")], "not the whiteout"),
        ([("file", "d/.wh...", "")], "not the whiteout"),
        ([("file", ".wh.d/x", "")], "inside a whiteout"),
        ([("symlink", ".", "/etc")], "its root is"),
        ([("file", "..", "x")], "its root is"),
        ([("file", "d/" * 2000 + "x", "x")], "deep"),
        ([("file", "d" * 5000, "x")], "bytes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("whiteouts", [Whiteouts.IGNORE, Whiteouts.DELETE, Whiteouts.OVERLAY])
def test_layers_that_are_refused(
    tmp_path: Path, items: list[Item], message: str, whiteouts: Whiteouts
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        unpack(make_tar(items), tmp_path / "root", whiteouts)


def test_a_layer_of_gnu_tar_is_unpacked_as_gnu_tar_does(tmp_path: Path) -> None:
    source = Path(tarfile.__file__).parent / "json"
    archive = subprocess.run(
        ["tar", "c", "--format=posix", "-C", source, "."], check=True, capture_output=True
    ).stdout
    unpack(archive, tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    subprocess.run(["tar", "xp", "-C", tmp_path / "theirs"], input=archive, check=True)
    done = subprocess.run(
        ["diff", "-r", tmp_path / "ours", tmp_path / "theirs"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout
    for path in (tmp_path / "theirs").rglob("*"):
        ours = (tmp_path / "ours" / path.relative_to(tmp_path / "theirs")).lstat()
        assert ours.st_mtime_ns == path.lstat().st_mtime_ns
        assert ours.st_mode == path.lstat().st_mode


def test_what_is_remembered_of_a_copied_layer_is_bounded(tmp_path: Path) -> None:
    archive = make_tar([("file", "a/1", "x"), ("file", "2", "x")])
    unpack(archive, tmp_path / "enough", Whiteouts.DELETE, limits=Limits(remembered=3))
    with pytest.raises(InvalidArgument, match=r"more than the 2 entries .* storage driver overlay"):
        unpack(archive, tmp_path / "few", Whiteouts.DELETE, limits=Limits(remembered=2))
    unpack(archive, tmp_path / "overlay", Whiteouts.OVERLAY, limits=Limits(remembered=2))


@pytest.mark.parametrize("whiteouts", [Whiteouts.IGNORE, Whiteouts.DELETE, Whiteouts.OVERLAY])
def test_an_entry_does_not_replace_the_link_that_leads_to_it(
    tmp_path: Path, whiteouts: Whiteouts
) -> None:
    for kind in ("dir", "file"):
        archive = make_tar([("symlink", "a", "/"), (kind, "a/a", "x" if kind == "file" else None)])
        with pytest.raises(InvalidArgument, match="'a/a' replaces a link on its own way"):
            unpack(archive, tmp_path / kind, whiteouts)
    replaced = make_tar([("dir", "d", None), ("symlink", "a", "d"), ("dir", "a", None)])
    unpack(replaced, tmp_path / "fine", whiteouts)
    assert (tmp_path / "fine/a").is_dir()
    assert not (tmp_path / "fine/a").is_symlink()
