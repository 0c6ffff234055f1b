"""A block device of a file, for limits that need one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def losetup_is_here() -> bool:
    """Whether loop devices can be made here."""
    return shutil.which("losetup") is not None and Path("/dev/loop-control").exists()


@contextmanager
def open_loop_device(file: Path, size_bytes: int) -> Iterator[str]:
    """Make ``file`` and a loop device of it; gives the device's path, and removes both."""
    with file.open("wb") as content:
        content.write(b"\1" * size_bytes)  # no holes, which would be read without a device
    command = ["losetup", "--find", "--show", "--direct-io=off", str(file)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        file.unlink()
