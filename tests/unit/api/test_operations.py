"""The table of operations, the router made of it, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from barque.api.errors import PageNotFound
from barque.api.operations import OPERATIONS, State, format_table
from barque.api.router import Router
from barque.api.server import make_handlers
from barque.api.tasks import Background
from barque.api.versions import NEWEST, split_version
from barque.errors import InvalidArgument
from support.api_engine import FakeEngine, FakeSettings

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"
LISTED = 108
"""Operations of the Engine API definition 1.56."""
UNLISTED = 6
OWN = 2


def test_the_table_is_complete_and_has_no_doubles() -> None:
    assert len(OPERATIONS) == LISTED + UNLISTED + OWN
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(op.method, op.path) for op in OPERATIONS}) == len(OPERATIONS)


def test_what_the_table_says_works_has_a_handler_and_nothing_else() -> None:
    handlers = make_handlers(FakeEngine(), FakeSettings(), Background())
    assert set(handlers) == {op.id for op in OPERATIONS if op.state is State.WORKS}


def test_the_page_shows_the_table() -> None:
    assert format_table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_operation_is_found_by_its_path(operation: object) -> None:
    router = Router(OPERATIONS)
    op = next(candidate for candidate in OPERATIONS if candidate == operation)
    names = ("abc",) if op.path.startswith("/containers") else ("abc", "a/b:1", "r:5/a/b")
    for name in names:
        path = op.path.replace("{id}", name).replace("{name}", name)
        found, got = router.find(op.method, path)
        assert found is op
        assert got == (name if "{" in op.path else "")


def test_awkward_paths() -> None:
    router = Router(OPERATIONS)
    assert router.find("GET", "/images/json/json")[1] == "json"
    assert router.find("DELETE", "/images/a/json")[1] == "a/json"
    assert router.find("GET", "/containers//c/json")[1] == "/c"
    for method, path in (
        ("GET", ""),
        ("GET", "*"),
        ("GET", "/"),
        ("GET", "/containers"),
        ("GET", "/containers/"),
        ("POST", "/_ping"),
        ("GET", "/containers//json"),
        ("PATCH", "/info"),
    ):
        with pytest.raises(PageNotFound):
            router.find(method, path)


def test_versions() -> None:
    assert split_version("/info") == (NEWEST, "/info")
    assert split_version("/v1.24/info") == (24, "/info")
    assert split_version("/volumes") == (NEWEST, "/volumes")
    assert split_version("/version") == (NEWEST, "/version")
    assert split_version("/v1.51") == (51, "/")
    for path in ("/v1.52/x", "/v1.23/x", "/v0.1/x", "/v./x", "/v2.0/x"):
        with pytest.raises(InvalidArgument):
            split_version(path)
