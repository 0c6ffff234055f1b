"""``exec``: another command in a running container.

Exec create, exec start (hijacked), and when the stream ends exec inspect for the exit
code, which the engine sets before it closes the stream.
"""

from __future__ import annotations

from barque.cli.command import UNBOUNDED, Command, Flag, Invocation
from barque.cli.container_flags import check_env
from barque.client.http import quote_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _exec(call: Invocation) -> int:
    from barque.cli.keyvalues import read_env  # noqa: PLC0415 - completion imports us

    flags = call.flags
    name = quote_segment(call.args[0])
    detach, tty = flags["detach"], flags["tty"]
    stdin = flags["interactive"] and not detach
    keys = flags["detach-keys"] or call.settings.detach_keys
    if flags["detach-keys"]:
        from barque.cli.detach import parse_detach_keys  # noqa: PLC0415 - rare

        parse_detach_keys(keys)
    body: dict[str, Any] = {
        "User": flags["user"],
        "Privileged": flags["privileged"],
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStderr": not detach,
        "AttachStdout": not detach,
        "Detach": detach,
        "DetachKeys": keys,
        "Env": read_env(flags["env-file"], flags["env"]) or None,
        "WorkingDir": flags["workdir"],
        "Cmd": call.args[1:],
    }
    start: dict[str, Any] = {"Detach": detach, "Tty": tty}
    if tty:
        _add_console(call, name, body, start, stdin=stdin)
    exec_id = call.client.post(f"/containers/{name}/exec", body=body)["Id"]
    if detach:
        call.client.post(f"/exec/{exec_id}/start", body=start)
        return 0
    return _follow(call, exec_id, start, stdin=stdin, keys=keys)


def _add_console(
    call: Invocation,
    name: str,
    body: dict[str, Any],
    start: dict[str, Any],
    *,
    stdin: bool,
) -> None:
    """The terminal's size. A missing terminal is an error, a missing container the first."""
    from barque.cli.streams import check_terminal  # noqa: PLC0415 - only with -t
    from barque.cli.terminal import STDIN, is_terminal, window_size  # noqa: PLC0415 - the same

    if stdin and not is_terminal(STDIN):
        call.client.get(f"/containers/{name}/json")
        check_terminal(stdin=stdin, tty=True)
    body["ConsoleSize"] = start["ConsoleSize"] = list(window_size())


def _follow(
    call: Invocation, exec_id: str, start: dict[str, Any], *, stdin: bool, keys: str
) -> int:
    from barque.cli.command import CommandError  # noqa: PLC0415 - not with -d
    from barque.cli.foreground import resizer, watch_keys  # noqa: PLC0415 - not with -d
    from barque.cli.signals import Forwarding  # noqa: PLC0415 - not with -d
    from barque.cli.streams import Streams  # noqa: PLC0415 - not with -d
    from barque.cli.terminal import STDIN  # noqa: PLC0415 - not with -d

    tty = start["Tty"]
    connection, _ = call.client.hijack(f"/exec/{exec_id}/start", body=start)
    with Forwarding(None):
        ended = Streams(
            connection,
            tty=tty,
            stdin=stdin,
            detach=watch_keys(keys) if tty else None,
            resize=resizer(call.client, f"/exec/{exec_id}/resize", fd=STDIN) if tty else None,
        ).run()
    if not ended:
        raise CommandError("read escape sequence")
    code: int | None = call.client.get(f"/exec/{exec_id}/json").get("ExitCode")
    return code or 0


EXEC = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    _exec,
    minimum=2,
    maximum=UNBOUNDED,
    interspersed=False,
    flags=(
        Flag("detach", "bool", "Detached mode: run command in the background", short="d"),
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
        Flag("env", "list", "Set environment variables", short="e", check=check_env),
        Flag("env-file", "list", "Read in a file of environment variables"),
        Flag("interactive", "bool", "Keep STDIN open even if not attached", short="i"),
        Flag("privileged", "bool", "Give extended privileges to the command"),
        Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
        Flag("user", "string", 'Username or UID (format: "<name|uid>[:<group|gid>]")', short="u"),
        Flag("workdir", "string", "Working directory inside the container", short="w"),
    ),
)
