"""``attach``: the terminal's streams to a running container."""

from __future__ import annotations

from barque.cli.command import Command, Flag, Invocation
from barque.client.http import quote_segment


def _attach(call: Invocation) -> int:
    from barque.cli.detach import parse_detach_keys  # noqa: PLC0415 - completion imports us
    from barque.cli.foreground import attach_running  # noqa: PLC0415 - the same

    flags = call.flags
    keys = flags["detach-keys"] or call.settings.detach_keys
    parse_detach_keys(keys)
    return attach_running(
        call.client,
        call.settings,
        quote_segment(call.args[0]),
        stdin=not flags["no-stdin"],
        forward=flags["sig-proxy"],
        detach_keys=keys,
    )


ATTACH = Command(
    "[OPTIONS] CONTAINER",
    _attach,
    minimum=1,
    maximum=1,
    flags=(
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
        Flag("no-stdin", "bool", "Do not attach STDIN"),
        Flag("sig-proxy", "bool", "Proxy all received signals to the process", default=True),
    ),
)
