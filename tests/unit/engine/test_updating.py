"""Updates: what is merged, what the kernel is told, and that a refusal changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from barque.engine.defaults import ContainerDefaults
from barque.engine.updating import changed_resources, merge
from barque.errors import (
    BarqueError,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    KernelError,
    NotFound,
)
from barque.models import oci
from barque.models.api import HostConfig, RestartPolicy, Ulimit
from support.fake_shims import Bench, running_engine, settle
from support.spec import make_record
from support.waiting import until

MIB = 1 << 20
SWAP_TOO_SMALL = (
    "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at "
    "the same time"
)
Scenario = Callable[[Bench], Awaitable[None]]


def play(tmp_path: Path, scenario: Scenario) -> None:
    async def body() -> None:
        async with asyncio.timeout(20), running_engine(tmp_path / "data") as bench:
            await scenario(bench)

    asyncio.run(body())


def merged(now: HostConfig, changes: HostConfig) -> tuple[HostConfig, oci.Resources]:
    result = merge(make_record(host=now), changes)
    return result, changed_resources(now, result, ContainerDefaults(pids_limit=99))


def test_only_what_is_given_changes() -> None:
    now = HostConfig(cpu_shares=512, cpuset_cpus="0", pids_limit=10)
    result, told = merged(now, HostConfig(cpu_shares=256))
    assert (result.cpu_shares, result.cpuset_cpus, result.pids_limit) == (256, "0", 10)
    assert told == oci.Resources(cpu=oci.Cpu(shares=256))
    assert merged(now, HostConfig()) == (now, oci.Resources())


def test_memory_goes_with_its_swap() -> None:
    now = HostConfig(memory=64 * MIB, memory_swap=128 * MIB)
    _, told = merged(now, HostConfig(memory=100 * MIB))
    assert told.memory == oci.Memory(limit=100 * MIB, swap=128 * MIB)
    _, told = merged(now, HostConfig(memory_swap=-1))
    assert told.memory == oci.Memory(limit=64 * MIB, swap=-1)


def test_cpu_time_goes_with_its_period() -> None:
    now = HostConfig(cpu_quota=20_000, cpu_period=50_000)
    _, told = merged(now, HostConfig(cpu_quota=30_000))
    assert told.cpu == oci.Cpu(quota=30_000, period=50_000)
    _, told = merged(HostConfig(), HostConfig(nano_cpus=5 * 10**8))
    assert told.cpu == oci.Cpu(quota=50_000, period=100_000)


def test_limits_that_are_lifted() -> None:
    _, told = merged(HostConfig(pids_limit=10), HostConfig(pids_limit=-1))
    assert told.pids == oci.Pids(limit=-1)
    _, told = merged(HostConfig(pids_limit=10), HostConfig(pids_limit=0))
    assert told.pids == oci.Pids(limit=99)
    _, told = merged(HostConfig(oom_kill_disable=True), HostConfig(oom_kill_disable=False))
    assert told.memory == oci.Memory(disable_oom_killer=False)


@pytest.mark.parametrize(
    ("now", "changes", "text"),
    [
        (
            HostConfig(memory_swap=MIB),
            HostConfig(memory=2 * MIB),
            SWAP_TOO_SMALL,
        ),
        (
            HostConfig(),
            HostConfig(memory=2 * MIB),
            SWAP_TOO_SMALL,
        ),
        (
            HostConfig(nano_cpus=1),
            HostConfig(cpu_quota=1000),
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            HostConfig(cpu_period=1000),
            HostConfig(nano_cpus=10**9),
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            HostConfig(auto_remove=True),
            HostConfig(restart_policy=RestartPolicy(name="always")),
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
    ],
)
def test_conflicts_in_dockers_words(now: HostConfig, changes: HostConfig, text: str) -> None:
    with pytest.raises(Conflict) as caught:
        merged(now, changes)
    assert str(caught.value) == f"Cannot update container {'c' * 64}: {text}"


def test_a_running_container_and_a_stopped_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        id_ = await bench.make("sleep")
        assert await containers.update(id_, HostConfig(cpu_shares=256)) == []
        assert bench.host.world.updates == []
        await containers.start(id_)
        policy = RestartPolicy(name="on-failure", maximum_retry_count=3)
        await containers.update(id_, HostConfig(cpu_shares=512, restart_policy=policy))
        assert bench.host.world.updates == [oci.Resources(cpu=oci.Cpu(shares=512))]
        host = containers.get(id_).host_config
        assert (host.cpu_shares, host.restart_policy) == (512, policy)
        assert bench.seen.count("container update") == 2
        assert (
            await containers.update(
                id_, HostConfig(ulimits=[Ulimit(name="nofile", soft=1, hard=1)])
            )
        )[0].startswith("Ulimits cannot be changed")
        bench.host.world.end(id_, 0)
        await settle()
        await containers.remove(id_, force=True, volumes=True)
        with pytest.raises(NotFound):
            await containers.update(id_, HostConfig())

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("changes", "refusal", "error"),
    [
        (HostConfig(memory=1), None, InvalidArgument),
        (HostConfig(restart_policy=RestartPolicy(name="x")), None, InvalidArgument),
        (
            HostConfig(cpuset_cpus="0"),
            KernelError("write", 16, "x", "--cpuset"),
            FailedPrecondition,
        ),
    ],
)
def test_a_refused_update_changes_nothing(
    tmp_path: Path, changes: HostConfig, refusal: BarqueError | None, error: type[BarqueError]
) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        id_ = await bench.make("sleep")
        await containers.start(id_)
        before = containers.get(id_)
        bench.host.world.refusal = refusal
        with pytest.raises(error):
            await containers.update(id_, changes)
        assert containers.get(id_) == before
        assert "container update" not in bench.seen
        await containers.kill(id_, "KILL")

    play(tmp_path, scenario)


def test_memory_running_out_is_told_while_the_container_goes_on(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        id_ = await bench.make("sleep")
        await containers.start(id_)
        await until(lambda: bool(bench.host.world.tasks[id_].notices), "it is watched")
        assert not containers.get(id_).state.oom_killed
        bench.host.world.run_out_of_memory(id_)
        await until(lambda: containers.get(id_).state.oom_killed, "it is recorded")
        assert containers.get(id_).state.running
        bench.host.world.run_out_of_memory(id_)
        await until(lambda: bench.seen.count("container oom") == 2, "it is told again")
        bench.host.world.end(id_, 137, oom=True)
        await settle()
        assert bench.seen.count("container oom") == 2, "told already"
        await containers.start(id_)
        assert not containers.get(id_).state.oom_killed
        bench.host.world.end(id_, 137, oom=True)
        await settle()
        assert bench.seen.count("container oom") == 3

    play(tmp_path, scenario)


def test_an_oom_killer_that_is_off(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        id_ = await bench.make("sleep")
        await containers.start(id_)
        await until(lambda: bool(bench.host.world.tasks[id_].notices), "it is watched")
        bench.host.world.run_out_of_memory(id_, killed=False)
        await until(lambda: "container oom" in bench.seen, "it is told")
        assert bench.seen.count("container oom") == 1
        assert not containers.get(id_).state.oom_killed
        await containers.kill(id_, "KILL")

    play(tmp_path, scenario)
