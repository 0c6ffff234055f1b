"""``export``: a container's file system as a tar archive."""

from __future__ import annotations

from barque.cli.command import Command, Flag, Invocation
from barque.client.http import quote_segment


def _export(call: Invocation) -> int:
    from barque.cli.output import open_output  # noqa: PLC0415 - completion imports us

    path = call.flags["output"]
    with open_output(
        path,
        refusal="cowardly refusing to save to a terminal. Use the -o flag or redirect",
        failure="failed to export container",
    ) as output:
        name = quote_segment(call.args[0])
        with call.client.request("GET", f"/containers/{name}/export") as answer:
            for data in answer.chunks():
                output.write(data)
        output.keep()
    return 0


EXPORT = Command(
    "[OPTIONS] CONTAINER",
    _export,
    minimum=1,
    maximum=1,
    flags=(Flag("output", "string", "Write to a file, instead of STDOUT", short="o"),),
)
