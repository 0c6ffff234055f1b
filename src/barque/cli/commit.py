"""``commit``: an image from a container's changes."""

from __future__ import annotations

import sys

from barque.cli.command import Command, Flag, Invocation


def _commit(call: Invocation) -> int:
    from barque.cli.pull import canonical  # noqa: PLC0415 - completion imports us
    from barque.cli.rows.references import split_tag  # noqa: PLC0415 - the same

    flags = call.flags
    reference = call.args[1] if len(call.args) > 1 else ""
    repository, tag = split_tag(reference)
    query = {
        "container": call.args[0],
        "repo": canonical(repository) if repository else "",
        "tag": (tag or "latest") if repository else "",
        "comment": flags["message"],
        "author": flags["author"],
        "changes": flags["change"] or None,
        "pause": None if flags["pause"] else False,
    }
    sys.stdout.write(call.client.post("/commit", query=query)["Id"] + "\n")
    return 0


COMMIT = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    _commit,
    minimum=1,
    maximum=2,
    flags=(
        Flag(
            "author",
            "string",
            'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")',
            short="a",
        ),
        Flag("change", "list", "Apply Dockerfile instruction to the created image", short="c"),
        Flag("message", "string", "Commit message", short="m"),
        Flag("pause", "bool", "Pause container during commit", short="p", default=True),
    ),
)
