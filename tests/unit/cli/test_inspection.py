from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cli.inspection import Inspection, indent_json
from barque.cli.shapes import typed, zero
from barque.cli.template.gojson import encode
from barque.errors import InvalidArgument
from support.fake_documents import CONTAINER, IMAGE, INFO, NETWORKS

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_JSON)
def test_indentation_is_that_of_the_library(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert indent_json(text) == json.dumps(value, indent=4, ensure_ascii=False)
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert indent_json(text, compact=True) == compact


@given(_JSON)
def test_go_json_is_json(value: Any) -> None:
    assert json.loads(encode(value)) == value
    assert json.loads(encode(value, html=True)) == value


def test_spelling_of_numbers_and_strings_is_kept() -> None:
    assert (
        indent_json('[1.0e5, "\\u003c\\"", 10.50]')
        == '[\n    1.0e5,\n    "\\u003c\\"",\n    10.50\n]'
    )


def test_nothing_found_is_an_empty_list_or_a_blank_line() -> None:
    assert Inspection("").finish() == "[]\n"
    assert Inspection("json").finish() == "[]\n"
    assert Inspection("{{.Id}}").finish() == "\n"


def test_several_objects_make_one_list() -> None:
    inspection = Inspection("json")
    inspection.add(b'{"a": 1}\n', "")
    inspection.add(b'{"b": 2}', "")
    assert inspection.finish() == '[{"a":1},{"b":2}]\n'


def test_a_template_runs_over_the_type_and_then_over_the_json() -> None:
    inspection = Inspection("{{.ID}} {{.HostConfig.Binds}}")
    inspection.add(json.dumps(CONTAINER).encode(), "container.InspectResponse")
    assert inspection.finish() == f"{CONTAINER['Id']} []\n"
    inspection = Inspection("{{.Id}} {{.HostConfig.Binds}} {{.HostConfig.Memory}}")
    inspection.add(json.dumps(CONTAINER).encode(), "container.InspectResponse")
    assert inspection.finish() == f"{CONTAINER['Id']} <no value> 536870912\n"


def test_a_broken_template_is_refused_before_any_request() -> None:
    with pytest.raises(
        InvalidArgument, match=r"template parsing error: template: :1: unclosed action"
    ):
        Inspection("{{.Id")


@pytest.mark.parametrize(
    ("document", "go_type"),
    [
        (CONTAINER, "container.InspectResponse"),
        (IMAGE, "image.InspectResponse"),
        (NETWORKS[0], "network.Inspect"),
        (INFO, "system.Info"),
    ],
)
def test_types_give_the_document_back(document: dict[str, Any], go_type: str) -> None:
    again = json.loads(encode(typed(document, go_type)))
    for key, value in document.items():
        if key in again and not isinstance(value, dict):
            assert again[key] == value, key


def test_every_type_has_a_zero_value() -> None:
    for name in ("container.InspectResponse", "events.Message", "volume.Volume", "types.Version"):
        assert json.loads(encode(zero(name)))
