"""Which snapshotter an engine has: the one asked for, else the best that works where its data is.

Overlayfs does not work everywhere: not on another overlayfs, as the root of a container is one.
"""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from pathlib import Path

from barque.errors import FailedPrecondition, KernelError
from barque.kernel import mount as km
from barque.snapshots.btrfs import BtrfsSnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter

Driver = type[OverlaySnapshotter] | type[VfsSnapshotter] | type[BtrfsSnapshotter]

_DRIVERS: tuple[Driver, ...] = (OverlaySnapshotter, BtrfsSnapshotter, VfsSnapshotter)

_log = logging.getLogger("barque.snapshots")


def choose_snapshotter(asked: str, data_root: Path) -> Driver:
    """Return the class for ``asked`` (a driver's name), or for "" the best.

    That is the one whose snapshots ``data_root`` already has, else overlay, else whole copies,
    of which the log warns. Raises FailedPrecondition if it is overlay and does not work.
    """
    chosen = next((driver for driver in _DRIVERS if driver.driver == asked), None)
    if chosen is None:
        chosen = next((d for d in _DRIVERS if (data_root / "snapshots" / d.driver).is_dir()), None)
    if chosen not in {None, OverlaySnapshotter}:
        return chosen
    try:
        try_overlay(data_root)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        _log.warning("%s is full: it cannot be tried whether overlayfs works there", data_root)
        return OverlaySnapshotter
    except KernelError as error:
        advice = (
            f"overlayfs does not work in {data_root} ({error}): in a container, put a volume there "
            f"(docker run -v NAME:{data_root} …)"
        )
        if chosen is not None:
            raise FailedPrecondition(f"{advice}, or choose --storage-driver vfs") from None
        _log.warning("%s; until then every container gets a whole copy of its image (vfs)", advice)
        return VfsSnapshotter
    return OverlaySnapshotter


def try_overlay(directory: Path) -> None:
    """Make an overlay with its layers in ``directory``, seen by nobody. Raises KernelError."""
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=directory) as base:
        lower, upper, work = (f"{base}/{name}" for name in ("lower", "upper", "work"))
        for path in (lower, upper, work):
            os.mkdir(path)
        try:
            mount = km.new_overlay([lower], upper, work)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
            # Linux before 6.5 does not know layers one by one
            options = (f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}")
            mount = km.new_filesystem("overlay", options)
        os.close(mount)
