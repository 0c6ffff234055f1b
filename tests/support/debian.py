"""Root file systems with the machine's own Debian programs: nothing is downloaded.

A program is copied with its mode, its libraries (by ldd) and what it reads.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from support.rootfs import write_busybox_tar

PASSWORD = "secret"
_HASH = "$6$barque$fqa9g4elYH7uSiw8.eHIoCjvODBRdb1AiuP4NSGkCYkLrcNRiYDinQznnEzHlZXczu/T4SqztLzTyUWbpQXNt0"

ACCOUNTS = {
    "etc/passwd": (0o644, """\
root:x:0:0:root:/root:/bin/sh
_apt:x:42:65534::/:/bin/false
user:x:1000:1000::/tmp:/bin/sh
guest:x:1001:1001::/tmp:/bin/sh
"""),
    "etc/group": (0o644, """\
root:x:0:
tty:x:5:
sudo:x:27:user
shadow:x:42:
user:x:1000:
guest:x:1001:
nogroup:x:65534:
"""),
    "etc/shadow": (0o640, f"""\
root:{_HASH}:19000::::::
user:{_HASH}:19000::::::
guest:!:19000::::::
"""),
    "etc/nsswitch.conf": (0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"),
    "etc/sudoers": (0o440, "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n"),
}  # fmt: skip
"""Who there is: root and ``user`` with ``PASSWORD``, who may use sudo; ``guest``, who may not."""

PAM = ("/etc/pam.d", "/etc/pam.conf", "/etc/security", "/etc/login.defs", "/etc/environment",
       "/etc/default/locale")  # fmt: skip


def find_missing(paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that this machine does not have."""
    return [path for path in paths if not Path(path).exists()]


def write_debian_tar(
    target: Path, programs: Sequence[str], data: Sequence[str] = (),
    files: dict[str, tuple[int, str]] = ACCOUNTS, directories: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write BusyBox, ``programs`` with their libraries, and ``data`` (files, trees, plugins).

    ``files`` are mode and text by name. Libraries that the data need come along, too.
    """
    write_busybox_tar(target)
    loadable = [
        *programs,
        *(str(file) for path in data for file in sorted(Path(path).rglob("*.so"))),
    ]
    listed = subprocess.run(["ldd", *loadable], check=False, capture_output=True, text=True).stdout
    libraries = {w for w in listed.split() if w.startswith("/") and not w.endswith(":")}
    libraries |= {str(path) for path in Path("/lib").glob("*-linux-gnu*/libnss_files.so.2")}
    with tarfile.open(target, "a", dereference=True) as archive:
        for name in directories:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path in sorted({*libraries, *programs, *data}):
            if Path(path).exists():
                archive.add(path, path.lstrip("/"))
        for name, (mode, text) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(text.encode())
            entry.gid = 42 if name == "etc/shadow" else 0
            archive.addfile(entry, io.BytesIO(text.encode()))
    return target
