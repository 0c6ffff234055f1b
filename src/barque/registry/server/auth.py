"""Who may use the registry: basic authentication against an htpasswd file.

Only bcrypt is taken (``htpasswd -B``): the other formats of Apache are too quick to guess.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from pathlib import Path

import bcrypt

from barque.errors import InvalidArgument
from barque.registry.server.errors import Refused

_KEPT = 256
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="barque"'}
_NOBODY = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))


class Passwords:
    """The users of an htpasswd file, read once."""

    def __init__(self, users: dict[str, bytes]) -> None:
        self._users = users
        self._right: dict[bytes, None] = {}
        self._slots = asyncio.Semaphore(2)

    async def check(self, authorization: str) -> None:
        """Let a request pass, or raise Refused. Passwords that were right are remembered."""
        key = hashlib.sha256(authorization.encode()).digest()
        if key in self._right:
            return
        if await self._verify(authorization):
            while len(self._right) >= _KEPT:
                del self._right[next(iter(self._right))]
            self._right[key] = None
            return
        raise Refused("UNAUTHORIZED", "authentication required", _CHALLENGE)

    async def _verify(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            pair = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        user, colon, password = pair.partition(b":")
        if not colon or b"\0" in password:
            return False
        # As long for a user who does not exist: who exists is not to be told by the clock.
        stored = self._users.get(user.decode("utf-8", "replace"), _NOBODY)
        async with self._slots:
            right = await asyncio.to_thread(bcrypt.checkpw, password[:72], stored)
        return right and stored is not _NOBODY


def read_htpasswd(path: Path) -> Passwords:
    """Read a file of ``user:hash`` lines. Raises InvalidArgument."""
    users = {}
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, stored = line.strip().partition(":")
        if not colon or not stored.startswith(("$2y$", "$2b$", "$2a$")):
            raise InvalidArgument(
                f"{path}, line {number}: not user:hash with bcrypt: make it with htpasswd -B"
            )
        users[user] = stored.encode()
    if not users:
        raise InvalidArgument(f"{path} names no user: nobody could log in")
    return Passwords(users)
