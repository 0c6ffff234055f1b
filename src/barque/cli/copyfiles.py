"""Files of this machine as tar streams, and tar streams as files: for ``cp``.

Source: docker's rules for ``cp`` (docs, "docker container cp"): what a name in the archive
becomes depends on whether source and target are directories, and on a trailing slash or dot.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile

from barque.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO


_PIECE = 1 << 18
_BLOCK = tarfile.BLOCKSIZE


class Side:
    """One end of a copy: a path, and what is there."""

    def __init__(self, path: str, *, exists: bool, is_directory: bool, name: str = "") -> None:
        self.path = path
        self.exists = exists
        self.is_directory = is_directory
        self.name = name or split_entry(path)[1]
        """What the archive calls it."""

    @property
    def must_be_directory(self) -> bool:
        """Whether the path itself says so."""
        return self.path.endswith(("/", "/.")) or self.path == "."


def split_entry(path: str) -> tuple[str, str]:
    """Return the directory of a path and its last name; ``.`` for what ends in ``/.``."""
    if path == "." or path.endswith("/."):
        return path[:-1] or ".", "."
    bare = path.rstrip("/") or "/"
    return os.path.dirname(bare) or ".", os.path.basename(bare) or "/"


def plan_copy(source: Side, target: Side) -> tuple[str, str]:
    """Return the directory to unpack in, and the name that ``source.name`` gets there.

    Raises CommandError in docker's words.
    """
    directory, base = split_entry(target.path)
    if target.exists and target.is_directory:
        return target.path, source.name
    if target.exists and source.is_directory:
        raise CommandError("cannot copy directory")
    if target.exists and target.must_be_directory:
        raise CommandError("not a directory")
    if not target.exists and not source.is_directory and target.must_be_directory:
        raise CommandError("no such directory")
    return directory, base


def rename(name: str, old: str, new: str) -> str:
    """Return an archive's name with its beginning ``old`` replaced by ``new``."""
    if old == new:
        return name
    if old == "/":
        return f"{new}/{name.lstrip('/')}".rstrip("/")
    if name in (old, old + "/"):
        return new
    return new + name[len(old) :] if name.startswith(old + "/") else name


def look_at_source(path: str, *, follow: bool) -> Side:
    """Describe a source on this machine. Raises CommandError."""
    name = split_entry(os.path.abspath(path))[1]
    if path == "." or path.endswith("/."):
        name = "."
    try:
        status = os.stat(path) if follow or path.endswith(("/", "/.")) else os.lstat(path)
    except OSError as error:
        raise CommandError(f"lstat {path}: {(error.strerror or '').lower()}") from None
    is_directory = stat.S_ISDIR(status.st_mode)
    if path.endswith("/") and not is_directory:
        raise CommandError("not a directory")
    real = os.path.realpath(path) if follow else path
    return Side(real, exists=True, is_directory=is_directory, name=name)


def look_at_target(path: str) -> Side:
    """Describe a target on this machine; links are followed. Raises CommandError."""
    real = os.path.realpath(path) + ("/" if path.endswith(("/", "/.")) else "")
    if os.path.exists(real.rstrip("/") or "/"):
        return Side(real, exists=True, is_directory=os.path.isdir(real))
    parent = split_entry(real)[0]
    if not os.path.isdir(parent):
        raise CommandError(f"lstat {parent}: no such file or directory")
    return Side(real, exists=False, is_directory=False)


def pack(source: Side, name: str) -> Iterator[bytes]:
    """Give an archive of ``source``, which is called ``name`` in it."""
    top = source.path.rstrip("/") or "/"
    # Of this archive only its memory of hard links is used.
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as archive:
        yield from _pack(archive, top, name)
        if source.is_directory:
            for directory, folders, files in os.walk(top):
                folders.sort()
                for entry in sorted([*folders, *files]):
                    path = os.path.join(directory, entry)
                    yield from _pack(archive, path, f"{name}/{os.path.relpath(path, top)}")
    yield bytes(2 * _BLOCK)


def _pack(archive: tarfile.TarFile, path: str, name: str) -> Iterator[bytes]:
    try:
        info = archive.gettarinfo(path, name)
        if info is None:
            return  # a socket
        info.name = name + ("/" if info.isdir() else "")
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if not info.isreg():
            return
        left = info.size
        with open(path, "rb") as file:
            while left:
                data = file.read(min(left, _PIECE)) or bytes(min(left, _PIECE))
                left -= len(data)
                yield data
    except OSError as error:
        raise CommandError(f"{path}: {(error.strerror or '').lower()}") from error
    yield bytes(-info.size % _BLOCK)


def unpack(stream: IO[bytes], directory: str, old: str, new: str) -> None:
    """Unpack an archive in ``directory``, ``old`` at the beginning of a name becoming ``new``.

    Files belong to who calls this. Raises CommandError.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            members = _rename_all(archive, directory, old, new)
            archive.extractall(directory, members, filter=_accept)  # noqa: S202 see _accept
    except (OSError, tarfile.TarError) as error:
        raise CommandError(f"cannot copy to {directory}: {error}") from error


def _rename_all(
    archive: tarfile.TarFile, directory: str, old: str, new: str
) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        member.name = rename(member.name, old, new)
        if member.islnk():
            member.linkname = rename(member.linkname, old, new)
        path = os.path.join(directory, member.name.lstrip("/"))
        if member.issym():
            _check_link(path, member.linkname, directory)
        _make_room(path, member)
        yield member


def _check_link(path: str, target: str, directory: str) -> None:
    """Refuse a link that climbs out of the directory; as docker, an absolute one does not."""
    place = os.path.normpath(os.path.join(os.path.dirname(path), target.lstrip("/")))
    if not f"{place}/".startswith(directory.rstrip("/") + "/"):
        raise CommandError(f'invalid symlink "{path}" -> "{target}"')


def _make_room(path: str, member: tarfile.TarInfo) -> None:
    """Take away what is replaced; a directory is never replaced by a file, nor a file by one."""
    try:
        status = os.lstat(path)
    except OSError:
        return
    is_directory = stat.S_ISDIR(status.st_mode)
    if is_directory and not member.isdir():
        raise CommandError(
            f'cannot overwrite directory "{path}" with non-directory "{member.name}"'
        )
    if member.isdir() and not is_directory:
        raise CommandError(
            f'cannot overwrite non-directory "{path}" with directory "{member.name}"'
        )
    if not is_directory:
        os.unlink(path)


def _accept(member: tarfile.TarInfo, directory: str) -> tarfile.TarInfo:
    """Refuse what leads out of the directory; keep the mode, not the owner."""
    checked = tarfile.tar_filter(member, directory).replace(mode=member.mode, deep=False)
    for field in ("uid", "gid", "uname", "gname"):
        setattr(checked, field, None)
    return checked
