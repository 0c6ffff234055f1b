"""``system dial-stdio``: the engine's socket on standard input and output, for ssh."""

from __future__ import annotations

from barque.cli.command import Command, Invocation


def _dial(call: Invocation) -> int:
    from barque.cli.streams import Streams  # noqa: PLC0415 - completion imports us
    from barque.client.http import Connection  # noqa: PLC0415 - the same

    connection = Connection(call.settings.endpoint.connect())
    Streams(connection, tty=True, stdin=True).run()  # raw bytes in both directions
    return 0


DIAL_STDIO = Command("", _dial, maximum=0)
