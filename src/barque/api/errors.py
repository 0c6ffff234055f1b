"""Errors to HTTP status, once.

Source: Engine API, error responses: ``{"message": text}`` with the status of the class.
"""

from __future__ import annotations

from barque.engine.shims import StartFailure
from barque.errors import (
    AlreadyExists,
    BarqueError,
    Conflict,
    InvalidArgument,
    NotFound,
    NotImplementedHere,
    NotModified,
    PermissionDenied,
    Unavailable,
    explain_system,
)

_STATUS: tuple[tuple[type[BarqueError], int], ...] = (
    (NotModified, 304),
    (InvalidArgument, 400),
    (PermissionDenied, 403),
    (NotFound, 404),
    (AlreadyExists, 409),
    (Conflict, 409),
    (NotImplementedHere, 501),
    (Unavailable, 503),
)

_EXIT_CODES_OF_A_BAD_COMMAND = (126, 127)
"""Not executable, not found: the request named a command that cannot run, so it is a 400."""


class PayloadTooLarge(BarqueError):
    """The request body exceeds what the operation takes (HTTP 413)."""


class PageNotFound(BarqueError):
    """No operation has this method and path (HTTP 404)."""

    def __init__(self) -> None:
        super().__init__("page not found")


def explain(error: Exception) -> BarqueError | None:
    """Return ``error`` in the vocabulary; None for what is a defect of ours.

    A system call that nothing in between has explained tells most often of a full disk.
    """
    if isinstance(error, BarqueError):
        return error
    if isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.errno:
        return explain_system(error)
    return None


def get_status(error: BarqueError) -> int:
    """Return the HTTP status of ``error``; 500 for everything without a status of its own.

    A start that failed because of the command itself (exit code 126 or 127) is the
    client's mistake: 400, as dockerd answers.
    """
    if isinstance(error, PageNotFound):
        return 404
    if isinstance(error, PayloadTooLarge):
        return 413
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    if isinstance(error, StartFailure) and error.exit_code in _EXIT_CODES_OF_A_BAD_COMMAND:
        return 400
    return 500
