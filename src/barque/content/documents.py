"""Reading JSON that anybody may have written: images, archives and registries bring it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from barque.errors import InvalidArgument

_T = TypeVar("_T")


def decode_document(content: bytes | str, kind: type[_T]) -> _T:
    """Read ``content`` as ``kind``.

    Raises InvalidArgument, which says why, for whatever is wrong with it: besides what msgspec
    calls an error also text that is not UTF-8, and brackets deeper than the stack.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidArgument(f"not understood: {error}") from error
    except RecursionError:
        raise InvalidArgument("not understood: it is nested too deeply") from None
