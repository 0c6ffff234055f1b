"""What becomes of names in ``cp``, and what is packed and unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from barque.cli.command import CommandError
from barque.cli.copyfiles import (
    Side,
    look_at_source,
    look_at_target,
    pack,
    plan_copy,
    rename,
    unpack,
)


def side(path: str, kind: str) -> Side:
    return Side(path, exists=kind != "-", is_directory=kind == "d")


@pytest.mark.parametrize(
    ("source", "kind", "target", "target_kind", "directory", "name"),
    [
        ("/s/f", "f", "/t/d", "d", "/t/d", "f"),
        ("/s/f", "f", "/t/g", "f", "/t", "g"),
        ("/s/f", "f", "/t/g", "-", "/t", "g"),
        ("/s/d", "d", "/t/d", "d", "/t/d", "d"),
        ("/s/d", "d", "/t/new", "-", "/t", "new"),
        ("/s/d", "d", "/t/new/", "-", "/t", "new"),
        ("/s/d/.", "d", "/t/d", "d", "/t/d", "."),
        ("/s/d/.", "d", "/t/new", "-", "/t", "new"),
        ("/s/d/", "d", "/t/new", "-", "/t", "new"),
        ("/", "d", "/t/d", "d", "/t/d", "/"),
        ("f", "f", "g", "-", ".", "g"),
    ],
)
def test_where_a_copy_goes(
    source: str, kind: str, target: str, target_kind: str, directory: str, name: str
) -> None:
    assert plan_copy(side(source, kind), side(target, target_kind)) == (directory, name)


@pytest.mark.parametrize(
    ("kind", "target", "target_kind", "message"),
    [
        ("d", "/t/f", "f", "cannot copy directory"),
        ("f", "/t/new/", "-", "no such directory"),
        ("f", "/t/f/", "f", "not a directory"),
    ],
)
def test_what_cannot_be_copied(kind: str, target: str, target_kind: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        plan_copy(side("/s/x", kind), side(target, target_kind))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("a/b", "a", "c", "c/b"),
        ("a", "a", "c", "c"),
        ("a/", "a", "c", "c"),
        ("ab/c", "a", "c", "ab/c"),
        ("./x", ".", "new", "new/x"),
        ("/etc", "/", "root", "root/etc"),
        ("a/a/b", "a", "b", "b/a/b"),
    ],
)
def test_names_are_changed_at_their_beginning(name: str, old: str, new: str, expected: str) -> None:
    assert rename(name, old, new) == expected


def test_a_tree_goes_and_comes_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "file").write_bytes(b"x" * 1000)
    os.link(tree / "file", tree / "sub/hard")
    (tree / "link").symlink_to("file")
    (tree / "sub").chmod(0o750)
    source = look_at_source(str(tree), follow=False)
    assert source.name == "tree"
    data = b"".join(pack(source, "other"))
    assert len(data) % 512 == 0
    target = tmp_path / "target"
    target.mkdir()
    (target / "new").mkdir()
    (target / "new/file").symlink_to(tree / "sub/hard")
    unpack(io.BytesIO(data), str(target), "other", "new")
    assert (target / "new/file").read_bytes() == b"x" * 1000
    assert not (target / "new/file").is_symlink(), "replaced, not written through"
    assert (target / "new/link").readlink() == Path("file")
    assert (target / "new/sub").stat().st_mode & 0o777 == 0o750
    assert (target / "new/sub/hard").samefile(target / "new/file")


def test_nothing_is_unpacked_outside(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    (tmp_path / "d").mkdir()
    with pytest.raises(CommandError, match="cannot copy"):
        unpack(io.BytesIO(buffer.getvalue()), str(tmp_path / "d"), "x", "x")
    assert not (tmp_path / "evil").exists()


def test_kinds_are_kept(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    (tmp_path / "t/s").mkdir(parents=True)
    data = b"".join(pack(look_at_source(str(tmp_path / "s"), follow=False), "s"))
    with pytest.raises(CommandError, match="cannot overwrite directory"):
        unpack(io.BytesIO(data), str(tmp_path / "t"), "s", "s")


def test_targets_are_looked_at(tmp_path: Path) -> None:
    assert look_at_target(str(tmp_path)).is_directory
    assert not look_at_target(str(tmp_path / "new")).exists
    (tmp_path / "link").symlink_to("nowhere")
    assert look_at_target(str(tmp_path / "link")).path == str(tmp_path / "nowhere")
    with pytest.raises(CommandError, match="no such file"):
        look_at_target(str(tmp_path / "no/where"))


@pytest.mark.parametrize(
    ("target", "made"), [("../x", False), ("a/../../x", False), ("x", True), ("/etc/passwd", True)]
)
def test_links_do_not_climb_out(tmp_path: Path, target: str, made: bool) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, target
        archive.addfile(link)
    place = tmp_path / "d"
    place.mkdir()
    buffer.seek(0)
    if made:
        unpack(buffer, str(place), "link", "link")
        assert os.readlink(place / "link") == target
    else:
        with pytest.raises(CommandError, match="invalid symlink"):
            unpack(buffer, str(place), "link", "link")
