"""Root file systems that tests import as images.

BusyBox comes from the machine's own package ``busybox-static``. Other distributions are
looked for in the folder that ``BARQUE_TEST_IMAGES`` names.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
SYSTEMD = Path("/lib/systemd/systemd")
_SYSTEMD_PROGRAMS = (
    str(SYSTEMD),
    "/lib/systemd/systemd-cgroups-agent",
    "/lib/systemd/systemd-executor",
    "/lib/systemd/systemd-journald",
    "/lib/systemd/systemd-shutdown",
    "/bin/systemctl",
)

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "nobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwheel:x:10:root\nnogroup:x:65534:\n",
    "etc/os-release": 'NAME="BusyBox"\nID=busybox\nPRETTY_NAME="BusyBox test image"\n',
}
_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
}


def busybox_is_here() -> bool:
    """Whether the machine has a BusyBox to make an image of."""
    return BUSYBOX.exists()


def write_busybox_tar(target: Path) -> Path:
    """Write a BusyBox root file system as a tar archive to ``target`` and return it."""
    applets = subprocess.run(
        [BUSYBOX, "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    with tarfile.open(target, "w") as archive:
        for name, mode in _DIRECTORIES.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = mode
            archive.addfile(entry)
        for name, text in _FILES.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        binary = BUSYBOX.read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode = 0o755
        entry.size = len(binary)
        archive.addfile(entry, io.BytesIO(binary))
        for applet in applets:
            if applet == "busybox":
                continue
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type = tarfile.SYMTYPE
            entry.linkname = "busybox"
            archive.addfile(entry)
    return target


def systemd_is_here() -> bool:
    """Whether the machine has a systemd to make an image of."""
    return SYSTEMD.exists() and busybox_is_here()


def write_systemd_tar(target: Path) -> Path:
    """Write a small system with systemd as init to ``target``: BusyBox, systemd, its libraries."""
    write_busybox_tar(target)
    programs = [path for path in map(Path, _SYSTEMD_PROGRAMS) if path.exists()]
    listed = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    libraries = {Path(word) for word in listed.split() if word.startswith("/") and ":" not in word}
    with tarfile.open(target, "a", dereference=True) as archive:
        for path in sorted({*programs, *libraries, Path("/lib/systemd/system")}):
            archive.add(path, str(path).lstrip("/"))
        archive.addfile(tarfile.TarInfo("etc/machine-id"))
        init = tarfile.TarInfo("sbin/init")
        init.type, init.linkname = tarfile.SYMTYPE, str(SYSTEMD)
        archive.addfile(init)
    return target


def find_distribution(name: str) -> Path | None:
    """Return the archive ``NAME-rootfs.tar.gz`` of ``BARQUE_TEST_IMAGES``, or None."""
    folder = os.environ.get("BARQUE_TEST_IMAGES")
    if not folder:
        return None
    path = Path(folder) / f"{name}-rootfs.tar.gz"
    return path if path.exists() else None


def write_docker_archive(rootfs: Path, target: Path, tag: str) -> Path:
    """Write ``rootfs`` (a plain tar) as an archive of ``docker save`` with the one ``tag``."""
    layer = rootfs.read_bytes()
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "tests"}],
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer/layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        for path, content in (
            ("layer/layer.tar", layer),
            (name, config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target
