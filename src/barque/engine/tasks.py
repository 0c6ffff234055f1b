"""Tasks of containers: start, exit, stop, kill, restart, pause.

::

    created, exited ──start──► running ──pause──► paused ──unpause──► running
        ▲                         │ exit             │ exit
        ├──── policy: no ─────────┴──────────────────┘
        └──── policy: restart: restarting ──wait──► running

Two rules keep this free of dead ends. The lock of a container is held while its state is
changed, never while waiting for its program to end: stop, ``rm -f`` and kill wait for
``Run.ended`` without it, so that any of them may overtake another. And an exit, which may come
at any moment, is handled at once and without the lock: whoever awaited something while
holding the lock looks at the state again afterwards.

A stop, a SIGKILL and a kill with the container's stop signal are on purpose: no policy
restarts the container after them. Other signals, SIGHUP for instance, change nothing about
that (dockerd gives up restarting after any signal).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from signal import SIGKILL

from msgspec.structs import replace

from barque.cgroups.contract import Cgroup
from barque.engine.background import Background
from barque.engine.clock import NANOSECONDS, Clock, format_time, parse_time
from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import TaskHost
from barque.engine.handle import Handle, Run, WaitCondition, WaitResult
from barque.engine.health import HealthMonitors
from barque.engine.launching import Launcher
from barque.engine.oom import OomWatch
from barque.engine.registry import Registry
from barque.engine.removal import Removal
from barque.engine.restart import wants_restart
from barque.engine.shims import StartFailure
from barque.engine.signals import parse_signal
from barque.engine.systemd import STOP_SIGNAL, runs_systemd
from barque.errors import BarqueError, Conflict, FailedPrecondition, NotFound, NotModified
from barque.models.container import ZERO_TIME, ContainerRecord, ContainerState
from barque.models.ids import ContainerId
from barque.models.launch import ExitRecord

DEFAULT_STOP_S = 10
KILL_S = 10.0
CGROUP_KILL_S = 2.0
FREEZE_S = 10.0
UNKNOWN_FAILURE = 128

_log = logging.getLogger("barque.engine")


class Tasks:
    """What runs. Methods take handles; ``ref`` texts are looked up by ``Containers``."""

    def __init__(
        self,
        *,
        registry: Registry,
        shims: TaskHost,
        launcher: Launcher,
        removal: Removal,
        events: ContainerEvents,
        background: Background,
        health: HealthMonitors,
        clock: Clock,
        open_cgroup: Callable[[str], Cgroup],
    ) -> None:
        self._oom = OomWatch(self._ran_out_of_memory)
        self._registry = registry
        self._shims = shims
        self._launcher = launcher
        self._removal = removal
        self._events = events
        self._background = background
        self._health = health
        self._clock = clock
        self._open_cgroup = open_cgroup

    @asynccontextmanager
    async def locked(self, handle: Handle) -> AsyncIterator[ContainerRecord]:
        """Hold the container's lock. Raises NotFound if it was removed while waiting."""
        async with handle.lock:
            if handle.id not in self._registry:
                raise NotFound(f"No such container: {handle.id}")
            yield handle.record

    def cgroup(self, handle: Handle) -> Cgroup:
        """The container's control group."""
        return self._open_cgroup(self._launcher.cgroup_path(handle.record))

    # Starting

    async def start(self, handle: Handle, *, by_policy: bool = False) -> None:
        """Start the container; returns when its program runs.

        Raises NotModified if it runs already, Conflict if its state forbids, StartFailure and
        others if it does not start: then it is as before, with the error and exit code 126,
        127 or 128 in its state, or removed if it was made with ``--rm``.
        """
        async with self.locked(handle) as record:
            _check_startable(record, by_policy=by_policy)
            await self._end_orphans(handle)
            run = handle.run = Run(self._clock.monotonic())
            try:
                started = await self._launcher.launch(handle, handle.take_clients())
            except asyncio.CancelledError:
                raise  # the engine stops: the next one finds out what became of it
            except BaseException as error:
                handle.run = None
                self._expect_orphans(handle)
                self._record_failure(handle, error, by_policy=by_policy)
                raise
            for warning in started.warnings:
                _log.warning("container %s: %s", handle.id[:12], warning)
            self._record_start(handle, started.pid, by_policy=by_policy)
            run.starting = False
            if run.early is not None:
                self._end(handle, run, run.early)

    def _record_start(self, handle: Handle, pid: int, *, by_policy: bool) -> None:
        record = handle.record
        if not by_policy:
            handle.backoff.reset()
        self._registry.replace(
            handle,
            state=ContainerState(
                running=True,
                pid=pid,
                started_at=format_time(self._clock.now_ns()),
                finished_at=record.state.finished_at,
            ),
            started_once=True,
            manually_stopped=False,
            restart_count=record.restart_count if by_policy else 0,
        )
        handle.resume()
        self._events.publish(handle.record, "start")
        self._health.resume(handle)
        self._oom.watch(handle.id, self.cgroup(handle))

    def _record_failure(self, handle: Handle, error: BaseException, *, by_policy: bool) -> None:
        code = error.exit_code if isinstance(error, StartFailure) else UNKNOWN_FAILURE
        self._registry.replace_state(
            handle,
            running=False,
            restarting=False,
            pid=0,
            exit_code=code,
            error=str(error) or type(error).__name__,
        )
        handle.halt()
        if by_policy:
            result = WaitResult(code)
            handle.wake(result, WaitCondition.NOT_RUNNING, WaitCondition.NEXT_EXIT)
        if handle.record.host_config.auto_remove:
            self._removal.remove_automatically(handle)

    # Ending

    def container_exited(self, container_id: ContainerId, exit_record: ExitRecord) -> None:
        """A task has ended: record it, tell of it, restart or remove the container."""
        handle = self._registry.find(container_id)
        if handle is None or handle.run is None:
            _log.warning("exit of %s, which is not known to run, ignored", container_id[:12])
        elif handle.run.starting:
            handle.run.early = exit_record
        else:
            self._end(handle, handle.run, exit_record)

    def _end(self, handle: Handle, run: Run, exit_record: ExitRecord) -> None:
        record = handle.record
        finished_at = exit_record.exited_at or format_time(self._clock.now_ns())
        restart = self._wants_restart(handle, run, exit_record.code)
        handle.run = None
        self._oom.forget(handle.id)
        self._health.suspend(handle)
        record = handle.record
        if not exit_record.exited_at:
            self._expect_orphans(handle)
        networks = self._launcher.release(record)
        self._registry.replace(
            handle,
            networks=networks,
            ports={},
            sandbox_id="",
            state=replace(
                record.state,
                running=restart,
                restarting=restart,
                paused=False,
                pid=0,
                exit_code=exit_record.code,
                oom_killed=exit_record.oom_killed,
                finished_at=finished_at,
            ),
            restart_count=record.restart_count + restart,
        )
        if exit_record.oom_killed and not run.told_of_oom:
            self._events.publish(record, "oom")
        self._events.publish(
            record,
            "die",
            exitCode=str(exit_record.code),
            execDuration=str(_duration_s(record.state.started_at, finished_at)),
        )
        self._launcher.publish_release(record)
        self._shims.forget(record.id)
        result = WaitResult(exit_record.code)
        handle.wake(result, WaitCondition.NOT_RUNNING, WaitCondition.NEXT_EXIT)
        run.ended.set_result(exit_record)
        if restart:
            self.restart_later(handle, self._clock.monotonic() - run.began)
            return
        handle.halt()
        held = record.state.removing or handle.restarting_by_hand
        if record.host_config.auto_remove and not held:
            self._removal.remove_automatically(handle)

    def _ran_out_of_memory(self, container_id: ContainerId, /, *, killed: bool) -> None:
        """Memory ran out in a container that may go on."""
        handle = self._registry.find(container_id)
        if handle is None or handle.run is None or handle.run.starting:
            return
        if killed:
            handle.run.told_of_oom = True
            self._registry.replace_state(handle, oom_killed=True)
        self._events.publish(handle.record, "oom")

    def close(self) -> None:
        """The engine stops: let go of what is watched."""
        self._oom.close()

    def _expect_orphans(self, handle: Handle) -> None:
        """A shim was killed: see soon, but before a next start, to what it has left running."""
        handle.orphans = True

        async def look() -> None:
            async with handle.lock:
                await self._end_orphans(handle)

        self._background.start(look(), f"orphans of {handle.id[:12]}")

    async def _end_orphans(self, handle: Handle) -> None:
        """End what runs without a shim. The lock must be held."""
        if not handle.orphans:
            return
        cgroup = self.cgroup(handle)
        if cgroup.exists():
            _log.warning("ending processes of %s, whose shim is gone", handle.id[:12])
            await asyncio.to_thread(cgroup.kill)
            await asyncio.to_thread(cgroup.remove)
        handle.orphans = False

    def _wants_restart(self, handle: Handle, run: Run, code: int) -> bool:
        record = handle.record
        if run.stopped_on_purpose or record.state.removing or handle.restarting_by_hand:
            return False
        return wants_restart(record.host_config.restart_policy, code, record.restart_count)

    def restart_later(self, handle: Handle, run_s: float) -> None:
        """Start the container again after the wait that its run of ``run_s`` seconds earns."""
        wait_s = handle.backoff.next_wait(run_s)
        handle.restart_timer = self._background.start(
            self._restart_after(handle, wait_s), f"restart of {handle.id[:12]}"
        )

    async def _restart_after(self, handle: Handle, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        handle.restart_timer = None
        if not handle.record.state.restarting:
            return
        try:
            await self.start(handle, by_policy=True)
        except BarqueError as error:
            _log.error("container %s was not restarted: %s", handle.id[:12], error)

    async def start_with_engine(self, handle: Handle) -> None:
        """Start a container because its policy wants it running; a failure is logged."""
        self._registry.replace_state(handle, running=True, restarting=True)
        await self._restart_after(handle, 0.0)

    def cancel_restart(self, handle: Handle) -> None:
        """Stay exited instead of being started again by the policy."""
        if handle.restart_timer is not None:
            handle.restart_timer.cancel()
            handle.restart_timer = None
        self._registry.replace(
            handle,
            state=replace(handle.record.state, running=False, restarting=False),
            manually_stopped=True,
        )
        handle.halt()

    # Stopping

    async def stop(self, handle: Handle, signal: str | None, timeout_s: int | None) -> None:
        """Ask the container to stop, and kill it if it has not after ``timeout_s`` seconds.

        None takes what the container was made with; a negative time waits for ever. Raises
        NotModified if it does not run.
        """
        signum = parse_signal(signal or _stop_signal(handle.record))
        async with self.locked(handle) as record:
            if record.state.restarting:
                self.cancel_restart(handle)
                self._events.publish(handle.record, "stop")
                return
            run = self._purposely_stopped(handle)
            if run is None:
                raise NotModified(f"container {handle.id} is already stopped")
            wait_s = _stop_timeout(record, timeout_s)
            try:
                await self._send(handle, signum)
                self._thaw_if_paused(handle)
            except BarqueError as error:
                _log.warning("container %s: %s: it is killed soon", handle.id[:12], error)
                wait_s = 2.0
        if not await run.wait(wait_s):
            await self.end(handle, run)
        self._events.publish(handle.record, "stop")

    async def stop_all(self, timeout_s: float) -> None:
        """Stop every container, and kill what has not stopped after ``timeout_s`` seconds.

        For an engine whose machine goes down with it. Nobody wanted the containers to stop: by
        their restart policies they start again with the next engine.
        """
        await asyncio.gather(*(self._stop_for_shutdown(h, timeout_s) for h in self._registry))

    async def _stop_for_shutdown(self, handle: Handle, timeout_s: float) -> None:
        run = handle.run
        if run is None:
            return
        run.stopped_on_purpose = True
        try:
            await self._send(handle, parse_signal(_stop_signal(handle.record)))
            self._thaw_if_paused(handle)
            if not await run.wait(timeout_s):
                await self.end(handle, run)
        except BarqueError as error:
            _log.warning("container %s does not stop: %s", handle.id[:12], error)

    def _purposely_stopped(self, handle: Handle) -> Run | None:
        """Note that somebody ends the current run, and return it."""
        run = handle.run
        if run is not None and not run.stopped_on_purpose:
            run.stopped_on_purpose = True
            self._registry.replace(handle, manually_stopped=True)
        return run

    async def end(self, handle: Handle, run: Run) -> None:
        """Kill the run and wait for its end. The lock must not be held.

        Raises FailedPrecondition if it has not ended after KILL_S + CGROUP_KILL_S.
        """
        try:
            await self._send(handle, SIGKILL)
            self._thaw_if_paused(handle)
        except BarqueError as error:
            _log.warning("container %s: %s", handle.id[:12], error)
        if await run.wait(KILL_S):
            return
        cgroup = self.cgroup(handle)
        await asyncio.to_thread(cgroup.kill)
        if not await run.wait(CGROUP_KILL_S):
            raise FailedPrecondition(
                f"container {handle.id[:12]} did not end {KILL_S + CGROUP_KILL_S:.0f} s after "
                "SIGKILL: a process of it hangs in the kernel, perhaps on a dead disk or network "
                "file system; look for state D in ps"
            )

    async def _send(self, handle: Handle, signum: int) -> None:
        self._events.publish(handle.record, "kill", signal=str(int(signum)))
        await self._shims.signal(handle.id, int(signum))

    def _thaw_if_paused(self, handle: Handle) -> None:
        if handle.record.state.paused:
            self.cgroup(handle).thaw()  # a write that waits for nothing
            self._registry.replace_state(handle, paused=False)
            self._events.publish(handle.record, "unpause")
            self._health.resume(handle)

    async def kill(self, handle: Handle, signal: str) -> None:
        """Send a signal; after SIGKILL, wait for the end.

        Raises InvalidArgument for a bad signal, Conflict if the container does not run.
        """
        signum = parse_signal(signal or "KILL")
        async with self.locked(handle) as record:
            purposely = signum in (SIGKILL, parse_signal(_stop_signal(record)))
            if record.state.restarting:
                if purposely:
                    self.cancel_restart(handle)
                return
            run = handle.run
            if run is None:
                raise Conflict(
                    f"cannot kill container: {record.name}: container {handle.id} is not running"
                )
            if purposely:
                self._purposely_stopped(handle)
            if signum != SIGKILL:
                await self._send(handle, signum)
                if purposely:
                    self._thaw_if_paused(handle)
                return
        await self.end(handle, run)

    async def kill_for_removal(self, handle: Handle) -> None:
        """End whatever runs or is about to, for a removal that is recorded already."""
        async with self.locked(handle) as record:
            if record.state.restarting:
                self.cancel_restart(handle)
                return
            run = self._purposely_stopped(handle)
        if run is not None:
            await self.end(handle, run)

    async def restart(self, handle: Handle, signal: str | None, timeout_s: int | None) -> None:
        """Stop if it runs, then start. Raises as start does."""
        handle.restarting_by_hand = True
        try:
            with suppress(NotModified):  # nothing to stop
                await self.stop(handle, signal, timeout_s)
        finally:
            handle.restarting_by_hand = False
        with suppress(NotModified):  # somebody else was faster
            await self.start(handle)
        self._events.publish(handle.record, "restart")

    # Pausing

    async def pause(self, handle: Handle) -> None:
        """Freeze every process. Raises Conflict if it does not run or is paused."""
        async with self.locked(handle) as record:
            run = check_running(record, handle)
            if record.state.paused:
                raise Conflict(f"Container {handle.id} is already paused")
            cgroup = self.cgroup(handle)
            await asyncio.to_thread(cgroup.freeze, FREEZE_S)
            if handle.run is not run:
                raise Conflict(f"container {handle.id} is not running")
            self._registry.replace_state(handle, paused=True)
            self._health.suspend(handle)
            self._events.publish(handle.record, "pause")

    async def unpause(self, handle: Handle) -> None:
        """Let the processes go on. Raises Conflict if it is not paused."""
        async with self.locked(handle) as record:
            if not record.state.paused:
                raise Conflict(f"Container {handle.id} is not paused")
            self._thaw_if_paused(handle)

    # After a restart of the engine

    def take_over(self, handle: Handle, pid: int) -> None:
        """Go on with a task that an earlier engine started."""
        record = handle.record
        started_at = record.state.started_at
        if not record.state.running or record.state.restarting:
            started_at = format_time(self._clock.now_ns())  # the start was not recorded in time
        age_s = max(self._clock.now_ns() - parse_time(started_at), 0) / NANOSECONDS
        run = handle.run = Run(self._clock.monotonic() - age_s)
        run.starting = False
        run.stopped_on_purpose = record.manually_stopped and record.state.running
        self._registry.replace(
            handle,
            state=replace(
                record.state, running=True, restarting=False, pid=pid, started_at=started_at
            ),
            started_once=True,
        )
        handle.resume()
        if not record.state.paused:
            self._health.resume(handle)
        known = record.state.oom_killed and record.state.running
        self._oom.watch(handle.id, self.cgroup(handle), known=known)

    def record_lost_run(self, handle: Handle, exit_record: ExitRecord) -> None:
        """Record the end of a task that ended while no engine was there to see it."""
        run = handle.run = Run(self._clock.monotonic())
        run.starting = False
        run.stopped_on_purpose = handle.record.manually_stopped
        run.began -= _duration_s(handle.record.state.started_at, exit_record.exited_at)
        self._end(handle, run, exit_record)


def check_running(record: ContainerRecord, handle: Handle) -> Run:
    """Return the current run. Raises Conflict if there is none now."""
    if record.state.restarting:
        raise Conflict(f"Container {record.id} is restarting, wait until the container is running")
    if handle.run is None or not record.state.running:
        raise Conflict(f"container {record.id} is not running")
    return handle.run


def _check_startable(record: ContainerRecord, *, by_policy: bool) -> None:
    state = record.state
    if state.removing or state.dead:
        raise Conflict("container is marked for removal and cannot be started")
    if state.paused:
        raise Conflict("cannot start a paused container, try unpause instead")
    if state.restarting != by_policy or (state.running and not state.restarting):
        raise NotModified(f"container {record.id} is already running")


def _stop_signal(record: ContainerRecord) -> str:
    if record.config.stop_signal:
        return record.config.stop_signal
    return STOP_SIGNAL if runs_systemd(record.state.pid) else "SIGTERM"


def _stop_timeout(record: ContainerRecord, timeout_s: int | None) -> float | None:
    if timeout_s is None:
        timeout_s = record.config.stop_timeout
    if timeout_s is None:
        timeout_s = DEFAULT_STOP_S
    return None if timeout_s < 0 else float(timeout_s)


def _duration_s(started_at: str, finished_at: str) -> int:
    """Whole seconds between two times of a record; 0 where one is missing."""
    if ZERO_TIME in (started_at, finished_at) or not (started_at and finished_at):
        return 0
    return max(parse_time(finished_at) - parse_time(started_at), 0) // NANOSECONDS
