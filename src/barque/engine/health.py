"""Health of containers: a probe that is run now and then, and what its results amount to.

::

    (start) ──► starting ──probe succeeds──► healthy ◄──────┐
                   │                            │           │ probe succeeds
                   │ so many failures in a row  │ the same  │
                   └───────────────────────► unhealthy ─────┘

A failure within the start period of a container that has never been healthy does not count.
A monitor runs as long as its run and is stopped while the container is paused; then, and when
it has ended, the container is unhealthy, as with docker. After a restart of the engine the
last state is kept, and probing goes on.

Source: the Engine API's HealthConfig and Health; Dockerfile reference, HEALTHCHECK; moby's
daemon/health.go for what the documentation leaves open.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from barque.engine.background import Background
from barque.engine.clock import NANOSECONDS, Clock, format_time
from barque.engine.container_events import ContainerEvents
from barque.engine.handle import Handle, Run
from barque.engine.registry import Registry
from barque.errors import BarqueError
from barque.models.api import ContainerConfig
from barque.models.container import Health, Probe
from barque.models.image import Healthcheck

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"

INTERVAL_NS = TIMEOUT_NS = 30 * NANOSECONDS
START_INTERVAL_NS = 5 * NANOSECONDS
RETRIES = 3
KEPT_PROBES = 5
FAILED = -1
"""The exit code of a probe that did not start or did not end in time."""

_SHELL = ["/bin/sh", "-c"]


class Prober(Protocol):
    """What runs a probe inside a container."""

    async def run(self, handle: Handle, command: list[str], timeout_ns: int, /) -> tuple[int, str]:
        """Return the exit code and the beginning of the output.

        FAILED and the reason if it is not over after ``timeout_ns``: then it is killed. Raises
        BarqueError if it cannot be run.
        """
        ...


def probe_command(config: ContainerConfig) -> list[str] | None:
    """Return the command of the container's probe; None if it has none."""
    match config.healthcheck and config.healthcheck.test:
        case ["CMD", *words] if words:
            return words
        case ["CMD-SHELL", *words] if words:
            return [*(config.shell or _SHELL), *words]
        case _:
            return None


def check_probe(config: ContainerConfig) -> list[str]:
    """Return a warning for a health check that nobody can run."""
    test = (config.healthcheck.test if config.healthcheck else None) or ["NONE"]
    if test[0] == "NONE" or probe_command(config) is not None:
        return []
    if test[0] in {"CMD", "CMD-SHELL"}:
        return [f"The healthcheck {test[0]} has no command: the health is not monitored."]
    warning = (
        f"Unknown healthcheck type '{test[0]}' (expected 'CMD' or 'CMD-SHELL'): the health is "
        f"not monitored."
    )
    return [warning]


def next_wait_ns(check: Healthcheck, status: str, age_ns: int) -> int:
    """Return how long to wait for the next probe of a container that is ``age_ns`` old."""
    interval = check.interval or INTERVAL_NS
    remaining = check.start_period - age_ns
    if remaining <= 0:
        return interval
    if remaining < interval:
        return remaining  # so that the period's end is not overslept
    return (check.start_interval or START_INTERVAL_NS) if status == STARTING else interval


def judge(check: Healthcheck, health: Health, probe: Probe, age_ns: int) -> Health:
    """Return the health after ``probe``, which began when the container was ``age_ns`` old."""
    log = [*health.log, probe][-KEPT_PROBES:]
    if probe.exit_code == 0:
        return Health(status=HEALTHY, failing_streak=0, log=log)
    if health.status == STARTING and age_ns < check.start_period:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    failed = streak >= (check.retries or RETRIES)
    return Health(status=UNHEALTHY if failed else health.status, failing_streak=streak, log=log)


@dataclass(frozen=True)
class HealthMonitors:
    """Probes all containers that have a probe. Use on the loop's thread."""

    registry: Registry
    prober: Prober
    events: ContainerEvents
    background: Background
    clock: Clock

    def resume(self, handle: Handle) -> None:
        """Probe from now on, if there is a probe. Idempotent."""
        command = probe_command(handle.record.config)
        run = handle.run
        if command is None or run is None or handle.monitor is not None:
            return
        if handle.record.state.health is None:
            self.registry.replace_state(handle, health=Health(status=STARTING))
        handle.monitor = self.background.start(
            self._monitor(handle, run, command), f"health of {handle.id[:12]}"
        )

    def suspend(self, handle: Handle) -> None:
        """Probe no more. A running probe ends with the container, or at its own pace."""
        if handle.monitor is None:
            return
        handle.monitor.cancel()
        handle.monitor = None
        health = handle.record.state.health
        if health is not None and health.status != UNHEALTHY:
            self.registry.replace_state(handle, health=replace(health, status=UNHEALTHY))

    async def _monitor(self, handle: Handle, run: Run, command: list[str]) -> None:
        check = handle.record.config.healthcheck or Healthcheck()
        while True:
            status = self._health(handle).status
            await self.clock.sleep(next_wait_ns(check, status, self._age_ns(run)) / NANOSECONDS)
            age_ns, started_ns = self._age_ns(run), self.clock.now_ns()
            try:
                code, output = await self.prober.run(handle, command, check.timeout or TIMEOUT_NS)
            except (BarqueError, OSError) as error:
                code, output = FAILED, str(error)
            if handle.run is not run or handle.monitor is not asyncio.current_task():
                return
            probe = Probe(
                start=format_time(started_ns),
                end=format_time(self.clock.now_ns()),
                exit_code=code,
                output=output,
            )
            before = self._health(handle)
            after = judge(check, before, probe, age_ns)
            self.registry.replace_state(handle, health=after)
            if after.status != before.status:
                self.events.publish(handle.record, f"health_status: {after.status}")

    def _age_ns(self, run: Run) -> int:
        return int((self.clock.monotonic() - run.began) * NANOSECONDS)

    def _health(self, handle: Handle) -> Health:
        return handle.record.state.health or Health(status=STARTING)
