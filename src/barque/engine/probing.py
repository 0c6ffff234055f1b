"""Running a probe: an exec whose output is read here, and which is killed when it takes too long.

Source: the Engine API's HealthConfig; moby's daemon/health.go for limits and texts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass

from barque.engine.clock import NANOSECONDS
from barque.engine.contracts import TaskHost
from barque.engine.execs import Execs
from barque.engine.handle import Handle
from barque.engine.health import FAILED
from barque.engine.shims import Client
from barque.errors import BarqueError, FailedPrecondition
from barque.models.api import ExecConfig
from barque.models.ids import ExecId

MAX_OUTPUT = 4096
"""Bytes of the output that are kept."""

KILL_S = 10.0
_CHUNK = 65536


@dataclass(frozen=True)
class ExecProber:
    """Probes by execs. ``barque.engine.health.Prober``."""

    execs: Execs
    shims: TaskHost

    async def run(self, handle: Handle, command: list[str], timeout_ns: int) -> tuple[int, str]:
        """Run ``command``; return its exit code and the beginning of its output.

        The time runs from the start of the program. Raises BarqueError if it does not start,
        or does not end even when it is killed.
        """
        exec_id = await self.execs.create(
            handle.id, ExecConfig(cmd=command, attach_stdout=True, attach_stderr=True)
        )
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            fd = theirs.detach()
            try:
                client = Client(fd=fd, stdin=False, stdout=True, stderr=True, multiplexed=False)
                await self.execs.start(
                    exec_id, detach=False, tty=False, console_size=None, client=client
                )
            except BaseException:
                os.close(fd)
                raise
            output = _Output()
            reading = asyncio.ensure_future(output.read(ours))
            try:
                await asyncio.wait((reading,), timeout=timeout_ns / NANOSECONDS)
                late = not reading.done()
                if late:
                    await self._kill(handle, exec_id)
                    await asyncio.wait((reading,), timeout=KILL_S)
            except asyncio.CancelledError:
                await self._kill(handle, exec_id)
                raise
            finally:
                reading.cancel()
        if late:
            text = f"Health check exceeded timeout ({format_duration(timeout_ns)})"
            said = output.text()
            return FAILED, f"{text}: {said}" if said else text
        code = self.execs.get(exec_id).exit_code
        if code is None:
            raise FailedPrecondition(f"healthcheck for container {handle.id} has no exit code")
        return code, output.text()

    async def _kill(self, handle: Handle, exec_id: ExecId) -> None:
        with suppress(BarqueError):  # it has just ended
            await self.shims.signal_exec(handle.id, exec_id, signal.SIGKILL)


class _Output:
    """The beginning of a stream, read to its end."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._cut = False

    async def read(self, source: socket.socket) -> None:
        """Read until the stream ends."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, _CHUNK):
            room = MAX_OUTPUT - len(self._kept)
            self._kept += data[:room]
            self._cut = self._cut or len(data) > room

    def text(self) -> str:
        """Return what was kept, with dots behind it if that is not all."""
        return self._kept.decode(errors="replace") + ("..." if self._cut else "")


def format_duration(duration_ns: int) -> str:
    """Write a duration as Go does: ``1m30s``, ``1.5s``, ``250ms``."""
    if duration_ns < NANOSECONDS:
        for unit, size in (("ms", 10**6), ("µs", 10**3)):
            if duration_ns >= size:
                return f"{_decimal(duration_ns, size)}{unit}"
        return f"{duration_ns}ns"
    minutes, rest_ns = divmod(duration_ns, 60 * NANOSECONDS)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest_ns, NANOSECONDS)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = f"{fraction:0{len(str(unit)) - 1}}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
