"""What an engine finds when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from barque.models.api import EndpointSettings, ExecConfig, PortBinding, RestartPolicy
from barque.models.container import ContainerState
from barque.models.ids import ContainerId
from support.fake_shims import Bench, FakeNetworks, World, running_engine, settle

Scenario = Callable[[Bench], Awaitable[ContainerId]]


def live_twice(
    tmp_path: Path,
    before: Scenario,
    between: Callable[[World, ContainerId], None],
    after: Callable[[Bench, ContainerId], Awaitable[None]],
) -> None:
    """An engine, then nobody, then another engine on the same data."""

    async def body() -> None:
        world, networks = World(), FakeNetworks()
        async with asyncio.timeout(20):
            async with running_engine(tmp_path / "data", world, networks) as bench:
                id_ = await before(bench)
            between(world, id_)
            async with running_engine(tmp_path / "data", world, networks) as bench:
                await settle()
                await after(bench, id_)
                await settle()
                assert set(networks.held) == world.running()
                recorded = {record.id for record in bench.engine.containers.list()}
                directories = (tmp_path / "data" / "containers").iterdir()
                assert {path.name for path in directories} == recorded
                assert {s.key for s in bench.engine.snapshots.walk()} == recorded

    asyncio.run(body())


def nothing(world: World, id_: ContainerId) -> None:
    pass


async def run_sleep(bench: Bench) -> ContainerId:
    return await bench.run("sleep", name="box")


def test_what_runs_goes_on(tmp_path: Path) -> None:
    async def after(bench: Bench, id_: ContainerId) -> None:
        record = bench.engine.containers.get("box")
        assert (record.id, record.state.status) == (id_, "running")
        ended = bench.engine.containers.wait(id_, "next-exit")
        bench.host.world.end(id_, 3)
        assert (await ended).status_code == 3

    live_twice(tmp_path, run_sleep, nothing, after)


def test_true_exit_code_and_time_of_what_ended_meanwhile(tmp_path: Path) -> None:
    async def after(bench: Bench, id_: ContainerId) -> None:
        state = bench.engine.containers.get(id_).state
        assert (state.status, state.exit_code, state.oom_killed) == ("exited", 7, True)
        assert state.finished_at > state.started_at
        assert id_ not in bench.host.world.tasks

    live_twice(tmp_path, run_sleep, lambda world, id_: world.end(id_, 7, oom=True), after)


def test_what_vanished_is_recorded_as_255(tmp_path: Path) -> None:
    async def after(bench: Bench, id_: ContainerId) -> None:
        state = bench.engine.containers.get(id_).state
        assert (state.status, state.exit_code, state.pid) == ("exited", 255, 0)

    live_twice(tmp_path, run_sleep, lambda world, id_: world.tasks.clear(), after)


def test_a_start_that_was_not_recorded_in_time(tmp_path: Path) -> None:
    async def before(bench: Bench) -> ContainerId:
        id_ = await bench.run("sleep")
        handle = bench.engine.registry.get(id_)
        bench.engine.registry.replace(handle, state=ContainerState(), started_once=False)
        return id_

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert bench.status(id_) == "running"
        await bench.engine.containers.stop(id_, None, 5)

    live_twice(tmp_path, before, nothing, after)


def test_a_start_that_came_to_nothing_has_no_place_on_a_network(tmp_path: Path) -> None:
    """The engine was killed between the record of addresses and ports and the shim."""

    async def before(bench: Bench) -> ContainerId:
        id_ = await bench.run("sleep")
        handle = bench.engine.registry.get(id_)
        there = EndpointSettings(
            endpoint_id="e" * 64, ip_address="10.0.0.2", mac_address="02:00:00:00:00:02"
        )
        bench.engine.registry.replace(
            handle,
            state=ContainerState(),
            started_once=False,
            networks={"bridge": there},
            ports={"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]},
            sandbox_id="s" * 64,
        )
        return id_

    async def after(bench: Bench, id_: ContainerId) -> None:
        record = bench.engine.containers.get(id_)
        assert (record.ports, record.sandbox_id) == ({}, "")
        (endpoint,) = record.networks.values()
        assert (endpoint.endpoint_id, endpoint.ip_address) == ("", "")
        assert endpoint.mac_address == "02:00:00:00:00:02"

    live_twice(tmp_path, before, lambda world, id_: world.tasks.clear(), after)


def test_rm_container_that_ended_meanwhile_is_removed(tmp_path: Path) -> None:
    async def before(bench: Bench) -> ContainerId:
        return await bench.run("sleep", auto_remove=True, config={"volumes": {"/data": {}}})

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert not bench.exists(id_)
        assert bench.engine.volumes.list() == []

    live_twice(tmp_path, before, lambda world, id_: world.end(id_, 0), after)


@pytest.mark.parametrize("running", [False, True])
def test_a_removal_that_was_cut_short_is_finished(tmp_path: Path, running: bool) -> None:
    async def before(bench: Bench) -> ContainerId:
        id_ = await (bench.run("sleep") if running else bench.make("sleep"))
        bench.engine.registry.replace_state(bench.engine.registry.get(id_), removing=True)
        return id_

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert not bench.exists(id_)
        assert not bench.host.world.running()

    live_twice(tmp_path, before, nothing, after)


def test_leftovers_without_a_record_are_removed(tmp_path: Path) -> None:
    async def before(bench: Bench) -> ContainerId:
        id_ = await bench.run("sleep")
        bench.engine.registry.discard(bench.engine.registry.get(id_))
        return id_

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert id_ not in bench.host.world.tasks

    live_twice(tmp_path, before, nothing, after)


@pytest.mark.parametrize(
    ("policy", "stop", "status"),
    [
        ("always", False, "running"),
        ("always", True, "running"),
        ("unless-stopped", False, "running"),
        ("unless-stopped", True, "exited"),
        ("on-failure", False, "running"),
        ("on-failure", True, "running"),
        ("no", False, "exited"),
    ],
)
def test_policies(tmp_path: Path, policy: str, stop: bool, status: str) -> None:
    async def before(bench: Bench) -> ContainerId:
        id_ = await bench.run("sleep", restart_policy=RestartPolicy(name=policy))
        if stop:
            await bench.engine.containers.stop(id_, None, 5)
        return id_

    def reboot(world: World, id_: ContainerId) -> None:
        del id_
        world.tasks.clear()

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert bench.status(id_) == status

    live_twice(tmp_path, before, reboot, after)


def test_waiting_to_restart(tmp_path: Path) -> None:
    async def before(bench: Bench) -> ContainerId:
        id_ = await bench.run("sleep", restart_policy=RestartPolicy(name="always"))

        async def never(_: float) -> None:
            await asyncio.Event().wait()

        bench.clock.sleep = never  # type: ignore[assignment,method-assign]
        bench.host.world.end(id_, 1)
        await settle()
        assert bench.status(id_) == "restarting"
        return id_

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert bench.status(id_) == "running"
        assert bench.engine.containers.get(id_).restart_count == 1

    live_twice(tmp_path, before, nothing, after)


def test_pause_and_execs_are_known_again(tmp_path: Path) -> None:
    async def before(bench: Bench) -> ContainerId:
        id_ = await run_sleep(bench)
        exec_id = await bench.engine.execs.create(id_, ExecConfig(cmd=["sh"]))
        await bench.engine.execs.start(
            exec_id, detach=True, tty=False, console_size=None, client=None
        )
        await bench.engine.containers.pause(id_)
        return id_

    async def after(bench: Bench, id_: ContainerId) -> None:
        assert bench.status(id_) == "paused"
        (exec_id,) = bench.engine.execs.of_container(id_)
        assert bench.engine.execs.get(exec_id).running
        bench.host.end_exec(id_, exec_id, 4)
        assert bench.engine.execs.get(exec_id).exit_code == 4
        await bench.engine.containers.unpause(id_)

    live_twice(tmp_path, before, nothing, after)


def test_names_and_order_survive(tmp_path: Path) -> None:
    async def before(bench: Bench) -> ContainerId:
        for name in ("one", "two", "three"):
            last = await bench.make(name=name)
        return last

    async def after(bench: Bench, id_: ContainerId) -> None:
        names = [record.name for record in bench.engine.containers.list()]
        assert names == ["three", "two", "one"]
        assert bench.engine.containers.get("three").id == id_

    live_twice(tmp_path, before, nothing, after)
