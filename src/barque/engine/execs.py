"""Further processes of running containers.

An exec is made, then started once. What is known of it is kept in memory until five minutes
after its end, so that clients can ask for the exit code; after a restart of the engine the
running ones are known again from their shims.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import TaskHost
from barque.engine.handle import Handle
from barque.engine.launching import Launcher
from barque.engine.names import generate_id
from barque.engine.registry import Registry
from barque.engine.shims import Client, ShimState, StartFailure
from barque.engine.spec import build_exec
from barque.engine.tasks import check_running
from barque.errors import Conflict, InvalidArgument, NotFound
from barque.models.api import ExecConfig
from barque.models.container import ContainerRecord, ExecRecord
from barque.models.ids import ContainerId, ExecId

KEPT_S = 300.0
KILLED = 137
NOT_STARTED = 126


class Execs:
    """The execs of all containers. Use on the loop's thread."""

    def __init__(
        self,
        registry: Registry,
        shims: TaskHost,
        launcher: Launcher,
        events: ContainerEvents,
    ) -> None:
        self._registry = registry
        self._shims = shims
        self._launcher = launcher
        self._events = events
        self._records: dict[ExecId, ExecRecord] = {}
        self._timers: dict[ExecId, asyncio.TimerHandle] = {}

    async def create(self, container_ref: str, config: ExecConfig) -> ExecId:
        """Make an exec of a running container.

        Raises NotFound, Conflict if the container does not run or is paused or restarting,
        InvalidArgument without a command.
        """
        handle = self._registry.get(container_ref)
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        self._check_container(handle, container_ref)
        exec_id = ExecId(generate_id(self._records.__contains__))
        self._records[exec_id] = ExecRecord(
            id=exec_id,
            container_id=handle.id,
            cmd=config.cmd,
            env=config.env or [],
            tty=config.tty,
            attach_stdin=config.attach_stdin,
            attach_stdout=config.attach_stdout,
            attach_stderr=config.attach_stderr,
            detach_keys=config.detach_keys,
            privileged=config.privileged,
            user=config.user,
            working_dir=config.working_dir,
            console_size=config.console_size,
        )
        self._publish(handle.record, "exec_create", exec_id, config.cmd)
        return exec_id

    def _publish(
        self, record: ContainerRecord, action: str, exec_id: ExecId, cmd: list[str]
    ) -> None:
        program, *arguments = cmd
        text = f"{action}: {program} {' '.join(arguments)}"  # docker's, trailing blank included
        self._events.publish(record, text, execID=exec_id)

    def _check_container(self, handle: Handle, shown: str) -> None:
        record = handle.record
        if record.state.paused:
            raise Conflict(f"Container {shown} is paused, unpause the container before exec")
        check_running(record, handle)

    def get(self, id: ExecId) -> ExecRecord:  # noqa: A002 - the Engine API's word
        """Return the exec. Raises NotFound."""
        record = self._records.get(id)
        if record is None:
            raise NotFound(f"No such exec instance: {id}")
        return record

    def of_container(self, container_id: ContainerId) -> list[ExecId]:
        """Return the container's execs that have not ended."""
        return [
            record.id
            for record in self._records.values()
            if record.container_id == container_id and record.exit_code is None
        ]

    def startable(self, id: ExecId) -> ExecRecord:  # noqa: A002 - the Engine API's word
        """Return the exec if it can be started now. Raises NotFound, Conflict."""
        record = self.get(id)
        if record.exit_code is not None or record.started:
            raise Conflict(f"exec command {id} has already run")
        handle = self._registry.get(record.container_id)
        self._check_container(handle, record.container_id)
        return record

    async def start(
        self,
        id: ExecId,  # noqa: A002 - the Engine API's word
        *,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None,
        client: Client | None,
    ) -> None:
        """Run the process; returns when its program runs.

        ``client`` is taken on success only. Raises NotFound, Conflict, and StartFailure when
        the program did not start: its code is the exec's exit code then.
        """
        record = self.startable(id)
        container = self._registry.get(record.container_id).record
        size = console_size or _size(record.console_size)
        self._records[id] = record = replace(record, started=True, running=True, tty=tty)
        self._publish(container, "exec_start", id, record.cmd)
        try:
            seccomp_path = await self._launcher.seccomp_path(container)
            launch = build_exec(
                container,
                record,
                seccomp_path=seccomp_path,
                defaults=self._launcher.defaults,
                cgroups_path=self._launcher.cgroup_path(container),
            )
            pid = await self._shims.exec(
                record.container_id,
                id,
                launch,
                tty=tty,
                open_stdin=record.attach_stdin and not detach,
                console_size=size,
                client=client,
            )
        except BaseException as error:
            code = error.exit_code if isinstance(error, StartFailure) else NOT_STARTED
            self._end(id, code)
            raise
        current = self._records.get(id)
        if current is not None and current.exit_code is None:
            self._records[id] = replace(current, pid=pid)

    async def resize(self, id: ExecId, height: int, width: int) -> None:  # noqa: A002 - as above
        """Resize the exec's terminal. Raises NotFound, Conflict if it does not run."""
        record = self.get(id)
        if not record.running:
            raise Conflict(f"exec instance {id} is not running")
        await self._shims.resize(record.container_id, id, height, width)

    def exec_exited(self, container_id: ContainerId, exec_id: ExecId, code: int) -> None:
        """An exec has ended: its code is known before its client's stream ends."""
        record = self._records.get(exec_id)
        if record is None or record.exit_code is not None:
            return
        self._end(exec_id, code)
        if handle := self._registry.find(container_id):
            self._events.publish(handle.record, "exec_die", execID=exec_id, exitCode=str(code))

    def _end(self, exec_id: ExecId, code: int) -> None:
        self._records[exec_id] = replace(
            self._records[exec_id], running=False, pid=0, exit_code=code
        )
        self._expire(exec_id)

    def _expire(self, exec_id: ExecId) -> None:
        if exec_id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[exec_id] = loop.call_later(KEPT_S, self._drop, exec_id)

    def _drop(self, exec_id: ExecId) -> None:
        self._timers.pop(exec_id, None)
        self._records.pop(exec_id, None)

    def container_ended(self, container_id: ContainerId) -> None:
        """A container has ended, and with it all that ran in it."""
        for record in list(self._records.values()):
            if record.container_id != container_id:
                continue
            if record.running:
                self.exec_exited(container_id, record.id, KILLED)
            self._expire(record.id)

    def take_over(self, handle: Handle, state: ShimState) -> None:
        """Know again the execs that an earlier engine started."""
        for name, found in state.execs.items():
            exec_id = ExecId(name)
            self._records[exec_id] = ExecRecord(
                id=exec_id,
                container_id=handle.id,
                cmd=_read_command(found.pid) if found.exit_code is None else [],
                env=[],
                attach_stdout=True,
                attach_stderr=True,
                started=True,
                running=found.exit_code is None,
                pid=found.pid if found.exit_code is None else 0,
                exit_code=found.exit_code,
            )
            if found.exit_code is not None:
                self._expire(exec_id)

    def close(self) -> None:
        """Stop the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def _size(given: list[int] | None) -> tuple[int, int] | None:
    return (given[0], given[1]) if given and len(given) == 2 and any(given) else None


def _read_command(pid: int) -> list[str]:
    with suppress(OSError):
        text = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
        return text.split("\0")
    return []
