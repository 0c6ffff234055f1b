"""A FUSE file system with an empty root that falls silent when it is told to.

What a network file system is like whose server goes away. Source: linux/fuse.h, fuse(4).
"""

from __future__ import annotations

import os
import select
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSYS
from pathlib import Path

from barque.kernel import mount as km

_IN = struct.Struct("=IIQQIIIHH")  # struct fuse_in_header
_OUT = struct.Struct("=IiQ")  # struct fuse_out_header
_INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
_ATTR_OUT = struct.Struct("=QII6Q10I")
_GETATTR, _INIT = 3, 26
_FORGETS = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET: nobody waits for an answer
_REQUEST_BYTES = 1 << 17


class SilentFileSystem:
    """Answers until ``silence`` is called. Use as ``silent_file_system`` gives it."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def silence(self) -> None:
        """Answer nothing from now on."""
        if self._thread.is_alive():
            os.write(self._woken, b"x")
            self._thread.join()
            os.close(self._wake)
            os.close(self._woken)

    def _serve(self) -> None:
        while self._wake not in select.select([self._device, self._wake], [], [])[0]:
            request = os.read(self._device, _REQUEST_BYTES)
            _length, opcode, unique, node, *_rest = _IN.unpack_from(request)
            if opcode in _FORGETS:
                continue
            error, body = 0, b""
            if opcode == _INIT:
                body = _INIT_OUT.pack(7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
            elif opcode == _GETATTR:
                times, owner = (0,) * 6, (0, 0)
                mode = stat.S_IFDIR | 0o755
                body = _ATTR_OUT.pack(
                    0, 0, 0, node, 0, 0, *times[:3], *times[:3], mode, 2, *owner, 0, 4096, 0
                )
            else:
                error = -ENOSYS
            os.write(self._device, _OUT.pack(_OUT.size + len(body), error, unique) + body)


@contextmanager
def silent_file_system(mount_point: Path) -> Iterator[SilentFileSystem]:
    """Have one mounted within the block; what still waits for it fails when the block is left."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        km.mount("silent", str(mount_point), "fuse", 0, options)
        served = SilentFileSystem(device)
        try:
            yield served
        finally:
            served.silence()
    finally:
        os.close(device)  # ends the connection: all that wait are told ENOTCONN
        subprocess.run(["umount", "-l", mount_point], check=False)
