from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.engine.names import (
    ADJECTIVES,
    SURNAMES,
    generate_id,
    generate_name,
    validate_container_name,
    validate_volume_name,
)
from barque.errors import InvalidArgument


def test_generated_names_follow_the_rule() -> None:
    for _ in range(500):
        name = generate_name(lambda _: False, "last")
        adjective, surname = name.split("_")
        assert adjective in ADJECTIVES
        assert surname in SURNAMES
        assert validate_container_name(name) == name
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(SURNAMES)) == len(SURNAMES)


def test_clashes_get_a_digit_and_then_the_id() -> None:
    asked: list[str] = []

    def taken(name: str) -> bool:
        asked.append(name)
        return True

    assert generate_name(taken, "0123456789ab") == "0123456789ab"
    assert asked[0][-1].isalpha()
    assert all(name[-1].isdecimal() for name in asked[1:])


def test_steve_wozniak_is_not_boring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barque.engine.names.ADJECTIVES", ("boring",))
    monkeypatch.setattr("barque.engine.names.SURNAMES", ("wozniak",))
    assert generate_name(lambda _: False, "last") == "last"


@pytest.mark.parametrize("name", ["a", "/a", "", "-ab", "a b", "a/b", "_ab", "äb", "ab\n"])
def test_bad_container_names(name: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        validate_container_name(name)


@given(st.from_regex(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+", fullmatch=True))
def test_good_container_names(name: str) -> None:
    assert validate_container_name(name) == name.removeprefix("/")


def test_volume_names() -> None:
    assert validate_volume_name("ab") == "ab"
    with pytest.raises(InvalidArgument, match="too short"):
        validate_volume_name("a")
    with pytest.raises(InvalidArgument, match="includes invalid characters"):
        validate_volume_name("../etc")


def test_ids() -> None:
    ids = {generate_id(lambda _: False) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(id_) == 64 and not id_[:12].isdecimal() for id_ in ids)
