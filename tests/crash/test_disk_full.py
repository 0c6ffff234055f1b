"""A full disk at every stage of what writes: the error says so, and nothing is left of it.

The engine's data root is a file system of its own, of which all but a little is taken. How
little is varied, so that each operation fails at its beginning, in its middle and at its end.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from barque.models.volume import VolumeRecord
from barque.store.database import Database
from barque.store.snapshots import SnapshotTable
from barque.store.volumes import VolumeStore
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.images import make_config, make_docker_archive, make_tar
from support.registry import run_own
from support.rootfs import busybox_is_here, write_busybox_tar
from support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: needs root"),
    pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="needs mkfs.ext4 (e2fsprogs)"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]
BARQUE = str(Path(__file__).parents[2] / ".venv" / "bin" / "barque")
SIZE = 64 << 20
ROOM = [0, 64 << 10, 512 << 10, 1 << 20, 3 << 20]
"""Bytes left."""
LAYERS = [
    make_tar(
        [
            ("file", f"f{number}{part}", random.Random(number).randbytes(200_000))
            for part in range(8)
        ]
    )
    for number in range(2)
]
ARCHIVE = make_docker_archive([(["large:1"], LAYERS, make_config(LAYERS, Cmd=["x"]))])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine on a disk of ``SIZE`` bytes."""
    archive = write_busybox_tar(tmp_path_factory.mktemp("images") / "busybox.tar")
    with open_barqued() as engine:
        engine.stop()
        where = engine.data_root
        disk = engine.root / "disk"
        disk.touch()
        os.truncate(disk, SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-I", "256", disk], check=True)
        subprocess.run(["mount", "-o", "loop", disk, where], check=True)
        engine.start()
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        yield engine
        engine.remove_containers()
        engine.stop()
        subprocess.run(["umount", where], check=True)


@contextmanager
def filled(engine: Engine, room: int) -> Iterator[None]:
    """Take all but ``room`` bytes of the disk within the block."""
    filler = engine.data_root / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for piece in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    os.write(fd, bytes(piece))
        os.ftruncate(fd, os.fstat(fd).st_size - room)
        os.fsync(fd)
        yield
    finally:
        os.close(fd)
        filler.unlink()


def import_(engine: Engine, folder: Path) -> list[str]:
    (folder / "layer.tar").write_bytes(LAYERS[0])
    return ["import", str(folder / "layer.tar"), "large:1"]


def load(_engine: Engine, folder: Path) -> list[str]:
    (folder / "archive.tar").write_bytes(ARCHIVE)
    return ["load", "-i", str(folder / "archive.tar")]


def commit(engine: Engine, _folder: Path) -> list[str]:
    engine.docker("create", "--name", "changed", "busybox")
    change = engine.root / "change"
    change.write_bytes(random.Random(3).randbytes(3 << 20))
    engine.docker("cp", str(change), "changed:/change")
    return ["commit", "changed", "large:1"]


def copy(engine: Engine, _folder: Path) -> list[str]:
    engine.docker("create", "--name", "copied", "busybox")
    change = engine.root / "change"
    change.write_bytes(random.Random(3).randbytes(4 << 20))
    return ["cp", str(change), "copied:/change"]


def create(_engine: Engine, _folder: Path) -> list[str]:
    return ["create", "--name", "made", "-v", "made:/data", "busybox", "true"]


def start(engine: Engine, _folder: Path) -> list[str]:
    engine.docker("create", "--name", "made", "busybox", "true")
    return ["start", "-a", "made"]


def make_volume(_engine: Engine, _folder: Path) -> list[str]:
    return ["volume", "create", "made"]


OPERATIONS: dict[str, tuple[Callable[[Engine, Path], list[str]], bool]] = {
    # name: (its preparation and command, whether it must fail with the least room)
    "import": (import_, True),
    "load": (load, True),
    "commit": (commit, True),
    "cp": (copy, True),
    "create": (create, False),
    "start": (start, False),
    "volume": (make_volume, False),
}


def clear(engine: Engine) -> None:
    engine.remove_containers()
    engine.cli("rmi", "-f", "large:1")
    engine.cli("volume", "prune", "-af")


def assert_sound(engine: Engine) -> None:
    """Nothing is damaged, nothing is left over, and the engine works."""
    done = engine.cli("system", "check", "--deep", program=BARQUE)
    assert done.returncode == 0, done.stdout
    wait_until(lambda: not os.listdir(engine.data_root / "trash"), "the trash is empty")
    assert os.listdir(engine.data_root / "content/ingest") == []
    assert engine.docker("run", "--rm", "busybox", "echo", "works") == "works"


@pytest.mark.parametrize("room", ROOM)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_full_disk(engine: Engine, tmp_path: Path, name: str, room: int) -> None:
    prepare, must_fail = OPERATIONS[name]
    command = prepare(engine, tmp_path)
    images = engine.docker("images", "-aq")
    with filled(engine, room):
        done = engine.cli(*command)
        if done.returncode:
            text = done.stderr + done.stdout
            assert "no space left on device" in text or "database or disk is full" in text
            assert "free some space" in text
        assert engine.docker("ps", "-a")
        if done.returncode:
            assert engine.docker("images", "-aq") == images
    if must_fail and room == ROOM[0]:
        assert done.returncode, f"{name} needs no room"
    try:
        if done.returncode:
            assert_sound(engine)
            engine.docker(*command)
        assert_sound(engine)
    finally:
        clear(engine)


@pytest.mark.parametrize("room", ROOM)
def test_a_pull_onto_a_full_disk(engine: Engine, tmp_path: Path, room: int) -> None:
    with run_own(tmp_path / "registry") as address:
        engine.cli("load", stdin=ARCHIVE)
        name = f"{address}/large:1"
        engine.docker("tag", "large:1", name)
        engine.docker("push", name)
        engine.docker("rmi", name, "large:1")
        with filled(engine, room):
            done = engine.cli("pull", name)
            assert done.returncode
            assert "no space left on device" in done.stderr or "disk is full" in done.stderr
            assert "free some space" in done.stderr
            assert "large" not in engine.docker("images")
        assert_sound(engine)
        engine.docker("pull", name)
        assert_sound(engine)
        engine.docker("rmi", name)


def test_removal_works_on_a_full_disk(engine: Engine) -> None:
    engine.cli("load", stdin=ARCHIVE)
    engine.docker("create", "--name", "made", "-v", "made:/data", "busybox")
    with filled(engine, 0):
        for command in (("rm", "made"), ("volume", "rm", "made"), ("rmi", "large:1")):
            engine.docker(*command)
        wait_until(lambda: not os.listdir(engine.data_root / "trash"), "the trash is empty")
    assert_sound(engine)


def test_the_log_of_the_database_never_lacks_room(tmp_path: Path) -> None:
    """However often something is recorded, and whether or not somebody folds it meanwhile."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], check=True)
    try:
        database = Database(tmp_path / "barque.db")
        volumes = VolumeStore(database)
        snapshots = SnapshotTable(database, "overlay")
        database.checkpoint()  # as the engine does when it starts: the reserve is in the file now
        with suppress(OSError), (tmp_path / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        for number in range(1000):
            volumes.put(VolumeRecord(name="v", created="now", mountpoint=f"/{number}"))
            with snapshots.insert("key", "", "active") as row:
                pass
            snapshots.delete(row.number)
        assert [record.mountpoint for record in volumes.load()] == ["/999"]
        assert snapshots.list() == []
        database.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_the_engine_starts_on_a_full_disk(engine: Engine) -> None:
    engine.cli("load", stdin=ARCHIVE)
    engine.stop()
    with filled(engine, 0):
        engine.start()
        assert "large" in engine.docker("images")
        engine.docker("rmi", "large:1")
    assert_sound(engine)


def test_a_container_goes_on_while_its_log_cannot_be_written(engine: Engine) -> None:
    speak = (
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line$i; done; while :; do sleep 1; done"
    )
    engine.docker("create", "--name", "speaks", "busybox", "sh", "-c", speak)
    with filled(engine, 8 << 10):
        engine.docker("start", "speaks")
        wait_until(
            lambda: "sleep" in engine.docker("top", "speaks"), "it has said all that it has to say"
        )
    assert engine.docker("inspect", "-f", "{{.State.Status}}", "speaks") == "running"
    kept = engine.docker("logs", "speaks").splitlines()
    assert all(line.startswith("line") for line in kept)
    assert len(kept) < 3000
    assert engine.docker("exec", "speaks", "sh", "-c", "echo still >/proc/1/fd/1") == ""
    wait_until(lambda: "still" in engine.docker("logs", "speaks"), "it is logged again")
    clear(engine)
