"""Overlayfs is tried where the snapshots will be. Needs root."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from barque.errors import FailedPrecondition
from barque.kernel import mount as km
from barque.snapshots.choice import choose_snapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from support.images import IS_ROOT, NEEDS_ROOT

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)


def test_the_best_where_it_works(tmp_path: Path) -> None:
    assert choose_snapshotter("", tmp_path) is OverlaySnapshotter
    assert choose_snapshotter("overlay", tmp_path) is OverlaySnapshotter
    assert list(tmp_path.iterdir()) == []


def test_what_was_asked_for_or_is_there_is_kept(tmp_path: Path) -> None:
    assert choose_snapshotter("vfs", tmp_path) is VfsSnapshotter
    (tmp_path / "snapshots/vfs").mkdir(parents=True)
    assert choose_snapshotter("", tmp_path) is VfsSnapshotter
    assert choose_snapshotter("overlay", tmp_path) is OverlaySnapshotter


def test_on_overlay_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, work):
        path.mkdir()
    mount = km.new_overlay([str(lower)], str(upper), str(work))  # nobody else sees it
    try:
        place = Path(f"/proc/self/fd/{mount}")
        with caplog.at_level(logging.WARNING):
            assert choose_snapshotter("", place) is VfsSnapshotter
        assert "put a volume there" in caplog.text
        with pytest.raises(FailedPrecondition, match="--storage-driver vfs"):
            choose_snapshotter("overlay", place)
        assert list(place.iterdir()) == []
    finally:
        os.close(mount)
