from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from msgspec import structs

from barque.engine.launching import look_at_binds
from barque.engine.propagation import _find_mount, root_propagation
from barque.errors import InvalidArgument, Unavailable
from barque.models.api import ContainerConfig, HostConfig
from barque.models.container import MountPoint
from support.spec import make_record

TABLE = """\
20 1 8:1 / / rw - ext4 /dev/vda rw
21 20 0:5 / /srv rw shared:7 - tmpfs tmpfs rw
22 21 0:6 / /srv/with\\040space rw master:7 propagate_from:2 - tmpfs tmpfs rw
23 20 0:7 / /srvother rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ("/", "")),
        ("/srv", ("/srv", "shared:7")),
        ("/srv/a/b", ("/srv", "shared:7")),
        ("/srv/with space/x", ("/srv/with space", "master:7 propagate_from:2")),
        ("/srvother", ("/srvother", "")),
        ("/srvoth", ("/", "")),
    ],
)
def test_the_mount_that_holds_a_path(path: str, found: tuple[str, str]) -> None:
    assert _find_mount(path, TABLE) == found


def test_private_binds_ask_nothing() -> None:
    assert root_propagation([]) == ""
    assert root_propagation([("/not/looked/at", "rprivate"), ("/nor/this", "")]) == ""


@pytest.mark.parametrize(("word", "kind"), [("rshared", "shared"), ("slave", "shared or slave")])
def test_a_source_that_shares_nothing_is_refused(word: str, kind: str) -> None:
    _require_private_proc()
    message = f"^path /proc is mounted on /proc but it is not a {kind} mount$"
    with pytest.raises(InvalidArgument, match=message):
        root_propagation([("/proc", word)])


def _require_private_proc() -> None:
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        point, optional = _find_mount("/proc", table.read())
    if point != "/proc" or optional:
        pytest.skip("needs a host whose /proc is a private mount")


@pytest.mark.parametrize("propagation", ["rprivate", "rslave"])
def test_a_source_that_does_not_answer_is_named_and_does_not_stop_the_loop(
    monkeypatch: pytest.MonkeyPatch, propagation: str
) -> None:
    answers = threading.Event()
    stat = os.stat

    def wait(path: Any, **options: Any) -> os.stat_result:
        if path == "/dead":
            answers.wait(30)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", wait)
    binds = [
        MountPoint(type="bind", source=source, destination="/d", propagation=propagation)
        for source in ("/", "/dead", "/tmp")
    ]
    record = structs.replace(make_record(ContainerConfig(), HostConfig()), mounts=binds)

    async def give_up() -> None:
        with pytest.raises(Unavailable, match="bind source /dead: its file system has not answer"):
            await look_at_binds(record, 0.05)
        looking = asyncio.ensure_future(look_at_binds(record))
        await asyncio.sleep(0.01)
        looking.cancel()
        await asyncio.wait([looking], timeout=10)
        assert looking.cancelled()

    try:
        asyncio.run(give_up())
    finally:
        answers.set()
