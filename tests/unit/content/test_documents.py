from __future__ import annotations

import msgspec
import pytest

from barque.content.documents import decode_document
from barque.errors import InvalidArgument


class Shape(msgspec.Struct):
    a: int = 0


def test_what_is_right_is_read() -> None:
    assert decode_document(b'{"a": 5, "b": [1]}', Shape).a == 5
    assert decode_document('{"a": null}', dict[str, object]) == {"a": None}


@pytest.mark.parametrize("kind", [Shape, dict[str, object], object])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not understood"),
        (b"{", "not understood"),
        (b'{"a": 1}}', "not understood"),
        (b'{"a\xff": 1, "a": "\xff"}', "not understood"),
        (b'{"a": "\\ud800"}', "not understood"),
        (b'{"b": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"b":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_says_why(kind: type[object], content: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        decode_document(content, kind)
