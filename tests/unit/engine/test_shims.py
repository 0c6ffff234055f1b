"""What the engine makes of what shims tell, in whatever order it comes."""

from __future__ import annotations

import asyncio
import os
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import pytest

from barque.engine.shims import ShimHost
from barque.kernel import seqpacket
from barque.models.ids import ContainerId, ExecId
from barque.models.launch import ExitRecord
from barque.shim import protocol as p

ENDED = ExitRecord(code=7, exited_at="2024-01-01T00:00:00Z")


class Listener:
    def __init__(self) -> None:
        self.exits: list[tuple[str, int]] = []

    def container_exited(self, id_: ContainerId, record: ExitRecord) -> None:
        self.exits.append((id_, record.code))

    def exec_exited(self, id_: ContainerId, exec_id: ExecId, code: int) -> None:
        raise AssertionError("there is no exec")

    def client_detached(self, id_: ContainerId, exec_id: ExecId | None) -> None:
        raise AssertionError("there is no client")


@pytest.mark.parametrize(
    "notices", list(permutations([p.Started(5, []), p.Exited(ENDED)])), ids=str
)
def test_exit_is_told_once(tmp_path: Path, notices: tuple[p.Started | p.Exited, ...]) -> None:
    """A program may end before its helper has told of its start: a second exit would be taken
    for that of the container's next run."""
    listener = Listener()

    async def go() -> None:
        host = ShimHost(cast("Any", None), tmp_path, listener)
        ours, theirs = seqpacket.pair()
        ours.setblocking(False)
        shim = host._adopt(ContainerId("c"), ours)
        shim.started = asyncio.get_running_loop().create_future()
        for notice in notices:
            theirs.send(p.encode(notice))
        theirs.close()
        assert await asyncio.wait_for(shim.started, 5) == p.Started(5, [])
        async with asyncio.timeout(5):
            while ours.fileno() >= 0:
                await asyncio.sleep(0)

    asyncio.run(go())
    assert listener.exits == [("c", 7)]


def test_what_is_not_understood_is_passed_over(tmp_path: Path) -> None:
    listener = Listener()

    async def go() -> None:
        host = ShimHost(cast("Any", None), tmp_path, listener)
        ours, theirs = seqpacket.pair()
        ours.setblocking(False)
        host._adopt(ContainerId("c"), ours)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        seqpacket.send(theirs, b'{"type": "of tomorrow"}', [writing])
        os.close(writing)
        theirs.send(p.encode(p.Exited(ENDED)))
        theirs.close()
        async with asyncio.timeout(5):
            while ours.fileno() >= 0:
                await asyncio.sleep(0)
        assert os.read(reading, 1) == b"", "its descriptors are closed"
        os.close(reading)

    asyncio.run(go())
    assert listener.exits == [("c", 7)]
