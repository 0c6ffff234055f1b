"""Any order of operations and ends leaves records, addresses and tasks in step."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from barque.errors import BarqueError, Conflict, NotFound, NotModified
from barque.models.api import RestartPolicy
from barque.models.ids import ContainerId
from support.fake_shims import Bench, FakeNetworks, World, running_engine, settle

EXPECTED = (Conflict, NotFound, NotModified)


class Machine(RuleBasedStateMachine):
    """Operations of users, ends of programs, restarts of the engine, in any order."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.world = World()
        self.networks = FakeNetworks()
        self.removed: set[ContainerId] = set()
        self._start_engine()

    def _start_engine(self) -> None:
        self.stack = AsyncExitStack()
        root = Path(self.directory.name, "data")
        entered = self.stack.enter_async_context(running_engine(root, self.world, self.networks))
        self.bench: Bench = self.loop.run_until_complete(entered)
        self.loop.run_until_complete(settle())

    def _run(self, work: Any) -> bool:
        """Run an operation; say whether it succeeded. Unexpected errors are raised."""
        try:
            self.loop.run_until_complete(asyncio.wait_for(work, 10))
        except EXPECTED:
            return False
        finally:
            self.loop.run_until_complete(settle())
        return True

    @rule(
        target=ids,
        program=st.sampled_from(["sleep", "stubborn", "missing", "exit"]),
        auto_remove=st.booleans(),
        policy=st.sampled_from(["no", "always", "on-failure"]),
    )
    def create(self, program: str, auto_remove: bool, policy: str) -> ContainerId:
        if policy != "no":
            auto_remove = False
        if program == "exit" and policy == "always":
            program = "sleep"  # would be restarted for ever
        count = 3 if policy == "on-failure" else 0
        return self.loop.run_until_complete(
            self.bench.make(
                program,
                "1",
                auto_remove=auto_remove,
                restart_policy=RestartPolicy(name=policy, maximum_retry_count=count),
            )
        )

    @rule(id_=ids)
    def start(self, id_: ContainerId) -> None:
        with suppress(BarqueError):
            self._run(self.bench.engine.containers.start(id_))

    @rule(id_=ids, timeout_s=st.sampled_from([0, 1]))
    def stop(self, id_: ContainerId, timeout_s: int) -> None:
        task = self.world.tasks.get(id_)
        if task is not None and task.args[0] == "stubborn":
            timeout_s = 0
        if self._run(self.bench.engine.containers.stop(id_, None, timeout_s)):
            assert id_ not in self.world.running()

    @rule(id_=ids, signal=st.sampled_from(["KILL", "TERM", "HUP", "WINCH"]))
    def kill(self, id_: ContainerId, signal: str) -> None:
        self._run(self.bench.engine.containers.kill(id_, signal))

    @rule(id_=ids)
    def pause(self, id_: ContainerId) -> None:
        self._run(self.bench.engine.containers.pause(id_))

    @rule(id_=ids)
    def unpause(self, id_: ContainerId) -> None:
        self._run(self.bench.engine.containers.unpause(id_))

    @rule(id_=ids)
    def restart(self, id_: ContainerId) -> None:
        with suppress(BarqueError):
            self._run(self.bench.engine.containers.restart(id_, None, 0))

    @rule(id_=ids, force=st.booleans())
    def remove(self, id_: ContainerId, force: bool) -> None:
        if self._run(self.bench.engine.containers.remove(id_, force=force, volumes=True)):
            self.removed.add(id_)

    @rule(id_=ids, operations=st.lists(st.sampled_from("start stop kill rm".split()), max_size=4))
    def at_once(self, id_: ContainerId, operations: list[str]) -> None:
        containers = self.bench.engine.containers
        calls = {
            "start": lambda: containers.start(id_),
            "stop": lambda: containers.stop(id_, None, 0),
            "kill": lambda: containers.kill(id_, "KILL"),
            "rm": lambda: containers.remove(id_, force=True, volumes=True),
        }

        async def body() -> None:
            work = [calls[name]() for name in operations]
            for result in await asyncio.gather(*work, return_exceptions=True):
                assert result is None or isinstance(result, BarqueError), result

        with suppress(NotFound):
            self._run(body())

    @rule(id_=ids, code=st.integers(0, 2))
    def end(self, id_: ContainerId, code: int) -> None:
        async def body() -> None:
            if id_ in self.world.running():
                self.world.end(id_, code)

        self._run(body())

    @rule(code=st.integers(0, 1), lose=st.booleans())
    def restart_engine(self, code: int, lose: bool) -> None:
        """Tasks go on meanwhile; one of them ends, or vanishes with its exit record."""
        self.loop.run_until_complete(self.stack.aclose())
        for id_ in sorted(self.world.running())[:1]:
            self.world.end(id_, code)
            if lose:
                del self.world.tasks[id_]
        self._start_engine()

    @invariant()
    def in_step(self) -> None:
        records = {record.id: record for record in self.bench.engine.containers.list()}
        running = {id_ for id_, r in records.items() if r.state.running and not r.state.restarting}
        assert running == self.world.running()
        assert set(self.networks.held) == running
        assert not self.removed & records.keys()
        assert {snapshot.key for snapshot in self.bench.engine.snapshots.walk()} == set(records)
        for record in records.values():
            handle = self.bench.engine.registry.get(record.id)
            state = record.state
            assert (handle.run is not None) == (record.id in running)
            assert handle.halted != state.running
            assert not handle.lock.locked()
            assert bool(state.pid) == (record.id in running)
            assert not state.removing
            if state.paused:
                assert self.world.tasks[record.id].frozen
            if record.host_config.auto_remove and record.started_once:
                assert state.running

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()
        self.directory.cleanup()


TestContainers = Machine.TestCase
TestContainers.settings = settings(max_examples=25, stateful_step_count=25)
