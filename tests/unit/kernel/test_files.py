"""What file systems are asked that Python's os module cannot ask."""

from __future__ import annotations

import os
from pathlib import Path

from barque.kernel.files import find_filesystem, get_file_system_type, try_spread


def test_file_systems_are_known_by_number() -> None:
    fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert get_file_system_type(fd) == 0x9FA0
    finally:
        os.close(fd)


def test_file_systems_are_known_by_name() -> None:
    assert find_filesystem("/proc/self") == "proc"


def test_spreading_is_a_wish(tmp_path: Path) -> None:
    for path, possible in ((tmp_path, None), (Path("/proc"), False)):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            first = try_spread(fd)
            assert try_spread(fd) == first, "asking again changes nothing"
            assert possible is None or first == possible
        finally:
            os.close(fd)
