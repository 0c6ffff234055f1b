"""Mounts on a volume in which a neighbour swaps directories for links all the time.

What CVE-2021-30465 and CVE-2018-15664 were: between the look at a path and its use, a part of it
becomes a link that leads out. The neighbour exchanges by renameat2(RENAME_EXCHANGE), as fast as
the kernel lets it. Barque resolves once, inside the root, and goes on with descriptors; the same
starts with paths as strings put files on the host within a few tries.

A few hundred starts here; ``BARQUE_ATTACK_STARTS=10000`` for more.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from barque.engine.shims import StartFailure
from barque.models import oci
from support import sentinels
from support.rootfs import busybox_is_here, write_busybox_tar
from support.shims import Harness, make_root
from support.shims import run as run_with
from support.weakenings import start_spawner

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]

STARTS = int(os.environ.get("BARQUE_ATTACK_STARTS", "200"))
WEAK_STARTS = 300
_RENAME_EXCHANGE = 2
_PAUSE_S = 20e-6
"""Without it the kernel's lock of renames is what everybody waits for, and starts become rare."""


@contextmanager
def exchanging(directory: Path, first: str, second: str) -> Iterator[None]:
    """A process that exchanges two names in ``directory`` as long as the block runs."""
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            rename = ctypes.CDLL(None).renameat2
            names = first.encode(), second.encode()
            while True:
                rename(fd, names[0], fd, names[1], _RENAME_EXCHANGE)
                time.sleep(_PAUSE_S)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class Field:
    """A volume with a directory and a link that leads out, and the places to be protected."""

    def __init__(self, directory: Path) -> None:
        self.image = make_root(directory / "image", write_busybox_tar(directory / "root.tar"))
        self.volume = directory / "volume"
        self.outside = directory / "outside"
        for path in (self.volume, self.volume / "sub", self.outside):
            path.mkdir()
        (self.outside / "secret").write_text("untouched")
        (self.volume / "link").symlink_to(self.outside)
        (self.volume / "up").symlink_to("../../../../../../.." + str(self.outside))

    def mounts(self, number: int) -> list[oci.Mount]:
        """Binds and a tmpfs below what is being exchanged; places that are new each time."""
        return [
            oci.Mount(destination="/data", type="bind", source=str(self.volume), options=["rbind"]),
            oci.Mount(
                destination=f"/data/sub/{number}", type="tmpfs", source="tmpfs", options=["ro"]
            ),
            oci.Mount(
                destination=f"/data/sub/file{number}",
                type="bind",
                source="/dev/null",
                options=["bind"],
            ),
        ]

    async def start(self, h: Harness, number: int) -> bool:
        """Start once, with a working directory in there, too; whether it came up."""
        name = f"c{number}"
        launch = h.launch(name, ["true"], user="nobody")
        launch.spec.mounts = [*launch.spec.mounts, *self.mounts(number)]
        assert launch.spec.process is not None
        launch.spec.process.cwd = f"/data/sub/cwd{number}"
        try:
            await h.start(name, launch)
        except StartFailure:
            return False
        await h.exit(name)
        return True


def starts(
    field: Field, tmp_path: Path, link: str, count: int, *weak: str, stop_early: bool = False
) -> int:
    """Start ``count`` containers on a moving field; how many came up."""
    up = 0

    async def body(h: Harness) -> None:
        nonlocal up
        for number in range(count):
            up += await field.start(h, number)
            if stop_early and len(list(field.outside.iterdir())) > 1:
                return

    with exchanging(field.volume, "sub", link):
        run_with(body, tmp_path, field.image, partial(start_spawner, *weak))
    return up


@pytest.mark.parametrize("link", ["link", "up"])
def test_nothing_lands_outside(tmp_path: Path, link: str) -> None:
    field = Field(tmp_path)
    before = sentinels.look(field.outside, programs=False)
    up = starts(field, tmp_path, link, STARTS // 2)
    assert sentinels.look(field.outside, programs=False).changed(before) == []
    assert up > STARTS // 2 * 0.05, "nearly no start came up: nothing was shown"


def test_it_lands_outside_where_paths_are_strings(tmp_path: Path) -> None:
    field = Field(tmp_path)
    starts(field, tmp_path, "link", WEAK_STARTS, "paths are strings", stop_early=True)
    assert [path.name for path in field.outside.iterdir()] != ["secret"]


def test_links_into_the_root_change_no_owner_there(tmp_path: Path) -> None:
    """A working directory is made and given to the user: it, and not what took its place.

    There is no weakened build: the moment between both is a few microseconds long, and the
    fault (the path was opened a second time) was found by reading.
    """
    field = Field(tmp_path)
    (field.image / "etc/app").mkdir()
    (field.volume / "inside").symlink_to("/etc")
    owners: list[int] = []

    async def body(h: Harness) -> None:
        for number in range(STARTS // 4):
            await field.start(h, number)
            changed = h.directory / "snapshots" / f"c{number}" / "fs" / "etc"
            owners.extend(path.stat().st_uid for path in (changed,) if path.exists())

    with exchanging(field.volume, "sub", "inside"):
        run_with(body, tmp_path, field.image)
    assert set(owners) <= {0}
