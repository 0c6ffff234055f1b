"""``logs``: what a container wrote (Engine API: ContainerLogs)."""

from __future__ import annotations

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.streams import Demultiplexer, write_all
from barque.cli.terminal import STDOUT
from barque.cli.units import parse_timestamp
from barque.client.http import quote_segment
from barque.errors import InvalidArgument


def time_argument(name: str, value: str) -> str | None:
    """``--since`` or ``--until`` as the API wants it; None if not given."""
    if not value:
        return None
    try:
        return parse_timestamp(value)
    except InvalidArgument as error:
        raise CommandError(f'invalid value for "{name}": {error}') from None


def _logs(call: Invocation) -> int:
    flags = call.flags
    query = {
        "stdout": True,
        "stderr": True,
        "since": time_argument("since", flags["since"]),
        "until": time_argument("until", flags["until"]),
        "timestamps": flags["timestamps"] or None,
        "details": flags["details"] or None,
        "follow": flags["follow"] or None,
        "tail": flags["tail"],
    }
    path = f"/containers/{quote_segment(call.args[0])}"
    container = call.client.get(f"{path}/json")
    path = f"/containers/{container['Id']}/logs"
    with call.client.request("GET", path, query=query) as answer:
        if container["Config"]["Tty"]:
            for chunk in answer.chunks():
                write_all(STDOUT, chunk)
        else:
            frames = Demultiplexer()
            for chunk in answer.chunks():
                frames.feed(memoryview(chunk))
    return 0


LOGS = Command(
    "[OPTIONS] CONTAINER",
    _logs,
    minimum=1,
    maximum=1,
    flags=(
        Flag("details", "bool", "Show extra details provided to logs"),
        Flag("follow", "bool", "Follow log output", short="f"),
        Flag(
            "since",
            "string",
            'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative '
            '(e.g. "42m" for 42 minutes)',
        ),
        Flag(
            "tail",
            "string",
            "Number of lines to show from the end of the logs",
            short="n",
            default="all",
        ),
        Flag("timestamps", "bool", "Show timestamps", short="t"),
        Flag(
            "until",
            "string",
            'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative '
            '(e.g. "42m" for 42 minutes)',
        ),
    ),
)
