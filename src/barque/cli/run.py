"""``run`` and ``create``.

The order of ``run``: create, attach, wait (its headers say that the wait is registered),
start; only so no output and no exit is missed. (Source: engine-api.md section 5, Wait.)
"""

from __future__ import annotations

import os
import sys

from barque.cli.command import UNBOUNDED, Command, CommandError, Invocation
from barque.cli.container_body import build_body
from barque.cli.container_flags import CREATE_FLAGS, RUN_FLAGS
from barque.cli.terminal import window_size
from barque.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque.client.http import Client

_PULL = ("always", "missing", "never", "")
_MISSING_TEXTS = (
    "executable file not found",
    "no such file or directory",
    "system cannot find the file specified",
)
_FORBIDDEN_TEXTS = ("permission denied", "is a directory")


def failure_code(message: str) -> int:
    """run's exit code for an engine's message: 127 not found, 126 not executable, else 125."""
    if any(text in message for text in _MISSING_TEXTS):
        return 127
    if any(text in message for text in _FORBIDDEN_TEXTS):
        return 126
    return 125


def _create(call: Invocation) -> int:
    body = _body(call)
    sys.stdout.write(_create_container(call, body) + "\n")
    return 0


def _run(call: Invocation) -> int:
    flags = call.flags
    body = _body(call)
    if flags["detach"]:
        if flags["attach"]:
            raise _plain("conflicting options: cannot specify both --attach and --detach")
        for field in ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"):
            body[field] = False
    else:
        from barque.cli.streams import check_terminal  # noqa: PLC0415 - not if detached

        try:
            check_terminal(stdin=body["AttachStdin"], tty=body["Tty"])
        except CommandError as error:
            raise _plain(str(error)) from None
    if flags["detach-keys"]:
        from barque.cli.detach import parse_detach_keys  # noqa: PLC0415 - rare

        parse_detach_keys(flags["detach-keys"])
    try:
        container = _create_container(call, body)
        if body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]:
            from barque.cli.foreground import run_attached  # noqa: PLC0415 - not if detached

            return run_attached(
                call.client,
                call.settings,
                container,
                body,
                detach_keys=flags["detach-keys"] or call.settings.detach_keys,
                forward=flags["sig-proxy"],
            )
        sys.stdout.write(container + "\n")
        sys.stdout.flush()
        call.client.post(f"/containers/{container}/start")
    except ApiError as error:
        raise CommandError(str(error), failure_code(error.message)) from error
    return 0


def _plain(message: str) -> CommandError:
    """An error that is not followed by a pointer to --help: exit code 1."""
    return CommandError(message, 1)


def _body(call: Invocation) -> dict[str, Any]:
    flags = call.flags
    if flags["pull"] not in _PULL:
        raise CommandError(
            f"invalid pull option: '{flags['pull']}': "
            'must be one of "always", "missing" or "never"',
            125,
        )
    body = build_body(flags, call.args, call.settings.proxy_variables(), window_size())
    if flags["use-api-socket"]:
        raise CommandError(
            "--use-api-socket is not part of this version of barque; "
            "mount the socket with -v /run/barque.sock:/var/run/docker.sock",
            125,
        )
    return body


def _create_container(call: Invocation, body: dict[str, Any]) -> str:
    """The new container's id, also in --cidfile; warnings are printed."""
    flags = call.flags
    path = flags["cidfile"]
    if not path:
        return _request_container(call, body)
    if os.path.exists(path):
        raise CommandError(
            "container ID file found, make sure the other container isn't running "
            f"or delete {path}",
            call.command.failure_code,
        )
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CommandError(
            f"failed to create the container ID file: open {path}: {error.strerror}",
            call.command.failure_code,
        ) from error
    try:
        container = _request_container(call, body)
        os.write(fd, container.encode())
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    return container


def _request_container(call: Invocation, body: dict[str, Any]) -> str:
    flags = call.flags
    image = body["Image"]
    if flags["pull"] == "always":
        _pull(call, image)
    query = {"name": flags["name"] or None, "platform": flags["platform"] or None}
    try:
        created = call.client.post("/containers/create", query=query, body=body)
    except ApiError as error:
        if error.status != 404 or flags["pull"] not in ("missing", ""):
            raise
        if not flags["quiet"]:
            sys.stderr.write(f"Unable to find image '{_shown(image)}' locally\n")
        _pull(call, image)
        created = call.client.post("/containers/create", query=query, body=body)
    for warning in created.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    container: str = created["Id"]
    return container


def _shown(image: str) -> str:
    """The reference as people write it, with its tag."""
    from barque.cli.rows.references import familiar, split_tag  # noqa: PLC0415 - rare

    name, at, digest = image.partition("@")
    repository, tag = split_tag(name)
    if at:
        return f"{familiar(repository)}{':' + tag if tag else ''}@{digest}"
    return f"{familiar(repository)}:{tag or 'latest'}"


def _pull(call: Invocation, image: str) -> None:
    from barque.cli.pull import pull_image, registry_headers  # noqa: PLC0415 - rare

    client: Client = call.client
    try:
        pull_image(
            client,
            image,
            headers=registry_headers(call.settings.config, image),
            platform=call.flags["platform"],
            out=None if call.flags["quiet"] else sys.stderr,
        )
    except CommandError as error:
        raise CommandError(str(error), call.command.failure_code) from error


RUN = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    _run,
    flags=RUN_FLAGS,
    minimum=1,
    maximum=UNBOUNDED,
    interspersed=False,
    failure_code=125,
    program_prefix=True,
)

CREATE = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    _create,
    flags=CREATE_FLAGS,
    minimum=1,
    maximum=UNBOUNDED,
    interspersed=False,
    failure_code=1,
    program_prefix=True,
)
