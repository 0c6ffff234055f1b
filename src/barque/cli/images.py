"""``images``, ``history``, ``tag``, ``rmi`` (Engine API: the image resource)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.listing import render, render_column
from barque.cli.rows.references import split_tag
from barque.client.errors import ApiError
from barque.client.http import encode_filters, quote_image
from barque.errors import BarqueError

_FORMAT = "Format output: 'table', 'json', a Go template"
_SUBCOMMANDS = frozenset(
    (
        "build",
        "history",
        "import",
        "inspect",
        "list",
        "load",
        "ls",
        "prune",
        "pull",
        "push",
        "rm",
        "save",
        "tag",
    )
)


def _ls(call: Invocation) -> int:
    from barque.cli.rows import images as rows_of  # noqa: PLC0415 - not for history, tag, rm

    flags = call.flags
    quiet, digests = flags["quiet"], flags["digests"]
    layout = flags["format"]
    if not layout and not quiet:
        layout = call.settings.config.get("imagesFormat", "")
    filters = list(flags["filter"])
    if call.args:
        filters.append(("reference", call.args[0]))
    images = call.client.get(
        "/images/json",
        query={"all": flags["all"] or None, "filters": encode_filters(filters)},
    )
    rows = rows_of.image_rows(
        images,
        truncate=not flags["no-trunc"],
        digests=digests,
        need_digest=digests or "{{.Digest}}" in layout,
    )
    default = rows_of.DEFAULT_WITH_DIGEST if digests else rows_of.DEFAULT
    if layout in ("", "table") and quiet:
        sys.stdout.write(render_column(rows_of.IMAGES, rows, "ID"))
        return 0
    if layout == "raw":
        layout = rows_of.RAW_WITH_DIGEST if digests else rows_of.RAW
        layout = "image_id: {{.ID}}" if quiet else layout
    elif (
        layout.startswith("table") and layout != "table" and digests and "{{.Digest}}" not in layout
    ):
        layout += "\t{{.Digest}}"
    sys.stdout.write(render(rows_of.IMAGES, rows, layout, default))
    if call.name == "images" and call.args and not images and call.args[0] in _SUBCOMMANDS:
        sys.stderr.write(
            f'No images found matching "{call.args[0]}": '
            f'did you mean "barque image {call.args[0]}"?\n'
        )
    return 0


def _history(call: Invocation) -> int:
    from barque.cli.rows import history as rows_of  # noqa: PLC0415 - not for ls, tag, rm

    flags = call.flags
    query = {"platform": parse_platform(flags["platform"])}
    items = call.client.get(f"/images/{quote_image(call.args[0])}/history", query=query)
    rows = [
        rows_of.HistoryRow(item, truncate=not flags["no-trunc"], human=flags["human"])
        for item in items
    ]
    layout = flags["format"]
    if flags["quiet"] and layout in ("", "table"):
        sys.stdout.write(render_column(rows_of.HISTORY, rows, "ID"))
        return 0
    default = rows_of.DEFAULT if flags["human"] else rows_of.DEFAULT_NOT_HUMAN
    sys.stdout.write(render(rows_of.HISTORY, rows, layout, default))
    return 0


def parse_platform(text: str) -> dict[str, str] | None:
    """``os[/arch[/variant]]`` as the API's JSON object; None if not given."""
    if not text:
        return None
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _tag(call: Invocation) -> int:
    source, target = call.args
    repository, tag = split_tag(target)
    call.client.post(
        f"/images/{quote_image(source)}/tag", query={"repo": repository, "tag": tag or "latest"}
    )
    return 0


def _rm(call: Invocation) -> int:
    flags = call.flags
    query = {
        "force": flags["force"] or None,
        "noprune": flags["no-prune"] or None,
        "platforms": [parse_platform(each) for each in flags["platform"]],
    }
    errors: list[str] = []
    fatal = False
    for name in call.args:
        try:
            deleted = call.client.delete(f"/images/{quote_image(name)}", query=query)
        except BarqueError as error:
            fatal = fatal or not (isinstance(error, ApiError) and error.status == 404)
            errors.append(str(error))
            continue
        for item in deleted or ():
            verb = "Untagged" if "Untagged" in item else "Deleted"
            sys.stdout.write(f"{verb}: {item[verb]}\n")
    if errors and (fatal or not flags["force"]):
        raise CommandError("\n".join(errors))
    sys.stderr.write("".join(f"{text}\n" for text in errors))
    return 0


LS = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    _ls,
    maximum=1,
    flags=(
        Flag(
            "all",
            "bool",
            "Show all images (default hides intermediate images)",
            short="a",
        ),
        Flag("digests", "bool", "Show digests"),
        Flag("filter", "filter", "Filter output based on conditions provided", short="f"),
        Flag("format", "string", _FORMAT),
        Flag("no-trunc", "bool", "Don't truncate output"),
        Flag("quiet", "bool", "Only show image IDs", short="q"),
    ),
)

HISTORY = Command(
    "[OPTIONS] IMAGE",
    _history,
    minimum=1,
    maximum=1,
    flags=(
        Flag("format", "string", _FORMAT),
        Flag(
            "human",
            "bool",
            "Print sizes and dates in human readable format",
            short="H",
            default=True,
        ),
        Flag("no-trunc", "bool", "Don't truncate output"),
        Flag("platform", "string", 'Show history for the given platform (e.g., "linux/amd64")'),
        Flag("quiet", "bool", "Only show image IDs", short="q"),
    ),
)

TAG = Command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", _tag, minimum=2, maximum=2)

RM = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _rm,
    minimum=1,
    flags=(
        Flag("force", "bool", "Force removal of the image", short="f"),
        Flag("no-prune", "bool", "Do not delete untagged parents"),
        Flag("platform", "strings", 'Remove only the given platform variant ("linux/amd64")'),
    ),
)
