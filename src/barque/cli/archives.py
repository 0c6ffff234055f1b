"""``import``, ``load`` and ``save``: images as tar archives."""

from __future__ import annotations

import os
import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.output import open_output
from barque.cli.progress import show_progress
from barque.cli.rows.references import split_tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 18


def read_pieces(fd: int) -> Iterator[bytes]:
    """What comes from a descriptor until its end."""
    while piece := os.read(fd, _PIECE):
        yield piece


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from None


def _import(call: Invocation) -> int:
    flags = call.flags
    source, *target = call.args
    repository, tag = split_tag(target[0]) if target else ("", "")
    remote = source.startswith(("http://", "https://"))
    query = {
        "fromSrc": source if remote else "-",
        "repo": repository or None,
        "tag": tag or None,
        "message": flags["message"] or None,
        "changes": flags["change"] or None,
        "platform": flags["platform"] or None,
    }
    fd = 0 if source == "-" else -1 if remote else _open(source)
    data = None if remote else read_pieces(fd)
    try:
        with call.client.request("POST", "/images/create", query=query, data=data) as answer:
            show_progress(answer.messages(), sys.stdout)
    finally:
        if fd > 0:
            os.close(fd)
    return 0


def _load(call: Invocation) -> int:
    flags = call.flags
    path = flags["input"]
    if not path and os.isatty(0):
        raise CommandError("requested load from stdin, but stdin is empty")
    query = {"quiet": flags["quiet"] or not sys.stdout.isatty(), "platform": None}
    if flags["platform"]:
        from barque.cli.images import parse_platform  # noqa: PLC0415 - rarely given

        query["platform"] = parse_platform(flags["platform"])
    fd = _open(path) if path else 0
    try:
        with call.client.request(
            "POST", "/images/load", query=query, data=read_pieces(fd)
        ) as answer:
            show_progress(answer.messages(), sys.stdout)
    finally:
        if fd:
            os.close(fd)
    return 0


def _save(call: Invocation) -> int:
    query: dict[str, object] = {"names": call.args}
    if call.flags["platform"]:
        from barque.cli.images import parse_platform  # noqa: PLC0415 - rarely given

        query["platform"] = parse_platform(call.flags["platform"])
    output = open_output(
        call.flags["output"],
        refusal="cowardly refusing to save to a terminal. Use the -o flag or redirect",
        failure="failed to save image",
    )
    with call.client.request("GET", "/images/get", query=query) as answer, output:
        for chunk in answer.chunks():
            output.write(chunk)
        output.keep()
    return 0


IMPORT = Command(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    _import,
    minimum=1,
    maximum=2,
    flags=(
        Flag("change", "list", "Apply Dockerfile instruction to the created image", short="c"),
        Flag("message", "string", "Set commit message for imported image", short="m"),
        Flag("platform", "string", "Set platform if server is multi-platform capable"),
    ),
)

LOAD = Command(
    "[OPTIONS]",
    _load,
    maximum=0,
    flags=(
        Flag("input", "string", "Read from tar archive file, instead of STDIN", short="i"),
        Flag("platform", "string", 'Load only the given platform variant (e.g., "linux/amd64")'),
        Flag("quiet", "bool", "Suppress the load output", short="q"),
    ),
)

SAVE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _save,
    minimum=1,
    flags=(
        Flag("output", "string", "Write to a file, instead of STDOUT", short="o"),
        Flag("platform", "string", 'Save only the given platform variant (e.g., "linux/amd64")'),
    ),
)
