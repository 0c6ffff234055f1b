"""A file system of the measurements' own: a new ext4, as an installer makes it.

What an old one has been through shows in every row that writes files: where it is fragmented,
or (ext4 without a journal, as machines that boot from an image often have) while it looks for
an inode that was not freed in the last minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_BYTES = 24 << 30


@contextmanager
def open_disk() -> Iterator[None]:
    """Keep temporary files, engines' roots among them, on a new ext4 while in the block.

    It is kept in a sparse file. Where that cannot be mounted, say so and use what is there.
    """
    room = Path(tempfile.mkdtemp(prefix="bench-"))
    before = tempfile.tempdir
    image, mount_point = room / "ext4", room / "m"
    mount_point.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        try:
            _run("mkfs.ext4", "-q", str(image))
            _run("mount", "-o", "loop", str(image), str(mount_point))
        except (FileNotFoundError, RuntimeError) as error:
            sys.stderr.write(f"measuring on the file system of {room}: {error}\n")
            yield
            return
        tempfile.tempdir = str(mount_point)
        try:
            yield
        finally:
            tempfile.tempdir = before
            _run("umount", str(mount_point))
    finally:
        shutil.rmtree(room)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
