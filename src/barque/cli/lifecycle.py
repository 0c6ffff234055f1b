"""``stop``, ``restart``, ``kill``, ``rm``, ``pause``, ``unpause``, ``wait``, ``rename``.

Those that take many containers send all requests before they read the first answer, and
print in the order of the arguments. (Source: cli.md section 1.)
"""

from __future__ import annotations

import sys

from barque.cli.command import UNBOUNDED, Command, CommandError, Flag, Invocation
from barque.cli.report import print_error
from barque.client.errors import ApiError
from barque.client.http import quote_segment
from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MANY = "[OPTIONS] CONTAINER [CONTAINER...]"
_MANY_PLAIN = "CONTAINER [CONTAINER...]"


def _post_all(call: Invocation, operation: str, query: dict[str, Any] | None = None) -> int:
    """POST ``operation`` for every container; print each name that worked."""
    requests = [
        ("POST", f"/containers/{quote_segment(name)}/{operation}", query) for name in call.args
    ]
    code = 0
    for name, answer in zip(call.args, call.client.request_all(requests), strict=True):
        if isinstance(answer, BarqueError):
            print_error(answer)
            code = 1
        else:
            answer.read()
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
    return code


def _grace_query(call: Invocation) -> dict[str, Any]:
    flags = call.flags
    return {
        "signal": flags["signal"] or None,
        "t": flags["timeout"] if flags.changed("timeout") or flags.changed("time") else None,
    }


def _stop(call: Invocation) -> int:
    return _post_all(call, "stop", _grace_query(call))


def _restart(call: Invocation) -> int:
    return _post_all(call, "restart", _grace_query(call))


def _kill(call: Invocation) -> int:
    return _post_all(call, "kill", {"signal": call.flags["signal"] or None})


def _plain(operation: str) -> Callable[[Invocation], int]:
    def handle(call: Invocation) -> int:
        return _post_all(call, operation)

    return handle


def _rm(call: Invocation) -> int:
    flags = call.flags
    query = {
        "force": flags["force"] or None,
        "link": flags["link"] or None,
        "v": flags["volumes"] or None,
    }
    names = [name.strip("/") for name in call.args]
    if not all(names):
        raise CommandError("Container name cannot be empty")
    requests = [("DELETE", f"/containers/{quote_segment(name)}", query) for name in names]
    code = 0
    for name, answer in zip(call.args, call.client.request_all(requests), strict=True):
        if isinstance(answer, BarqueError):
            print_error(answer)
            gone = isinstance(answer, ApiError) and answer.status == 404
            if not (gone and flags["force"]):
                code = 1
        else:
            answer.read()
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
    return code


def _wait(call: Invocation) -> int:
    code = 0
    for name in call.args:
        try:
            answer = call.client.post(f"/containers/{quote_segment(name)}/wait")
        except BarqueError as error:
            print_error(error)
            code = 1
        else:
            sys.stdout.write(f"{answer['StatusCode']}\n")
            sys.stdout.flush()
    return code


def _rename(call: Invocation) -> int:
    old, new = (name.strip() for name in call.args)
    if not old or not new:
        raise CommandError("Error: Neither old nor new names may be empty")
    try:
        call.client.post(f"/containers/{quote_segment(old)}/rename", query={"name": new})
    except BarqueError as error:
        print_error(error)
        raise CommandError(f"Error: failed to rename container named {old}") from error
    return 0


_GRACE_FLAGS = (
    Flag("signal", "string", "Signal to send to the container", short="s"),
    Flag(
        "time", "int", "Seconds to wait before killing the container", target="timeout", hidden=True
    ),
    Flag("timeout", "int", "Seconds to wait before killing the container", short="t"),
)

STOP = Command(_MANY, _stop, flags=_GRACE_FLAGS, minimum=1, maximum=UNBOUNDED)
RESTART = Command(_MANY, _restart, flags=_GRACE_FLAGS, minimum=1, maximum=UNBOUNDED)
KILL = Command(
    _MANY,
    _kill,
    flags=(Flag("signal", "string", "Signal to send to the container", short="s"),),
    minimum=1,
    maximum=UNBOUNDED,
)
PAUSE = Command(_MANY_PLAIN, _plain("pause"), minimum=1, maximum=UNBOUNDED)
UNPAUSE = Command(_MANY_PLAIN, _plain("unpause"), minimum=1, maximum=UNBOUNDED)
WAIT = Command(_MANY_PLAIN, _wait, minimum=1, maximum=UNBOUNDED)
RENAME = Command("CONTAINER NEW_NAME", _rename, minimum=2, maximum=2)
RM = Command(
    _MANY,
    _rm,
    minimum=1,
    maximum=UNBOUNDED,
    flags=(
        Flag("force", "bool", "Force the removal of a running container (uses SIGKILL)", short="f"),
        Flag("link", "bool", "Remove the specified link", short="l"),
        Flag(
            "volumes",
            "bool",
            "Remove anonymous volumes associated with the container",
            short="v",
        ),
    ),
)
