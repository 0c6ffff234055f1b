"""What a registry answers instead of what was asked for.

Source: distribution-spec, "Error Codes"; the texts are those of docker's client, which
writes a code as ``manifest unknown`` before the registry's own message.
"""

from __future__ import annotations

import msgspec

from barque.content.documents import decode_document
from barque.errors import BarqueError, InvalidArgument

_SHOWN = 300
_CODES = {
    401: "unauthorized",
    403: "denied",
    404: "not found",
    429: "toomanyrequests",
}


class RegistryError(BarqueError):
    """A registry refused. ``code`` is the spec's, such as ``MANIFEST_UNKNOWN``, or ""."""

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def is_denied(self) -> bool:
        """Whether other credentials might have helped."""
        return self.status in {401, 403} or self.code in {"UNAUTHORIZED", "DENIED"}

    @property
    def is_missing(self) -> bool:
        """Whether the registry says that there is no such thing."""
        return self.status == 404


class Unreachable(BarqueError):
    """No answer came: the name, the connection, TLS, or a deadline failed."""


class Damaged(BarqueError):
    """What came is not what was announced: a digest, a size or a type is another."""


class _Entry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    errors: list[_Entry]


def parse_error(status: int, body: bytes) -> RegistryError:
    """Make the error of a reply's status and (bounded) body. Pure."""
    try:
        entries = decode_document(body, _Body).errors
    except InvalidArgument:
        entries = []
    if not entries:
        said = body.decode("utf-8", "replace").strip()[:_SHOWN]
        shown = _CODES.get(status, f"unexpected status {status}")
        return RegistryError(f"{shown}: {said}" if said else shown, status=status)
    first = entries[0]
    text = "; ".join(
        f"{entry.code.lower().replace('_', ' ')}: {entry.message[:_SHOWN]}" for entry in entries[:5]
    )
    return RegistryError(text, status=status, code=first.code)
