"""``search``: images of a registry (Engine API: ImageSearch)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, Flag, Invocation
from barque.cli.listing import Listing, ellipsis, render
from barque.cli.pull import registry_headers
from barque.client.http import encode_filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Result:
    __slots__ = ("item", "truncate")

    def __init__(self, item: dict[str, Any], *, truncate: bool) -> None:
        self.item = item
        self.truncate = truncate

    def description(self) -> str:
        text = " ".join(str(self.item.get("description", "")).split())
        return ellipsis(text, 45) if self.truncate else text


def _ok(key: str) -> Any:
    return lambda result: "[OK]" if result.item.get(key) else ""


_RESULTS = Listing(
    "*registry.searchContext",
    {
        "Description": ("DESCRIPTION", _Result.description),
        "IsAutomated": ("AUTOMATED", _ok("is_automated")),
        "IsOfficial": ("OFFICIAL", _ok("is_official")),
        "Name": ("NAME", lambda result: str(result.item.get("name", ""))),
        "StarCount": ("STARS", lambda result: str(result.item.get("star_count", 0))),
    },
)
_DEFAULT = ("Name", "Description", "StarCount", "IsOfficial")


def _search(call: Invocation) -> int:
    flags = call.flags
    answer = call.client.request(
        "GET",
        "/images/search",
        headers=registry_headers(call.settings.config, call.args[0]),
        query={
            "term": call.args[0],
            "limit": flags["limit"] or None,
            "filters": encode_filters(flags["filter"]),
        },
    )
    found = answer.json()
    rows = [_Result(item, truncate=not flags["no-trunc"]) for item in found or ()]
    sys.stdout.write(render(_RESULTS, rows, flags["format"], _DEFAULT))
    return 0


SEARCH = Command(
    "[OPTIONS] TERM",
    _search,
    minimum=1,
    maximum=1,
    flags=(
        Flag("filter", "filter", "Filter output based on conditions provided", short="f"),
        Flag("format", "string", "Pretty-print search using a Go template"),
        Flag("limit", "int", "Max number of search results"),
        Flag("no-trunc", "bool", "Don't truncate output"),
    ),
)
