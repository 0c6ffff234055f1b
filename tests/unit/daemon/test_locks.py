"""The directories of an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from barque.daemon.locks import hold_directories
from barque.errors import FailedPrecondition


def test_directories_are_closed_to_others_also_if_they_were_there(tmp_path: Path) -> None:
    """An image's set-user-ID programs lie below them."""
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir(mode=0o755)
    with hold_directories(data, run):
        assert [path.stat().st_mode & 0o777 for path in (data, run)] == [0o700, 0o700]


def test_one_engine_to_a_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        hold_directories(data, tmp_path / "run"),
        pytest.raises(FailedPrecondition, match="another engine"),
        hold_directories(data, tmp_path / "other"),
    ):
        pass
