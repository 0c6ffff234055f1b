"""``ps``: list containers (Engine API: ContainerList)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, Flag, Invocation
from barque.cli.listing import render, render_column
from barque.cli.rows.containers import CONTAINERS, DEFAULT, RAW, ContainerRow
from barque.client.http import encode_filters

IGNORED_FORMAT = "WARNING: Ignoring custom format, because both --format and --quiet are set.\n"


def _ls(call: Invocation) -> int:
    flags = call.flags
    quiet = flags["quiet"]
    layout = flags["format"]
    if not layout:
        layout = call.settings.config.get("psFormat", "")
    elif quiet:
        sys.stderr.write(IGNORED_FORMAT)
    size = flags["size"]
    if layout and layout not in ("table", "json", "raw"):
        # Sizes cost the engine time: they are asked for only if the template shows them.
        from barque.cli.list_template import find_used_columns  # noqa: PLC0415 - templates only

        used = find_used_columns(CONTAINERS, ContainerRow({}, truncate=True), layout)
        if "Size" in used and not quiet and not flags.changed("size"):
            size = True
    limit = flags["last"]
    if flags["latest"] and limit == -1:
        limit = 1
    query = {
        "all": flags["all"] or None,
        "limit": limit if limit > 0 else None,
        "size": size or None,
        "filters": encode_filters(flags["filter"]),
    }
    truncate = not flags["no-trunc"]
    rows = [
        ContainerRow(summary, truncate=truncate)
        for summary in call.client.get("/containers/json", query=query)
    ]
    if layout == "raw":
        layout = "container_id: {{.ID}}" if quiet else RAW + ("size: {{.Size}}\n" if size else "")
    elif quiet:
        sys.stdout.write(render_column(CONTAINERS, rows, "ID"))
        return 0
    sys.stdout.write(render(CONTAINERS, rows, layout, (*DEFAULT, "Size") if size else DEFAULT))
    return 0


LS = Command(
    "[OPTIONS]",
    _ls,
    maximum=0,
    flags=(
        Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
        Flag("filter", "filter", "Filter output based on conditions provided", short="f"),
        Flag("format", "string", "Format output: 'table', 'json', a Go template"),
        Flag(
            "last",
            "int",
            "Show n last created containers (includes all states)",
            short="n",
            default=-1,
        ),
        Flag(
            "latest",
            "bool",
            "Show the latest created container (includes all states)",
            short="l",
        ),
        Flag("no-trunc", "bool", "Don't truncate output"),
        Flag("quiet", "bool", "Only display container IDs", short="q"),
        Flag("size", "bool", "Display total file sizes", short="s"),
    ),
)
