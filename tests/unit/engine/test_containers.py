"""The state and operation table of the Engine API, on tasks without a kernel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from barque.engine.containers import Containers
from barque.engine.handle import MAX_KEPT
from barque.engine.shims import Client, StartFailure
from barque.errors import (
    AlreadyExists,
    BarqueError,
    Conflict,
    InvalidArgument,
    NotFound,
    NotModified,
)
from barque.models.api import (
    ContainerConfig,
    HostConfig,
    LogConfig,
    NetworkingConfig,
    RestartPolicy,
)
from support.fake_shims import Bench, running_engine, settle
from support.waiting import until

Scenario = Callable[[Bench], Awaitable[None]]


def play(tmp_path: Path, scenario: Scenario) -> None:
    """Run a scenario on an engine that holds nothing but what the scenario leaves."""

    async def body() -> None:
        async with asyncio.timeout(20), running_engine(tmp_path / "data") as bench:
            await scenario(bench)
            await settle()
            running = bench.host.world.running()
            assert set(bench.networks.held) == running
            directories = {path.name for path in (tmp_path / "data" / "containers").iterdir()}
            recorded = {record.id for record in bench.engine.containers.list()}
            assert directories == recorded
            assert {snapshot.key for snapshot in bench.engine.snapshots.walk()} == recorded

    asyncio.run(body())


def test_run_rm_in_dockers_order(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("sleep", auto_remove=True, config={"volumes": {"/data": {}}})
        removed = bench.engine.containers.wait(id_, "removed")
        await bench.engine.containers.start(id_)
        assert bench.status(id_) == "running"
        bench.host.world.end(id_, 3)
        assert (await removed).status_code == 3
        assert not bench.exists(id_)
        assert bench.engine.volumes.list() == []
        assert bench.seen == [
            "volume create",
            "container create",
            "network connect",
            "volume mount",
            "container start",
            "container die",
            "network disconnect",
            "volume unmount",
            "volume destroy",
            "container destroy",
        ]

    play(tmp_path, scenario)


def test_program_that_ends_while_it_starts(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("exit", "7")
        ended = bench.engine.containers.wait(id_, "next-exit")
        await bench.engine.containers.start(id_)
        assert (await ended).status_code == 7
        state = bench.engine.containers.get(id_).state
        assert (state.status, state.exit_code, state.pid) == ("exited", 7, 0)
        assert bench.seen[-3:] == ["container start", "container die", "network disconnect"]

    play(tmp_path, scenario)


def test_failed_start_leaves_the_container_created(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("missing")
        with pytest.raises(StartFailure, match="executable file not found"):
            await bench.engine.containers.start(id_)
        state = bench.engine.containers.get(id_).state
        assert (state.status, state.exit_code) == ("created", 127)
        assert "executable file not found" in state.error
        assert "container die" not in bench.seen
        assert bench.seen[-2:] == ["network connect", "network disconnect"]

    play(tmp_path, scenario)


def test_failed_start_with_rm_removes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("missing", auto_remove=True)
        removed = bench.engine.containers.wait(id_, "removed")
        with pytest.raises(StartFailure):
            await bench.engine.containers.start(id_)
        assert (await removed).status_code == 127
        assert not bench.exists(id_)

    play(tmp_path, scenario)


def test_failed_network_gives_everything_back(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("sleep")
        ours, theirs = socket.socketpair()
        await bench.engine.containers.attach(id_, client=client(theirs), logs=False, stream=True)
        bench.networks.full = True
        with pytest.raises(Conflict, match="no address"):
            await bench.engine.containers.start(id_)
        assert bench.status(id_) == "created"
        assert bench.engine.containers.get(id_).state.exit_code == 128
        assert ours.recv(1) == b""
        bench.networks.full = False
        await bench.engine.containers.start(id_)
        assert bench.status(id_) == "running"

    play(tmp_path, scenario)


def client(end: socket.socket) -> Client:
    return Client(fd=end.detach(), stdin=True, stdout=True, stderr=True, multiplexed=True)


Call = Callable[[Containers, str], Awaitable[object]]
CALLS: dict[str, Call] = {
    "start": lambda c, i: c.start(i),
    "stop": lambda c, i: c.stop(i, None, None),
    "kill": lambda c, i: c.kill(i, "KILL"),
    "pause": lambda c, i: c.pause(i),
    "unpause": lambda c, i: c.unpause(i),
    "rm": lambda c, i: c.remove(i, force=False, volumes=False),
    "rm -f": lambda c, i: c.remove(i, force=True, volumes=False),
    "top": lambda c, i: c.top(i, "-ef"),
    "resize": lambda c, i: c.resize(i, 24, 80),
    "rename": lambda c, i: c.rename(i, "renamed"),
    "restart": lambda c, i: c.restart(i, None, None),
}
OK = None
TABLE: dict[str, dict[str, type[BarqueError] | None]] = {
    "created": {
        "start": OK, "stop": NotModified, "kill": Conflict, "pause": Conflict,
        "unpause": Conflict, "rm": OK, "rm -f": OK, "top": Conflict, "resize": Conflict,
        "rename": OK, "restart": OK,
    },
    "exited": {
        "start": OK, "stop": NotModified, "kill": Conflict, "pause": Conflict,
        "unpause": Conflict, "rm": OK, "rm -f": OK, "top": Conflict, "resize": Conflict,
        "rename": OK, "restart": OK,
    },
    "running": {
        "start": NotModified, "stop": OK, "kill": OK, "pause": OK, "unpause": Conflict,
        "rm": Conflict, "rm -f": OK, "top": OK, "resize": OK, "rename": OK, "restart": OK,
    },
    "paused": {
        "start": Conflict, "stop": OK, "kill": OK, "pause": Conflict, "unpause": OK,
        "rm": Conflict, "rm -f": OK, "top": OK, "resize": OK, "rename": OK, "restart": OK,
    },
}  # fmt: skip


@pytest.mark.parametrize(("state", "call"), [(s, c) for s in TABLE for c in TABLE[s]])
def test_table(tmp_path: Path, state: str, call: str) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        id_ = await bench.make("sleep")
        if state != "created":
            await containers.start(id_)
        if state == "exited":
            bench.host.world.end(id_, 0)
            await settle()
        if state == "paused":
            await containers.pause(id_)
        assert bench.status(id_) == state
        expected = TABLE[state][call]
        if expected is None:
            await CALLS[call](containers, id_)
        else:
            with pytest.raises(expected):
                await CALLS[call](containers, id_)
            assert bench.status(id_) == state

    play(tmp_path, scenario)


def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("stubborn")
        await bench.engine.containers.stop(id_, None, 0)
        assert bench.engine.containers.get(id_).state.exit_code == 137
        kills = [event for event in bench.seen if event in ("container kill", "container stop")]
        assert kills == ["container kill", "container kill", "container stop"]

    play(tmp_path, scenario)


@pytest.mark.parametrize("helper", ["kill", "rm -f"])
def test_kill_and_forced_removal_overtake_a_stop_that_waits(tmp_path: Path, helper: str) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("stubborn")
        stopping = asyncio.ensure_future(bench.engine.containers.stop(id_, None, -1))
        await settle()
        assert not stopping.done()
        await CALLS[helper](bench.engine.containers, id_)
        await stopping

    play(tmp_path, scenario)


def test_stop_of_a_paused_container_thaws_it(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep")
        await bench.engine.containers.pause(id_)
        await bench.engine.containers.stop(id_, None, 5)
        assert bench.engine.containers.get(id_).state.exit_code == 143
        assert "container unpause" in bench.seen

    play(tmp_path, scenario)


def test_bad_signal_changes_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep")
        for work in (
            bench.engine.containers.kill(id_, "FOO"),
            bench.engine.containers.stop(id_, "77", None),
        ):
            with pytest.raises(InvalidArgument, match="invalid signal"):
                await work
        assert bench.status(id_) == "running"
        assert not bench.engine.containers.get(id_).manually_stopped

    play(tmp_path, scenario)


def test_stop_goes_on_when_its_caller_goes_away(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("stubborn")
        stopping = asyncio.ensure_future(bench.engine.containers.stop(id_, None, 0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stopping.cancel()
        await settle()
        assert bench.status(id_) == "exited"

    play(tmp_path, scenario)


def test_removal_in_progress_is_said_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep")
        remove = CALLS["rm -f"]
        results = await asyncio.gather(
            *(remove(bench.engine.containers, id_) for _ in range(3)), return_exceptions=True
        )
        assert results.count(None) == 1
        assert all(isinstance(r, Conflict | NotFound) for r in results if r is not None)

    play(tmp_path, scenario)


def test_forced_removal_of_rm_container_while_it_ends(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep", auto_remove=True)
        bench.host.world.end(id_, 0)
        with suppress(NotFound):
            await bench.engine.containers.remove(id_, force=True, volumes=True)
        assert not bench.exists(id_)
        assert bench.seen.count("container destroy") == 1

    play(tmp_path, scenario)


def test_wait_conditions(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        id_ = await bench.make("sleep")
        assert (await containers.wait(id_, "not-running")).status_code == 0
        nexts = [containers.wait(id_, "next-exit") for _ in range(100)]
        await containers.start(id_)
        stopped = containers.wait(id_, "")
        removed = containers.wait(id_, "removed")
        bench.host.world.end(id_, 5)
        assert {(await future).status_code for future in (*nexts, stopped)} == {5}
        assert not removed.done()
        await containers.remove(id_, force=False, volumes=False)
        assert (await removed).status_code == 5
        with pytest.raises(NotFound, match="No such container"):
            containers.wait(id_, "")
        with pytest.raises(InvalidArgument, match="invalid condition"):
            containers.wait(await bench.make("sleep"), "later")

    play(tmp_path, scenario)


def test_names(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        containers = bench.engine.containers
        one = await bench.make(name="/one")
        with pytest.raises(AlreadyExists, match=f'"/one" is already in use by container "{one}"'):
            await bench.make(name="one")
        with pytest.raises(InvalidArgument, match="Invalid container name"):
            await bench.make(name="-x")
        for ref in ("one", "/one", one, one[:12], one[:4]):
            assert containers.get(ref).id == one
        with pytest.raises(NotFound, match="No such container: nobody"):
            containers.get("nobody")
        with pytest.raises(InvalidArgument, match="same name"):
            await containers.rename(one, "one")
        await containers.rename(one, "two")
        assert containers.get("two").id == one
        other = await bench.make(name="one")
        with pytest.raises(AlreadyExists):
            await containers.rename(other, "two")
        assert containers.list()[0].id == other
        await containers.remove("two", force=False, volumes=False)
        assert (await bench.make(name="two")) != one

    play(tmp_path, scenario)


def test_failed_create_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        taken = await bench.make()
        real = bench.engine.registry.add

        def fail(record: object) -> None:
            raise Conflict(f"no room for {record}")

        bench.engine.registry.add = fail  # type: ignore[assignment,method-assign]
        with pytest.raises(Conflict):
            await bench.make(name="x1", binds=["named:/data"])
        bench.engine.registry.add = real  # type: ignore[method-assign]
        assert bench.engine.volumes.list() == []
        assert await bench.make(name="x1") != taken

    play(tmp_path, scenario)


def test_missing_image(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(NotFound, match="No such image: nope:latest"):
            await bench.engine.containers.create(
                None, ContainerConfig(image="nope"), HostConfig(), NetworkingConfig(), None
            )

    play(tmp_path, scenario)


def test_clients_kept_until_start_and_closed_on_removal(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("sleep")
        pairs = [socket.socketpair() for _ in range(3)]
        for ours, theirs in pairs:
            await bench.engine.containers.attach(
                id_, client=client(theirs), logs=False, stream=True
            )
            if ours is pairs[0][0]:
                ours.close()  # hangs up before the start
        await bench.engine.containers.start(id_)
        assert len(bench.host.world.tasks[id_].clients) == 2
        bench.host.world.end(id_, 0)
        assert pairs[1][0].recv(1) == b""
        await settle()
        ours, theirs = socket.socketpair()
        await bench.engine.containers.attach(id_, client=client(theirs), logs=False, stream=True)
        await bench.engine.containers.remove(id_, force=False, volumes=False)
        assert ours.recv(1) == b""

    play(tmp_path, scenario)


def test_clients_that_wait_for_a_start_are_bounded(tmp_path: Path) -> None:
    """They travel in one message, which holds so many descriptors and no more."""

    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("sleep")
        pairs = [socket.socketpair() for _ in range(MAX_KEPT + 1)]
        for _, theirs in pairs[:-1]:
            await bench.engine.containers.attach(
                id_, client=client(theirs), logs=False, stream=True
            )
        ours, theirs = pairs[-1]
        with pytest.raises(Conflict, match="wait for the start"):
            await bench.engine.containers.attach(
                id_, client=client(theirs), logs=False, stream=True
            )
        assert ours.recv(1) == b""
        await bench.engine.containers.remove(id_, force=False, volumes=False)

    play(tmp_path, scenario)


def test_attach_replays_the_log_first(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep")
        log = bench.host.logs[id_]
        assert log is not None
        entry = '{"log":"%s\\n","stream":"%s","time":"2026-01-02T03:04:05.000000000Z"}\n'
        Path(log.path).write_text(entry % ("hello", "stdout") + entry % ("oops", "stderr"))
        ours, theirs = socket.socketpair()
        await bench.engine.containers.attach(id_, client=client(theirs), logs=True, stream=True)
        expected = b"\x01\0\0\0\0\0\0\x06hello\n\x02\0\0\0\0\0\0\x05oops\n"
        assert ours.recv(100) == expected
        bench.host.world.end(id_, 0)
        assert ours.recv(1) == b""

    play(tmp_path, scenario)


def test_attach_of_a_client_that_reads_nothing_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from barque.engine import attaching

    monkeypatch.setattr(attaching.send_all, "__defaults__", (0.05,))

    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep")
        log = bench.host.logs[id_]
        assert log is not None
        line = '{"log":"%s\\n","stream":"stdout","time":"2026-01-02T03:04:05.000000000Z"}\n'
        Path(log.path).write_text(line % ("x" * 1000) * 3000)
        ours, theirs = socket.socketpair()
        with pytest.raises(BarqueError, match="read nothing"):
            await bench.engine.containers.attach(id_, client=client(theirs), logs=True, stream=True)
        assert bench.status(id_) == "running"
        ours.close()

    play(tmp_path, scenario)


def _opened(path: Path) -> int:
    """Return how many descriptors this process has of a file."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link) == str(path) for link in links)


def test_no_descriptors_are_lost(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        before = 0
        for attempt in range(6):
            if attempt == 1:  # the first one opens what stays open: the WAL, threads' pipes
                # SQLite keeps the descriptor of what folded the log, for the next time.
                await until(lambda: _opened(bench.engine.database.path) == 2, "it is folded once")
                before = len(os.listdir("/proc/self/fd"))
            id_ = await bench.make("sleep", auto_remove=True)
            ours, theirs = socket.socketpair()
            await bench.engine.containers.attach(
                id_, client=client(theirs), logs=False, stream=True
            )
            await bench.engine.containers.start(id_)
            target = await bench.run("sleep", pid_mode=f"container:{id_}")
            await bench.engine.containers.remove(target, force=True, volumes=False)
            await bench.engine.containers.remove(id_, force=True, volumes=False)
            ours.close()
        for _ in range(200):  # threads that delete and measure have some open for a moment
            await settle()
            if len(os.listdir("/proc/self/fd")) <= before:
                break
            await asyncio.sleep(0.02)
        assert len(os.listdir("/proc/self/fd")) <= before

    play(tmp_path, scenario)


def test_joining_needs_a_running_container(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        target = await bench.make("sleep", name="target")
        id_ = await bench.make("sleep", pid_mode="container:target")
        assert bench.engine.containers.get(id_).host_config.pid_mode == f"container:{target}"
        with pytest.raises(Conflict, match="non running container"):
            await bench.engine.containers.start(id_)
        await bench.engine.containers.start(target)
        await bench.engine.containers.start(id_)

    play(tmp_path, scenario)


def test_prune_takes_what_matches_and_does_not_run(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        old = await bench.make(config={"labels": {"keep": "no"}})
        kept = await bench.make(config={"labels": {"keep": "yes"}})
        running = await bench.run("sleep")
        removed, _ = await bench.engine.containers.prune({"label!": ["keep=yes"]})
        assert removed == [old]
        assert bench.exists(kept)
        assert bench.exists(running)
        assert (await bench.engine.containers.prune({"until": ["1h"]}))[0] == []

    play(tmp_path, scenario)


def test_logs_of_driver_none_cannot_be_read(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep", log_config=LogConfig(type="none"))
        assert bench.host.logs[id_] is None
        assert bench.engine.containers.get(id_).log_path == ""

    play(tmp_path, scenario)


def test_removal_waits_for_the_start_it_meets(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.make("sleep")
        starting = asyncio.ensure_future(bench.engine.containers.start(id_))
        await asyncio.sleep(0)
        await bench.engine.containers.remove(id_, force=True, volumes=False)
        await starting
        assert not bench.exists(id_)

    play(tmp_path, scenario)


POLICIES = [
    ("always", 0, 0, True),
    ("always", 0, 1, True),
    ("unless-stopped", 0, 0, True),
    ("on-failure", 0, 0, False),
    ("on-failure", 0, 1, True),
    ("no", 0, 1, False),
]


@pytest.mark.parametrize(("name", "most", "code", "restarts"), POLICIES)
def test_policy(tmp_path: Path, name: str, most: int, code: int, restarts: bool) -> None:
    async def scenario(bench: Bench) -> None:
        policy = RestartPolicy(name=name, maximum_retry_count=most)
        id_ = await bench.run("sleep", restart_policy=policy)
        bench.host.world.end(id_, code)
        await settle()
        record = bench.engine.containers.get(id_)
        assert record.restart_count == int(restarts)
        assert bench.status(id_) == ("running" if restarts else "exited")
        if restarts:
            await bench.engine.containers.stop(id_, None, None)
            await settle()
            assert bench.status(id_) == "exited"
            assert bench.engine.containers.get(id_).manually_stopped

    play(tmp_path, scenario)


def test_on_failure_gives_up_and_backs_off(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        policy = RestartPolicy(name="on-failure", maximum_retry_count=4)
        id_ = await bench.run("exit", "1", restart_policy=policy)
        await settle()
        assert bench.status(id_) == "exited"
        assert bench.engine.containers.get(id_).restart_count == 4
        assert bench.clock.slept == [0.1, 0.2, 0.4, 0.8]
        assert bench.seen.count("container die") == 5

    play(tmp_path, scenario)


def test_stop_while_waiting_to_restart(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep", restart_policy=RestartPolicy(name="always"))
        gate = asyncio.Event()

        async def sleep(_: float) -> None:
            await gate.wait()

        bench.clock.sleep = sleep  # type: ignore[assignment,method-assign]
        ended = bench.engine.containers.wait(id_, "next-exit")
        bench.host.world.end(id_, 1)
        await settle()
        assert (await ended).status_code == 1
        state = bench.engine.containers.get(id_).state
        assert (state.status, state.running, state.pid) == ("restarting", True, 0)
        for call, error in (("start", NotModified), ("pause", Conflict), ("rm", Conflict)):
            with pytest.raises(error):
                await CALLS[call](bench.engine.containers, id_)
        await bench.engine.containers.stop(id_, None, None)
        assert bench.status(id_) == "exited"
        gate.set()
        await settle()
        assert bench.status(id_) == "exited"
        await bench.engine.containers.start(id_)
        assert bench.engine.containers.get(id_).restart_count == 0

    play(tmp_path, scenario)


def test_hup_does_not_cancel_the_policy(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep", restart_policy=RestartPolicy(name="always"))
        await bench.engine.containers.kill(id_, "HUP")
        await settle()
        assert bench.status(id_) == "running"
        assert bench.engine.containers.get(id_).restart_count == 1
        await bench.engine.containers.kill(id_, "TERM")
        await settle()
        assert bench.status(id_) == "exited"

    play(tmp_path, scenario)


def test_restart_by_hand_of_a_container_with_rm(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        id_ = await bench.run("sleep", auto_remove=True)
        await bench.engine.containers.restart(id_, None, 5)
        assert bench.status(id_) == "running"
        actions = [event for event in bench.seen if event.startswith("container")]
        assert actions[-5:] == [
            "container kill",
            "container die",
            "container stop",
            "container start",
            "container restart",
        ]
        bench.host.world.end(id_, 0)
        await settle()
        assert not bench.exists(id_)

    play(tmp_path, scenario)
