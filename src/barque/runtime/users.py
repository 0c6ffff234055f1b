"""Users and groups of an image, read by a bounded parser through descriptors.

No NSS, no ``pwd``: those would load libraries and files of the container. Source: passwd(5),
group(5), and docker's ``--user`` syntax.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from barque.errors import InvalidArgument, KernelError
from barque.models import oci
from barque.models.launch import UserNames

_LIMIT_BYTES = 4 << 20
_MAX_ID = 2**31 - 1


Opener = Callable[[str, int], int]
"""Opens a path inside the image with flags; the descriptor is the caller's."""


class Identity(NamedTuple):
    """Who a process runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class _Passwd(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _Group(NamedTuple):
    name: str
    gid: int
    members: frozenset[str]


def _records(text: str, fields: int) -> Iterable[list[str]]:
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) >= fields and parts[0] and not parts[0].startswith("#"):
            yield parts


def _is_number(text: str) -> bool:
    """Whether all of it is digits: those of ASCII, as others are none to anybody else."""
    return text.isascii() and text.isdecimal()


def _is_id(text: str) -> bool:
    """Whether it is a number that setresuid(2) takes for an id: -1 would mean no change."""
    return _is_number(text) and len(text) <= 10 and int(text) <= _MAX_ID


def _parse_passwd(text: str) -> list[_Passwd]:
    return [
        _Passwd(p[0], int(p[2]), int(p[3]), p[5] if len(p) > 5 else "")
        for p in _records(text, 4)
        if _is_id(p[2]) and _is_id(p[3])
    ]


def _parse_group(text: str) -> list[_Group]:
    return [
        _Group(p[0], int(p[2]), frozenset(p[3].split(",") if len(p) > 3 else ()))
        for p in _records(text, 3)
        if _is_id(p[2])
    ]


def read_bounded(open_path: Callable[[str, int], int], path: str) -> str:
    """The text of a file of the image, "" if it is not there.

    ``open_path(path, flags)`` opens inside the root. Raises InvalidArgument for something that
    is not a plain file or is larger than 4 MiB.
    """
    try:
        fd = open_path(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except KernelError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return ""
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidArgument(f"{path} of the image is not a file")
        chunks, total = [], 0
        while chunk := os.read(fd, 1 << 16):
            total += len(chunk)
            if total > _LIMIT_BYTES:
                raise InvalidArgument(f"{path} of the image is larger than 4 MiB")
            chunks.append(chunk)
    except OSError as error:
        raise KernelError("read", error.errno or 0, path) from None
    finally:
        os.close(fd)
    return b"".join(chunks).decode("utf-8", "surrogateescape")


def _number(text: str, what: str) -> int | None:
    """The id that ``text`` says, None where it is a name. Raises InvalidArgument."""
    if not _is_number(text):
        return None
    if not _is_id(text):
        raise InvalidArgument(f"{what} {text[:20]} is out of range: ids must be in 0-2147483647")
    return int(text)


def resolve(names: UserNames, open_path: Opener) -> Identity:
    """Turn names into numbers by the image's own files.

    A number is an id, also where the image has a user of that name (CVE-2016-3697): who asked for
    user 1000 shall not get an image's root. An unknown number is taken as it is (group 0); an
    unknown name raises InvalidArgument in docker's words.
    """
    passwd = _parse_passwd(read_bounded(open_path, "/etc/passwd"))
    groups = _parse_group(read_bounded(open_path, "/etc/group"))
    user, colon, group = names.user.partition(":")
    user = user or "0"
    number = _number(user, "user id")
    if number is None:
        entry = next((e for e in passwd if e.name == user), None)
    else:
        entry = next((e for e in passwd if e.uid == number), None)
    if entry is None and number is None:
        raise InvalidArgument(f"unable to find user {user}: no matching entries in passwd file")
    uid = entry.uid if entry else number or 0
    gid = entry.gid if entry else 0
    extra: list[int] = []
    if colon and group:
        gid = _group_id(group, groups)
    elif entry:
        extra = [g.gid for g in groups if entry.name in g.members]
    extra += [_group_id(name, groups) for name in names.groups]
    supplementary = tuple(dict.fromkeys([gid, *extra]))
    return Identity(uid, gid, supplementary, entry.home if entry else "")


def by_numbers(process: oci.Process, open_path: Callable[[str, int], int]) -> Identity:
    """The numbers of the spec; a home from the image's /etc/passwd where HOME is not set.

    Numbers need no such file: one that cannot be read gives no home.
    """
    user, home = process.user, ""
    if not any(entry.startswith("HOME=") and entry != "HOME=" for entry in process.env):
        try:
            passwd = _parse_passwd(read_bounded(open_path, "/etc/passwd"))
        except (InvalidArgument, KernelError):
            passwd = []
        home = next((entry.home for entry in passwd if entry.uid == user.uid), "")
    return Identity(user.uid, user.gid, (user.gid, *user.additional_gids), home)


def _group_id(name: str, groups: list[_Group]) -> int:
    number = _number(name, "group id")
    if number is not None:
        return number
    for group in groups:
        if group.name == name:
            return group.gid
    raise InvalidArgument(f"unable to find group {name}: no matching entries in group file")
