"""A root file system of one static busybox and its applets."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

from barque.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

_PIECE = 1 << 18
_PT_INTERP = 3
_INSTALL = "install it with: apt-get install busybox-static"
_TIMEOUT_S = 120

_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sbin": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
    "var/www": 0o755,
}

_USERS = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""

_GROUPS = """\
root:x:0:
daemon:x:1:
bin:x:2:
adm:x:4:
tty:x:5:
www-data:x:33:
users:x:100:
nogroup:x:65534:
"""

_FILES = {
    "etc/passwd": (0o644, _USERS),
    "etc/group": (0o644, _GROUPS),
    "etc/shadow": (0o640, "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"),
    "etc/os-release": (0o644, 'NAME="BusyBox"\nID=busybox\nPRETTY_NAME="BusyBox"\n'),
    "etc/nsswitch.conf": (0o644, "passwd: files\ngroup: files\nhosts: files dns\n"),
}


def is_static(path: Path) -> bool:
    """Whether a 64- or 32-bit ELF program needs no loader (source: elf(5))."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] != b"\x7fELF":
        return False
    wide = head[4] == 2
    order: Literal["little", "big"] = "little" if head[5] == 1 else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], order)

    start = number(32, 8) if wide else number(28, 4)
    size = number(54, 2) if wide else number(42, 2)
    count = number(56, 2) if wide else number(44, 2)
    return all(number(start + place * size, 4) != _PT_INTERP for place in range(count))


def find_busybox(scratch: Path) -> Path:
    """A static busybox: the installed one, else downloaded and unpacked into ``scratch``.

    Raises :class:`CommandError` that says what to install if there is no way to one.
    """
    for name in ("/bin/busybox", "/usr/bin/busybox"):
        path = Path(name)
        if path.is_file() and is_static(path):
            return path
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise CommandError(
                f"there is no static busybox in /bin and no {tool} to get one: "
                "install your distribution's busybox-static"
            )
    _run(["apt-get", "download", "busybox-static"], scratch)
    packages = list(scratch.glob("busybox-static_*.deb"))
    if not packages:
        raise CommandError(f"apt-get downloaded no busybox-static; {_INSTALL}")
    _run(["dpkg-deb", "-x", str(packages[0]), "unpacked"], scratch)
    for name in ("unpacked/bin/busybox", "unpacked/usr/bin/busybox"):
        if (scratch / name).is_file():
            return scratch / name
    raise CommandError(f"the package busybox-static holds no busybox; {_INSTALL}")


def _run(command: list[str], directory: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"{command[0]} did not finish in {_TIMEOUT_S} s; {_INSTALL}") from None
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise CommandError(f"{' '.join(command[:2])} failed: {said}\n{_INSTALL}")
    return done.stdout


def pack_rootfs() -> Iterator[bytes]:
    """The tar archive of the root file system, in pieces."""
    with tempfile.TemporaryDirectory(prefix="barque-busybox-") as name:
        busybox = find_busybox(Path(name))
        applets = _run([str(busybox), "--list"], Path(name)).split()
        archive = build_archive(busybox.read_bytes(), applets)
    for at in range(0, len(archive), _PIECE):
        yield archive[at : at + _PIECE]


def build_archive(program: bytes, applets: list[str]) -> bytes:
    """The archive: the program once, hard links for its applets, and the few files of /etc."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode in _DIRECTORIES.items():
            entry = _entry(name, tarfile.DIRTYPE, mode)
            tar.addfile(entry)
        _add_file(tar, "bin/busybox", 0o755, program)
        for applet in sorted(set(applets) - {"busybox"}):
            link = _entry(f"bin/{applet}", tarfile.LNKTYPE, 0o755)
            link.linkname = "bin/busybox"
            tar.addfile(link)
        env = _entry("usr/bin/env", tarfile.SYMTYPE, 0o777)  # where scripts look for it
        env.linkname = "../../bin/env"
        tar.addfile(env)
        for name, (mode, text) in _FILES.items():
            _add_file(tar, name, mode, text.encode())
    return buffer.getvalue()


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = stat.S_IMODE(mode)
    entry.uname = entry.gname = "root"
    return entry


def _add_file(tar: tarfile.TarFile, name: str, mode: int, content: bytes) -> None:
    entry = _entry(name, tarfile.REGTYPE, mode)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
