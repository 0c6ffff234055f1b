from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.errors import KernelError
from barque.kernel.paths import RESOLVE_NO_SYMLINKS, open_in_root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "outside").write_text("secret")
    inside = tmp_path / "root"
    (inside / "d").mkdir(parents=True)
    (inside / "d" / "file").write_text("inside")
    (inside / "outside").write_text("not secret")
    (inside / "absolute").symlink_to("/d/file")
    (inside / "climbing").symlink_to("../../../../outside")
    (inside / "magic").symlink_to("/proc/self/root")
    (inside / "loop").symlink_to("loop")
    fd = os.open(inside, os.O_RDONLY)
    yield fd
    os.close(fd)


def read(fd: int) -> str:
    with os.fdopen(fd) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("d/file", "inside"),
        ("/d/file", "inside"),
        (b"d/../d/./file", "inside"),
        ("absolute", "inside"),
        ("climbing", "not secret"),
        ("../outside", "not secret"),
        ("/../../outside", "not secret"),
    ],
)
def test_everything_stays_inside(root: int, path: str | bytes, content: str) -> None:
    assert read(open_in_root(root, path, os.O_RDONLY)) == content


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("nothing", errno.ENOENT),
        ("d/file/x", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("magic", errno.ENOENT),
        ("d/fi\0le", errno.EINVAL),
    ],
)
def test_failures(root: int, path: str, error: int) -> None:
    with pytest.raises(KernelError) as caught:
        open_in_root(root, path, os.O_RDONLY)
    assert (caught.value.syscall, caught.value.errno) == ("openat2", error)


def test_magic_links_are_refused() -> None:
    proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(KernelError) as caught:
            open_in_root(proc, "root/etc", os.O_RDONLY)
        assert caught.value.errno == errno.ELOOP
    finally:
        os.close(proc)


def test_the_root_itself(root: int) -> None:
    for path in ("", ".", "/", ".."):
        fd = open_in_root(root, path, os.O_PATH)
        assert os.path.samestat(os.fstat(fd), os.fstat(root))
        os.close(fd)


def test_creating(root: int) -> None:
    fd = open_in_root(root, "/../new", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o640)
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert os.stat("new", dir_fd=root).st_mode & 0o777 == 0o640 & ~_umask()
    fd = open_in_root(root, "d", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.close(fd)


def test_links_can_be_refused(root: int) -> None:
    with pytest.raises(KernelError):
        open_in_root(root, "absolute", os.O_RDONLY, resolve=RESOLVE_NO_SYMLINKS)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
