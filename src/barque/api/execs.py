"""Execs: create, start, resize, inspect."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import msgspec

from barque.api import decode
from barque.api.container_logs import STDOUT, make_frame
from barque.api.contracts import Engine
from barque.api.hijack import parse_detach_keys, take_socket
from barque.api.http import EMPTY, Call, Reply, Response, Written, reply_json
from barque.api.tasks import Background
from barque.engine.shims import Client
from barque.errors import BarqueError, InvalidArgument
from barque.models.api import ExecConfig
from barque.models.container import ExecRecord
from barque.models.ids import ExecId

_CONSOLE_SIZE_SINCE = 42

_log = logging.getLogger("barque.api")


class ExecStart(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of ExecStart. ``console_size`` is height, width."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None


class Execs:
    """Operations on execs."""

    def __init__(self, engine: Engine, background: Background) -> None:
        self._execs = engine.execs
        self._background = background

    async def create(self, call: Call) -> Reply:
        """Prepare a process for a running container."""
        config = decode.convert(await call.json(), ExecConfig)
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        if config.detach_keys:
            parse_detach_keys(config.detach_keys)
        if call.minor < _CONSOLE_SIZE_SINCE or not config.tty:
            config.console_size = None
        exec_id = await self._execs.create(call.name, config)
        return reply_json({"Id": exec_id}, status=201)

    async def start(self, call: Call) -> Response:
        """Run it: detached, or with the connection as its stdio.

        When an attached process cannot be started, the reason is its output, as the
        connection has been switched by then; detached, it is a status.
        """
        body = decode.convert(await call.json(), ExecStart)
        size = _parse_size(body.console_size) if call.minor >= _CONSOLE_SIZE_SINCE else None
        record = self._execs.startable(ExecId(call.name))
        size = size if body.tty else None
        if body.detach:
            await self._execs.start(
                record.id, detach=True, tty=body.tty, console_size=size, client=None
            )
            return Reply(EMPTY)
        keys = parse_detach_keys(record.detach_keys) if body.tty else b""
        fd = await take_socket(call, tty=body.tty, background=self._background)
        client = Client(
            fd=fd,
            stdin=record.attach_stdin,
            stdout=record.attach_stdout,
            stderr=record.attach_stderr,
            multiplexed=not body.tty,
            detach_keys=keys,
        )
        try:
            await self._execs.start(
                record.id, detach=False, tty=body.tty, console_size=size, client=client
            )
        except BarqueError as error:
            _log.info("exec %s did not start: %s", record.id, error)
            text = f"{error}\r\n".encode()
            _say_goodbye(fd, text if body.tty else make_frame(STDOUT, text))
        except BaseException:
            os.close(fd)
            raise
        return Written()

    async def resize(self, call: Call) -> Reply:
        """Set the terminal's size."""
        height, width = call.dimensions()
        await self._execs.resize(ExecId(call.name), height, width)
        return Reply(EMPTY)

    async def inspect(self, call: Call) -> Reply:
        """Describe an exec."""
        return reply_json(render_exec(self._execs.get(ExecId(call.name))))


def _parse_size(size: list[int] | None) -> tuple[int, int] | None:
    """Read [height, width]. Raises InvalidArgument."""
    if size is None:
        return None
    if len(size) != 2 or not all(0 <= number <= 0xFFFF for number in size):
        raise InvalidArgument(f"invalid ConsoleSize {size}: must be [height, width]")
    return (size[0], size[1]) if any(size) else None


def _say_goodbye(fd: int, data: bytes) -> None:
    """Send the last words and close; a few hundred bytes fit the socket of a new stream."""
    with socket.socket(fileno=fd) as client:
        try:
            client.send(data, socket.MSG_DONTWAIT)
            client.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            _log.info("the exec's client is gone: %s", error)


def render_exec(record: ExecRecord) -> dict[str, Any]:
    """Return the exec as inspect shows it."""
    process: dict[str, Any] = {
        "tty": record.tty,
        "entrypoint": record.cmd[0] if record.cmd else "",
        "arguments": record.cmd[1:],
        "privileged": record.privileged,
    }
    if record.user:
        process["user"] = record.user
    return {
        "ID": record.id,
        "Running": record.running,
        "ExitCode": record.exit_code,
        "ProcessConfig": process,
        "OpenStdin": record.attach_stdin,
        "OpenStderr": record.attach_stderr,
        "OpenStdout": record.attach_stdout,
        "CanRemove": record.exit_code is not None,
        "ContainerID": record.container_id,
        "DetachKeys": record.detach_keys,
        "Pid": record.pid,
    }
