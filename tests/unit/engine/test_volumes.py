from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from barque.errors import Conflict, InvalidArgument, NotFound, NotImplementedHere
from support.fake_shims import Bench, running_engine


def play(tmp_path: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def body() -> None:
        async with asyncio.timeout(20), running_engine(tmp_path / "data") as bench:
            await scenario(bench)

    asyncio.run(body())


def test_create_is_idempotent(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        volumes = bench.engine.volumes
        first = volumes.create("data", labels={"a": "1"})
        assert volumes.create("data", driver="local") == first
        assert Path(first.mountpoint) == tmp_path / "data" / "volumes" / "data" / "_data"
        assert Path(first.mountpoint).stat().st_mode & 0o7777 == 0o755
        anonymous = volumes.create()
        assert len(anonymous.name) == 64
        assert anonymous.labels == {"com.docker.volume.anonymous": ""}
        assert len(volumes.list()) == 2
        for wrong, error in (("x", InvalidArgument), ("../x", InvalidArgument)):
            with pytest.raises(error):
                volumes.create(wrong)
        with pytest.raises(NotImplementedHere, match="'nfs'"):
            volumes.create("y1", driver="nfs")
        with pytest.raises(NotImplementedHere, match="plain directories"):
            volumes.create("y1", options={"type": "tmpfs"})

    play(tmp_path, scenario)


def test_removal(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        volumes = bench.engine.volumes
        volumes.create("data")
        id_ = await bench.make(binds=["data:/data"])
        with pytest.raises(Conflict, match=rf"remove data: volume is in use - \[{id_}\]"):
            volumes.remove("data")
        await bench.engine.containers.remove(id_, force=False, volumes=True)
        assert volumes.get("data"), "named volumes outlive their containers"
        path = volumes.get("data").mountpoint
        volumes.remove("data")
        assert not Path(path).exists()
        with pytest.raises(NotFound, match="get data: no such volume"):
            volumes.remove("data")
        volumes.remove("data", force=True)

    play(tmp_path, scenario)


def test_a_shared_anonymous_volume_outlives_its_first_container(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        first = await bench.make(config={"volumes": {"/data": {}}})
        second = await bench.make(volumes_from=[first])
        await bench.engine.containers.remove(first, force=False, volumes=True)
        assert len(bench.engine.volumes.list()) == 1
        await bench.engine.containers.remove(second, force=False, volumes=True)
        assert bench.engine.volumes.list() == []

    play(tmp_path, scenario)


def test_prune(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        volumes = bench.engine.volumes
        volumes.create("named")
        unused = volumes.create()
        Path(unused.mountpoint, "file").write_bytes(b"x" * 500)
        await bench.make(config={"volumes": {"/data": {}}})
        pruned = await volumes.prune({})
        assert (pruned.removed, pruned.reclaimed_bytes) == ([unused.name], 500)
        assert (await volumes.prune({"all": ["true"]})).removed == ["named"]
        assert len(volumes.list()) == 1

    play(tmp_path, scenario)


def test_volumes_survive_a_restart_and_lost_ones_are_forgotten(tmp_path: Path) -> None:
    async def body() -> None:
        async with running_engine(tmp_path / "data") as bench:
            bench.engine.volumes.create("kept")
            Path(bench.engine.volumes.create("lost").mountpoint).rmdir()
        async with running_engine(tmp_path / "data") as bench:
            assert [record.name for record in bench.engine.volumes.list()] == ["kept"]

    asyncio.run(body())
