from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.client.wirejson import decode, encode

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_JSON)
def test_it_is_the_librarys_json(value: Any) -> None:
    assert decode(encode(value)) == value
    assert decode(json.dumps(value)) == value
    assert decode(f" {json.dumps(value, indent=1)}\r\n".encode()) == value
    assert json.loads(encode(value)) == value


@given(st.text(max_size=20))
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    try:
        expected = json.loads(text, strict=False)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - that is all it promises
            decode(text)
    else:
        assert repr(decode(text)) == repr(expected)


@pytest.mark.parametrize("text", ["", "{", "[1", '{"a":}', '"a', "[1] 2", "tru", "{'a': 1}"])
def test_broken_documents(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that is all it promises
        decode(text)


def test_what_has_no_json_form_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode([object()])
