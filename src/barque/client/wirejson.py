"""JSON without the price of importing :mod:`json`.

``import json`` pulls in ``re`` and ``enum``: 5 ms, a third of the time of a whole
``barque ps``. The scanner and the encoder that do the work are in C (``_json``) and need
none of that; this module drives them directly, and falls back to :mod:`json` on an
interpreter that lacks them, and to report an error, which may be slow.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs more than decoding a hundred containers
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_BLANKS = " \t\r\n"


class _ScannerContext:
    """The attributes that the C scanner reads once, when it is made."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__


try:
    from _json import make_scanner as _make_scanner
except ImportError:  # an interpreter without the C accelerator
    from json import JSONDecoder

    _scan_once: Callable[[str, int], tuple[Any, int]] = JSONDecoder(strict=False).raw_decode
else:
    _scan_once = _make_scanner(_ScannerContext)  # type: ignore[arg-type] # any object with these


def decode(document: bytes | bytearray | str) -> Any:
    """The value of one JSON document; blanks around it are allowed.

    Raises ``ValueError`` if the text is not exactly one JSON value.
    """
    text = document if isinstance(document, str) else str(document, "utf-8", "replace")
    text = text.strip(_BLANKS)
    try:
        value, end = _scan_once(text, 0)
    except StopIteration as stop:
        raise ValueError(f"not a JSON value at character {stop.value}") from None
    except SystemError:  # it wanted json.JSONDecodeError, and json is not loaded
        return _decode_with_library(text)
    if end != len(text):
        raise ValueError(f"more text after the JSON value at character {end}")
    return value


def encode(value: Any) -> str:
    """Compact JSON with text left as it is: nothing is escaped but what JSON requires."""
    return "".join(_encode_parts(value))


def _decode_with_library(text: str) -> Any:
    import json  # noqa: PLC0415 - only to report an error

    return json.loads(text, strict=False)


def _encode_with_library(value: Any) -> list[str]:
    import json  # noqa: PLC0415 - only on an interpreter without the C encoder

    return [json.dumps(value, ensure_ascii=False, separators=(",", ":"))]


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


try:
    from _json import encode_basestring as _quote
    from _json import make_encoder as _make_encoder
except ImportError:
    _encode_parts: Callable[[Any], Any] = _encode_with_library
else:
    _chunks = _make_encoder(None, _refuse, _quote, None, ":", ",", False, False, True)

    def _encode_parts(value: Any) -> Any:
        return _chunks(value, 0)
