"""Refusals in the distribution-spec's words. Source: distribution-spec, "Error Codes"."""

from __future__ import annotations

from barque.errors import BarqueError

_STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 413,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNSUPPORTED": 405,
}


class Refused(BarqueError):
    """What was asked for is refused, with one of the spec's codes."""

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS[code]
        self.headers = headers or {}
