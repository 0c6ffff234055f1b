"""``start``: stopped containers, many at once or one in the foreground."""

from __future__ import annotations

import sys

from barque.cli.command import UNBOUNDED, Command, CommandError, Flag, Invocation
from barque.cli.report import print_error
from barque.client.http import quote_segment
from barque.errors import BarqueError


def _start(call: Invocation) -> int:
    flags = call.flags
    if flags["attach"] or flags["interactive"]:
        return _start_attached(call)
    if flags["checkpoint"] and len(call.args) > 1:
        raise CommandError("you cannot restore multiple containers at once")
    failed: list[str] = []
    for name in call.args:
        try:
            call.client.post(
                f"/containers/{quote_segment(name)}/start", query=_checkpoint_query(call)
            )
        except BarqueError as error:
            print_error(error)
            failed.append(name)
        else:
            if not flags["checkpoint"]:
                sys.stdout.write(f"{name}\n")
    if failed:
        raise CommandError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _checkpoint_query(call: Invocation) -> dict[str, str | None]:
    return {
        "checkpoint": call.flags["checkpoint"] or None,
        "checkpoint-dir": call.flags["checkpoint-dir"] or None,
    }


def _start_attached(call: Invocation) -> int:
    from barque.cli.detach import parse_detach_keys  # noqa: PLC0415 - only with -a
    from barque.cli.foreground import run_attached  # noqa: PLC0415 - only with -a

    if len(call.args) > 1:
        raise CommandError("you cannot start and attach multiple containers at once")
    flags = call.flags
    keys = flags["detach-keys"] or call.settings.detach_keys
    parse_detach_keys(keys)
    inspected = call.client.get(f"/containers/{quote_segment(call.args[0])}/json")
    config = inspected["Config"]
    tty = bool(config.get("Tty"))
    stdin = bool(flags["interactive"] and config.get("OpenStdin"))
    return run_attached(
        call.client,
        call.settings,
        inspected["Id"],
        {
            "Tty": tty,
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": {"AutoRemove": inspected["HostConfig"].get("AutoRemove")},
        },
        detach_keys=keys,
        forward=not tty,
        start_query=_checkpoint_query(call),
    )


START = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _start,
    minimum=1,
    maximum=UNBOUNDED,
    flags=(
        Flag("attach", "bool", "Attach STDOUT/STDERR and forward signals", short="a"),
        Flag("checkpoint", "string", "Restore from this checkpoint"),
        Flag("checkpoint-dir", "string", "Use a custom checkpoint storage directory"),
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
        Flag("interactive", "bool", "Attach container's STDIN", short="i"),
    ),
)
