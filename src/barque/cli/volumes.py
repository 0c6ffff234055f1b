"""``volume create|ls|rm`` (Engine API: the volume resource)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, Flag, Invocation, each
from barque.cli.listing import natural_key, render, render_column
from barque.client.errors import ApiError
from barque.client.http import encode_filters, quote_segment


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """``k=v`` and ``k`` (no value) as a mapping."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        labels[key] = value
    return labels


def _create(call: Invocation) -> int:
    flags = call.flags
    body = {
        "Name": call.args[0] if call.args else "",
        "Driver": flags["driver"],
        "DriverOpts": flags["opt"],
        "Labels": parse_labels(flags["label"]),
    }
    volume = call.client.post("/volumes/create", body=body)
    sys.stdout.write(volume["Name"] + "\n")
    return 0


def _ls(call: Invocation) -> int:
    from barque.cli.rows.volumes import DEFAULT, RAW, VOLUMES  # noqa: PLC0415 - not for others

    flags = call.flags
    layout = flags["format"]
    if not layout and not flags["quiet"]:
        layout = call.settings.config.get("volumesFormat", "")
    answer = call.client.get("/volumes", query={"filters": encode_filters(flags["filter"])})
    rows = sorted(answer.get("Volumes") or (), key=lambda volume: natural_key(volume["Name"]))
    if flags["quiet"] and layout in ("", "table"):
        sys.stdout.write(render_column(VOLUMES, rows, "Name"))
        return 0
    if layout == "raw":
        layout = "name: {{.Name}}" if flags["quiet"] else RAW
    sys.stdout.write(render(VOLUMES, rows, layout, DEFAULT))
    return 0


def _rm(call: Invocation) -> int:
    force = call.flags["force"]

    def remove(name: str) -> None:
        try:
            call.client.delete(f"/volumes/{quote_segment(name)}", query={"force": force or None})
        except ApiError as error:
            if not (force and error.status == 404):
                raise
        sys.stdout.write(name + "\n")

    return each(call.args, remove)


CREATE = Command(
    "[OPTIONS] [VOLUME]",
    _create,
    maximum=1,
    flags=(
        Flag("driver", "string", "Specify volume driver name", short="d", default="local"),
        Flag("label", "list", "Set metadata for a volume"),
        Flag("opt", "map", "Set driver specific options", short="o"),
    ),
)

LS = Command(
    "[OPTIONS]",
    _ls,
    maximum=0,
    flags=(
        Flag("filter", "filter", 'Provide filter values (e.g. "dangling=true")', short="f"),
        Flag("format", "string", "Format output: 'table', 'json', a Go template"),
        Flag("quiet", "bool", "Only display volume names", short="q"),
    ),
)

RM = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    _rm,
    minimum=1,
    description=(
        "Remove one or more volumes. You cannot remove a volume that is in use by a container."
    ),
    flags=(Flag("force", "bool", "Force the removal of one or more volumes", short="f"),),
)
