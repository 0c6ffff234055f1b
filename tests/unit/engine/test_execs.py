from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from barque.engine import execs
from barque.engine.shims import StartFailure
from barque.errors import Conflict, InvalidArgument, NotFound
from barque.models.api import ExecConfig
from barque.models.ids import ExecId
from support.fake_shims import Bench, running_engine, settle
from support.waiting import until


def play(tmp_path: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def body() -> None:
        async with asyncio.timeout(20), running_engine(tmp_path / "data") as bench:
            await scenario(bench)

    asyncio.run(body())


async def start(bench: Bench, exec_id: ExecId) -> None:
    await bench.engine.execs.start(exec_id, detach=False, tty=False, console_size=None, client=None)


def test_life(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        service = bench.engine.execs
        id_ = await bench.run("sleep", name="box")
        exec_id = await service.create("box", ExecConfig(cmd=["ls", "-l"], env=["B=2"]))
        assert service.get(exec_id).exit_code is None
        assert not service.get(exec_id).running
        assert service.of_container(id_) == [exec_id]
        await start(bench, exec_id)
        assert service.get(exec_id).running
        assert service.get(exec_id).pid
        with pytest.raises(Conflict, match="already run"):
            await start(bench, exec_id)
        await service.resize(exec_id, 24, 80)
        bench.host.end_exec(id_, exec_id, 3)
        record = service.get(exec_id)
        assert (record.running, record.exit_code, record.pid) == (False, 3, 0)
        assert service.of_container(id_) == []
        with pytest.raises(Conflict, match="not running"):
            await service.resize(exec_id, 24, 80)
        assert bench.seen[-3:] == [
            "container exec_create: ls -l",
            "container exec_start: ls -l",
            "container exec_die",
        ]

    play(tmp_path, scenario)


def test_what_does_not_start_has_its_code(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep")
        exec_id = await bench.engine.execs.create(id_, ExecConfig(cmd=["missing"]))
        with pytest.raises(StartFailure, match="not found"):
            await start(bench, exec_id)
        assert bench.engine.execs.get(exec_id).exit_code == 127
        assert "container exec_die" not in bench.seen

    play(tmp_path, scenario)


def test_refusals(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        service = bench.engine.execs
        config = ExecConfig(cmd=["ls"])
        with pytest.raises(NotFound, match="No such container"):
            await service.create("nobody", config)
        id_ = await bench.make("sleep")
        with pytest.raises(Conflict, match="is not running"):
            await service.create(id_, config)
        await bench.engine.containers.start(id_)
        with pytest.raises(InvalidArgument, match="No exec command specified"):
            await service.create(id_, ExecConfig())
        exec_id = await service.create(id_, config)
        await bench.engine.containers.pause(id_)
        with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
            await service.create(id_, config)
        with pytest.raises(Conflict, match="paused"):
            service.startable(exec_id)
        with pytest.raises(NotFound, match="No such exec instance: x"):
            service.get(ExecId("x"))

    play(tmp_path, scenario)


def test_execs_end_with_their_container_and_are_forgotten_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execs, "KEPT_S", 0.5)

    async def scenario(bench: Bench) -> None:
        service = bench.engine.execs
        id_ = await bench.run("sleep", auto_remove=True)
        running = await service.create(id_, ExecConfig(cmd=["ls"]))
        waiting = await service.create(id_, ExecConfig(cmd=["ls"]))
        await start(bench, running)
        bench.host.world.end(id_, 0)
        await settle()
        assert service.get(running).exit_code == 137
        with pytest.raises(NotFound, match="No such container"):
            await start(bench, waiting)

        def are_forgotten() -> bool:
            for exec_id in (running, waiting):
                with suppress(NotFound):
                    service.get(exec_id)
                    return False
            return True

        await until(are_forgotten, "both are forgotten")

    play(tmp_path, scenario)
