"""Snapshots as a user namespace sees them: mapped for it, unchanged on the disk."""

from __future__ import annotations

import os
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from barque.errors import FailedPrecondition, KernelError
from barque.kernel import mount as km
from barque.models.idmap import IdMap
from barque.models.launch import RootfsMount
from barque.models.oci import IdMapping
from barque.runtime import idmapped
from barque.runtime.idmapped import Mapper, making_files_as, open_mapped, private_mounts
from barque.runtime.rootfs import open_overlay

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes mounts: needs root")

IDS = IdMap(
    uids=[IdMapping(container_id=0, host_id=100000, size=65536)],
    gids=[IdMapping(container_id=0, host_id=300000, size=65536)],
)
ROOT = os.O_PATH | os.O_DIRECTORY
CAPABILITY = "security.capability"
NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def in_child(work: Callable[[], None]) -> None:
    """Run ``work`` in a process of one thread, whose changes of itself end with it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - shown, and told by the exit code
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


@pytest.fixture
def snapshot(tmp_path: Path) -> RootfsMount:
    """Two layers and a writable one."""
    for name in ("1/fs", "2/fs", "3/fs", "3/work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "1/fs/lower").write_text("lower")
    (tmp_path / "1/fs/setuid").write_text("x")
    (tmp_path / "1/fs/setuid").chmod(0o4755)
    (tmp_path / "2/fs/theirs").write_text("theirs")
    os.chown(tmp_path / "2/fs/theirs", 5, 6)
    os.chown(tmp_path / "1/fs/lower", 65535, 65535)
    return RootfsMount(
        type="overlay",
        lower=[str(tmp_path / "2/fs"), str(tmp_path / "1/fs")],
        upper=str(tmp_path / "3/fs"),
        work=str(tmp_path / "3/work"),
        mapped=True,
    )


def check_snapshot(root: int, upper: Path) -> None:
    """Look at the mounted snapshot, and change it as the container's root would."""
    for name, uid, gid in (
        ("setuid", 100000, 300000),
        ("theirs", 100005, 300006),
        ("lower", 165535, 365535),
    ):
        status = os.stat(name, dir_fd=root)
        assert (status.st_uid, status.st_gid) == (uid, gid)
    assert os.stat("setuid", dir_fd=root).st_mode & 0o7777 == 0o4755

    def change() -> None:
        become(100000, 300000)
        os.mkdir("made", dir_fd=root)
        os.chmod("setuid", 0o4711, dir_fd=root)  # copied up
        os.symlink("x", "link", dir_fd=root)

    in_child(change)
    for name, uid, gid in (("made", 0, 0), ("setuid", 0, 0), ("link", 0, 0)):
        status = os.lstat(upper / name)
        assert (status.st_uid, status.st_gid) == (uid, gid)
    assert os.lstat(upper / "setuid").st_mode & 0o7777 == 0o4711


def open_in(snapshot: RootfsMount, directory: Path) -> int:
    mapper = Mapper(IDS)
    try:
        return open_mapped(snapshot, IDS, mapper, str(directory))
    finally:
        mapper.close()


def test_an_overlay(snapshot: RootfsMount, tmp_path: Path) -> None:
    def work() -> None:
        check_snapshot(open_in(snapshot, tmp_path), tmp_path / "3/fs")

    in_child(work)


def test_an_overlay_of_layers_that_are_mounted(
    snapshot: RootfsMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Linux 6.15: the same by way of mounts that nobody else sees."""
    before = Path("/proc/self/mountinfo").read_text()

    def work() -> None:
        once: list[int] = []
        make = open_overlay

        def refuse_first(rootfs: RootfsMount) -> int:
            if not once:
                once.append(1)
                raise KernelError("fsconfig", 22)
            return make(rootfs)

        monkeypatch.setattr(idmapped, "open_overlay", refuse_first)
        check_snapshot(open_in(snapshot, tmp_path), tmp_path / "3/fs")
        assert Path("/proc/self/mountinfo").read_text() == before

    in_child(work)


def test_an_overlay_by_the_classic_call(
    snapshot: RootfsMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Linux 6.5."""

    def work() -> None:
        def refuse(_: RootfsMount) -> int:
            raise KernelError("fsconfig", 22)

        monkeypatch.setattr(idmapped, "open_overlay", refuse)
        check_snapshot(open_in(snapshot, tmp_path), tmp_path / "3/fs")

    in_child(work)


def test_a_volatile_overlay_twice(snapshot: RootfsMount, tmp_path: Path) -> None:
    snapshot.volatile = True

    def work() -> None:
        for _ in range(2):
            os.close(open_in(snapshot, tmp_path))

    in_child(work)


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("")

    def work() -> None:
        root = open_in(RootfsMount(type="bind", source=str(tmp_path / "a"), mapped=True), tmp_path)
        assert os.stat("file", dir_fd=root).st_uid == 100000

    in_child(work)


def test_file_capabilities_are_those_of_the_containers_root(
    snapshot: RootfsMount, tmp_path: Path
) -> None:
    os.setxattr(tmp_path / "1/fs/setuid", CAPABILITY, NET_RAW)

    def work() -> None:
        root = open_in(snapshot, tmp_path)
        seen = os.getxattr(f"/proc/self/fd/{root}/setuid", CAPABILITY)
        assert struct.unpack_from("<I", seen, 20) == (100000,)

    in_child(work)
    assert os.getxattr(tmp_path / "1/fs/setuid", CAPABILITY) == NET_RAW


def test_files_are_made_as_somebody_with_all_capabilities(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 5, 5)

    def work() -> None:
        with making_files_as(7, 8):
            (tmp_path / "theirs/file").write_text("")
        (tmp_path / "mine").write_text("")

    in_child(work)
    made = (tmp_path / "theirs/file").stat()
    assert (made.st_uid, made.st_gid) == (7, 8)
    assert (tmp_path / "mine").stat().st_uid == 0


def test_private_mounts_are_seen_by_nobody(tmp_path: Path) -> None:
    def work() -> None:
        before = Path("/proc/self/mountinfo").read_text()
        with private_mounts():
            made = km.new_filesystem("tmpfs")
            target = os.open(tmp_path, ROOT)
            km.move_mount(made, target, str(tmp_path))
            assert str(tmp_path) in Path("/proc/self/mountinfo").read_text()
        assert Path("/proc/self/mountinfo").read_text() == before

    in_child(work)


def test_a_file_system_without_says_so(tmp_path: Path) -> None:
    def work() -> None:
        mapper = Mapper(IDS)
        with pytest.raises(FailedPrecondition) as raised:
            mapper.clone("/proc", IDS)
        said = str(raised.value)
        assert said.startswith("/proc cannot be shown to a user namespace: its file system, proc,")
        assert "--userns=host" in said
        mapper.close()

    in_child(work)


def test_one_namespace_serves_all_mounts_of_a_mapping(tmp_path: Path) -> None:
    def work() -> None:
        mapper = Mapper(IDS)
        for _ in range(3):
            os.close(mapper.clone(str(tmp_path), IDS))
        assert len(mapper._namespaces) == 1
        other = IdMap(uids=IDS.gids, gids=IDS.uids)
        os.close(mapper.clone(str(tmp_path), other))
        assert len(mapper._namespaces) == 2
        mapper.close()

    in_child(work)
