"""A container that runs in the foreground: ``run`` without -d, ``start -a``, ``attach``.

Connections: one hijacked, with the container's streams; one on which the wait for its end
is open; one for everything else (start, resize); and one per proxied signal, because a
signal may come while an answer is being read.
"""

from __future__ import annotations

import os
import sys

from barque.cli.command import CommandError
from barque.cli.signals import Forwarding
from barque.cli.streams import Streams
from barque.cli.terminal import STDERR, STDIN, STDOUT, is_terminal, window_size
from barque.client.errors import ApiError
from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from barque.cli.detach import DetachKeys
    from barque.client.http import Client, Response
    from barque.client.settings import Settings

_WAIT_FAILED = 125


def run_attached(
    client: Client,
    settings: Settings,
    container: str,
    config: dict[str, Any],
    *,
    detach_keys: str,
    forward: bool,
    start_query: dict[str, Any] | None = None,
) -> int:
    """Attach to a container that does not run yet, start it, and copy until it ends.

    ``config`` has the fields Tty, AttachStdin, AttachStdout, AttachStderr of the
    container's configuration and HostConfig.AutoRemove. Returns the container's exit code,
    0 if the user detached. Raises :class:`ApiError`.
    """
    tty, stdin = bool(config["Tty"]), bool(config["AttachStdin"])
    output = bool(config["AttachStdout"] or config["AttachStderr"])
    remove = bool(config["HostConfig"]["AutoRemove"])
    with Forwarding(_deliver(settings, container) if forward else None):
        connection, _ = client.hijack(
            f"/containers/{container}/attach",
            query={
                "stream": True,
                "stdin": stdin or None,
                "stdout": bool(config["AttachStdout"]) or None,
                "stderr": bool(config["AttachStderr"]) or None,
                "detachKeys": detach_keys or None,
            },
        )
        # The wait's headers come when it is registered: only then the start may go out.
        waiting = client.request(
            "POST",
            f"/containers/{container}/wait",
            query={"condition": "removed" if remove else "next-exit"},
        )
        try:
            client.post(f"/containers/{container}/start", query=start_query)
        except ApiError:
            connection.socket.close()
            if remove:
                read_exit_code(waiting)  # the engine removes it; nothing shall be left behind
            raise
        ended = Streams(
            connection,
            tty=tty,
            stdin=stdin,
            output=output,
            detach=watch_keys(detach_keys) if tty else None,
            resize=resizer(client, f"/containers/{container}/resize") if tty else None,
            waiting=waiting,
        ).run()
    return read_exit_code(waiting) if ended else 0


def watch_keys(text: str) -> DetachKeys:
    """The watcher of a detach key sequence."""
    from barque.cli.detach import DetachKeys, parse_detach_keys  # noqa: PLC0415 - only with a tty

    return DetachKeys(parse_detach_keys(text))


def read_exit_code(waiting: Response) -> int:
    """The exit code that an open wait gives, 125 if it fails (and says why)."""
    try:
        answer = waiting.json()
    except BarqueError as error:
        sys.stderr.write(f"error waiting for container: {error}\n")
        return _WAIT_FAILED
    problem = answer.get("Error") or {}
    if problem.get("Message"):
        sys.stderr.write(f"Error waiting for container: {problem['Message']}\n")
        return _WAIT_FAILED
    code: int = answer["StatusCode"]
    return code


def resizer(client: Client, path: str, *, fd: int = STDOUT) -> Callable[[], None] | None:
    """What tells the engine the size of our terminal at ``fd``; None if it is none."""
    if not is_terminal(fd):
        return None

    def resize() -> None:
        height, width = window_size(fd)
        if height == 0 and width == 0:
            return
        try:
            client.post(path, query={"h": height, "w": width})
        except ApiError as error:
            # A container that has ended already has no window: that is no failure.
            if error.status >= 500:
                os.write(STDERR, f"failed to resize tty: {error.message}\r\n".encode())

    return resize


def _deliver(settings: Settings, container: str) -> Callable[[int], None]:
    """What passes a signal on to the container."""

    def deliver(signum: int) -> None:
        client = settings.open_client()
        try:
            client.post(f"/containers/{container}/kill", query={"signal": signum})
        except BarqueError:
            # It has ended or has not begun: nobody is there to be signalled. An engine that
            # cannot be reached is reported by what we are waiting for.
            return
        finally:
            client.close()

    return deliver


def attach_running(
    client: Client,
    settings: Settings,
    name: str,
    *,
    stdin: bool,
    forward: bool,
    detach_keys: str,
) -> int:
    """Attach to a running container and copy until it ends; its exit code.

    Raises :class:`CommandError` if it does not run, and if the user detaches.
    """
    waiting = client.request("POST", f"/containers/{name}/wait")
    with waiting:
        config = _running(client, name)
        tty = bool(config.get("Tty"))
        if stdin and tty and not is_terminal(STDIN):
            raise CommandError("the input device is not a TTY")
        stdin = stdin and bool(config.get("OpenStdin"))
        with Forwarding(_deliver(settings, name) if forward and not tty else None):
            connection, _ = client.hijack(
                f"/containers/{name}/attach",
                query={
                    "stream": True,
                    "stdin": stdin or None,
                    "stdout": True,
                    "stderr": True,
                    "detachKeys": detach_keys or None,
                },
            )
            # It may have ended in between; then nothing would ever come.
            _running(client, name)
            resize = resizer(client, f"/containers/{name}/resize") if tty else None
            if resize is not None:
                _redraw(client, name)
            ended = Streams(
                connection,
                tty=tty,
                stdin=stdin,
                detach=watch_keys(detach_keys) if tty else None,
                resize=resize,
            ).run()
        if not ended:
            raise CommandError("read escape sequence")
        answer = waiting.json()
    problem = (answer.get("Error") or {}).get("Message")
    if problem:
        raise CommandError(problem)
    code: int = answer["StatusCode"]
    return code


def _running(client: Client, name: str) -> dict[str, Any]:
    """The container's Config; raises :class:`CommandError` if it does not run."""
    inspected = client.get(f"/containers/{name}/json")
    state = inspected["State"]
    if not state.get("Running"):
        raise CommandError("You cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise CommandError("You cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise CommandError("You cannot attach to a restarting container, wait until it is running")
    config: dict[str, Any] = inspected["Config"]
    return config


def _redraw(client: Client, name: str) -> None:
    """Make a program that is waiting at its prompt draw it again: another size, then ours."""
    height, width = window_size()
    try:
        client.post(f"/containers/{name}/resize", query={"h": height + 1, "w": width + 1})
    except ApiError:
        return  # it only would have been nicer
