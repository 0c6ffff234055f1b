"""``userns-remap``: whose subordinate ids containers get, as dockerd reads it.

Source: dockerd's parseRemappedRoot and setupRemappedRoot, for the texts; subuid(5), useradd(8),
usermod(8).
"""

from __future__ import annotations

import grp
import logging
import pwd
import shutil
import subprocess
from pathlib import Path

from barque.engine.subids import (
    SUBGID,
    SUBUID,
    Range,
    find_gap,
    map_ranges,
    ranges_of,
    read_ranges,
)
from barque.engine.userns import DEFAULT_SIZE
from barque.errors import FailedPrecondition, InvalidArgument
from barque.models.idmap import IdMap

_DEFAULT = "default"
_USER = "dockremap"
_ROOM = Range(100_000, (1 << 31) - 100_000)
_TIMEOUT_S = 30.0

_log = logging.getLogger("barque.daemon")


def load_remap(text: str, subuid: Path = SUBUID, subgid: Path = SUBGID) -> IdMap | None:
    """Return the mapping that ``user[:group]``, ``uid[:gid]`` or ``default`` means; None for "".

    ``default`` is the user dockremap, who is made if he is missing. Raises InvalidArgument,
    FailedPrecondition without subordinate ids.
    """
    if not text:
        return None
    user, group = _parse(text)
    if user.pw_name == "root":
        _log.warning("user namespaces: root cannot be remapped with itself; they are off")
        return None
    name, number = user.pw_name, str(user.pw_uid)
    uids = ranges_of(subuid, name, number)
    # subgid(5) goes by the user, older dockerds by the group.
    gids = ranges_of(subgid, name, number) or ranges_of(subgid, group)
    for kind, path, ranges in (("subuid", subuid, uids), ("subgid", subgid, gids)):
        if not ranges:
            raise FailedPrecondition(
                f'can\'t create ID mappings: no {kind} ranges found for user "{name}": add the '
                f"line {name}:{_find_free(path).start}:{DEFAULT_SIZE} to {path}"
            )
    return IdMap(uids=map_ranges(uids), gids=map_ranges(gids))


def _parse(text: str) -> tuple[pwd.struct_passwd, str]:
    """Return the user, and the name of the group."""
    parts = text.split(":")
    if len(parts) > 2 or not all(parts):
        raise InvalidArgument(f'invalid user/group specification in --userns-remap: "{text}"')
    user = _find_user(parts[0])
    if len(parts) == 2:
        return user, _find_group(parts[1], "groupname lookup")
    return user, _find_group(parts[0] if parts[0].isdecimal() else user.pw_name, "gid lookup")


def _find_user(name: str) -> pwd.struct_passwd:
    if name.isdecimal():
        try:
            return pwd.getpwuid(int(name))
        except KeyError:
            raise InvalidArgument(f"uid {name} has no entry in /etc/passwd") from None
    try:
        return pwd.getpwnam(_USER if name == _DEFAULT else name)
    except KeyError:
        if name == _DEFAULT:
            return _make_user()
        raise InvalidArgument(
            f'error during uid lookup for "{name}": no matching entries in passwd file'
        ) from None


def _find_group(name: str, doing: str) -> str:
    if name.isdecimal():
        try:
            return grp.getgrgid(int(name)).gr_name
        except KeyError:
            raise InvalidArgument(f"gid {name} has no entry in /etc/group") from None
    try:
        return grp.getgrnam(name).gr_name
    except KeyError:
        raise InvalidArgument(
            f'error during {doing} for "{name}": no matching entries in group file'
        ) from None


def _find_free(path: Path) -> Range:
    taken = [found for _, found in read_ranges(path)]
    return find_gap([_ROOM], taken, DEFAULT_SIZE) or _ROOM


def _make_user() -> pwd.struct_passwd:
    """Make the user dockremap, his group and his subordinate ids."""
    _log.info("user namespaces: making the user %s", _USER)
    _run("useradd", "--system", "--no-create-home", "--user-group", _USER)
    if not ranges_of(SUBUID, _USER):
        free = _find_free(SUBUID)
        _run("usermod", "--add-subuids", f"{free.start}-{free.end - 1}", _USER)
    if not ranges_of(SUBGID, _USER):
        free = _find_free(SUBGID)
        _run("usermod", "--add-subgids", f"{free.start}-{free.end - 1}", _USER)
    return pwd.getpwnam(_USER)


def _run(*command: str) -> None:
    doing = f'error during "{_USER}" user creation'
    if shutil.which(command[0]) is None:
        raise FailedPrecondition(
            f"{doing}: {command[0]} is not installed: make user and group {_USER} yourself, "
            f"and add the line {_USER}:{_find_free(SUBUID).start}:{DEFAULT_SIZE} to {SUBUID} and "
            f"{SUBGID}"
        )
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise FailedPrecondition(f"{doing}: {' '.join(command)}: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise FailedPrecondition(f"{doing}: {command[0]} took over {_TIMEOUT_S:.0f} s") from None
