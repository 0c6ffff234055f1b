"""Spawner, shims, init and execs on the real kernel, without an engine around them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import select
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from barque.engine.shims import StartFailure
from barque.errors import Conflict
from barque.models import oci
from barque.models.ids import ContainerId
from barque.models.launch import LogTarget
from support.rootfs import busybox_is_here, write_busybox_tar
from support.scale import scaled
from support.shims import CGROUP_PARENT, Harness, client, make_root, read_all, read_until
from support.shims import run as run_with
from support.waiting import until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]

Body = Callable[[Harness], Awaitable[None]]
Runner = Callable[[Body], None]


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("busybox")
    archive = write_busybox_tar(directory / "root.tar")
    return make_root(directory / "root", archive)


@pytest.fixture
def run(tmp_path: Path, lower: Path) -> Iterator[Runner]:
    yield lambda body: run_with(body, tmp_path, lower)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_program_sees_its_own_world(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = "hostname; id -u; ps -o pid,args; ls /dev; cat /proc/self/cgroup; exit 3"
        await h.start("own", h.launch("own", ["sh", "-c", script]), theirs)
        output = (await read_all(ours)).decode()
        assert (await h.exit("own")).code == 3
        lines = output.splitlines()
        assert lines[:2] == ["own", "0"]
        assert "    1 sh -c" in output
        assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd"} <= set(lines)
        assert CGROUP_PARENT not in output, "the cgroup namespace hides where the group is"

    run(body)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_namespaces_that_are_the_hosts(run: Runner, kind: str) -> None:
    """The helper that waits is in new ones already, and goes back for this container."""
    kinds = {"network": "net", "ipc": "ipc", "uts": "uts"}

    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = "; ".join(f"readlink /proc/self/ns/{name}" for name in kinds.values())
        launch = h.launch("shares", ["sh", "-c", script])
        launch.spec.hostname = ""
        linux = launch.spec.linux
        linux.namespaces = [wanted for wanted in linux.namespaces if wanted.type != kind]
        launch.spec.mounts = [mount for mount in launch.spec.mounts if mount.type != "mqueue"]
        await h.start("shares", launch, theirs)
        output = (await read_all(ours)).decode()
        assert (await h.exit("shares")).code == 0
        shared = {name for name in kinds.values() if os.readlink(f"/proc/self/ns/{name}") in output}
        assert shared == {kinds[kind]}
        assert os.readlink("/proc/self/ns/uts") == os.readlink(f"/proc/{h.spawner_pid}/ns/uts")

    run(body)


def test_a_shim_keeps_no_helper(run: Runner) -> None:
    """However early the container keeps it busy: only the init is its child."""

    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; exec sleep 100"
        init = await h.start("busy", h.launch("busy", ["sh", "-c", script]), theirs)
        await read_until(ours, b"\n1999\n")
        await h.exec("busy", "x1", ["true"])
        assert await h.exec_exit("x1") == 0
        shim = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
        await wait_for(lambda: _children(shim) == [init])
        await h.host.signal(ContainerId("busy"), signal.SIGKILL)
        assert (await h.exit("busy")).code == 137

    run(body)


async def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it is so, 10 s at most."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_protected_paths_stay_protected(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = (
            "cat /proc/timer_list; ls -A /sys/firmware;"
            "echo 1 > /proc/sys/kernel/panic;"
            "cd /sys/fs/cgroup; cd pids 2> /dev/null; mkdir x; mount -t tmpfs none /mnt; mknod /d b 8 0; cat /d"
        )
        await h.start("mask", h.launch("mask", ["sh", "-c", script]), theirs)
        output = (await read_all(ours)).decode()
        assert output.count("Read-only file system") == 2
        assert "can't open '/d'" in output
        assert len(output.splitlines()) == 4, output

    run(body)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["nope"], 127, 'exec: "nope": executable file not found in $PATH'),
        (["/no/such"], 127, "no such file or directory"),
        (["/etc/passwd"], 126, "permission denied"),
        (["/etc"], 126, "is a directory"),
    ],
)
def test_program_that_cannot_run(run: Runner, args: list[str], code: int, text: str) -> None:
    async def body(h: Harness) -> None:
        with pytest.raises(StartFailure) as caught:
            await h.start("bad", h.launch("bad", args))
        assert caught.value.exit_code == code
        assert text in str(caught.value)
        assert not h.cgroup_exists("bad")
        assert not h.host.directory(ContainerId("bad")).exists()

    run(body)


def test_unknown_user_is_named(run: Runner) -> None:
    async def body(h: Harness) -> None:
        with pytest.raises(StartFailure, match="unable to find user ghost"):
            await h.start("user", h.launch("user", ["true"], user="ghost"))

    run(body)


def test_user_has_no_capabilities_and_owns_his_stdout(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = "id; grep CapEff /proc/self/status; echo again > /dev/stdout"
        await h.start("nob", h.launch("nob", ["sh", "-c", script], user="nobody"), theirs)
        output = (await read_all(ours)).decode()
        assert "uid=65534(nobody) gid=65534" in output
        assert "CapEff:\t0000000000000000" in output
        assert output.endswith("again\n")

    run(body)


def test_streams_are_framed(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client(multiplexed=True)
        await h.start("mux", h.launch("mux", ["sh", "-c", "echo out; echo err >&2"]), theirs)
        data = await read_all(ours)
        frames = set()
        while data:
            stream, size = struct.unpack(">BxxxI", data[:8])
            frames.add((stream, data[8 : 8 + size]))
            data = data[8 + size :]
        assert frames == {(1, b"out\n"), (2, b"err\n")}

    run(body)


def test_stdin_arrives_whole_and_its_end_too(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client(stdin=True)
        await h.start("cat", h.launch("cat", ["cat"]), theirs, open_stdin=True, stdin_once=True)
        loop = asyncio.get_running_loop()
        block = os.urandom(1 << 20)
        sent = hashlib.sha256()

        async def write() -> None:
            for _ in range(48):
                await loop.sock_sendall(ours, block)
                sent.update(block)
            ours.shutdown(socket.SHUT_WR)

        writing = asyncio.create_task(write())
        data = await read_all(ours)
        await writing
        assert len(data) == 48 << 20
        assert hashlib.sha256(data).digest() == sent.digest()
        assert (await h.exit("cat")).code == 0

    run(body)


def test_client_that_reads_nothing_delays_nobody(run: Runner, tmp_path: Path) -> None:
    async def body(h: Harness) -> None:
        lazy, lazy_client = client()
        busy, busy_client = client()
        log = tmp_path / "log"
        count = scaled(40)  # on a slow machine the lazy one would be dropped meanwhile
        script = "i=0; while [ $i -lt $0 ]; do head -c 1000000 /dev/zero; i=$((i+1)); done; exit 5"
        launch = h.launch("slow", ["sh", "-c", script, str(count)])
        await h.start("slow", launch, lazy_client, busy_client, log=LogTarget(path=str(log)))
        assert len(await read_all(busy)) == count * 1_000_000
        assert (await h.exit("slow")).code == 5
        assert len(await read_all(lazy)) == count * 1_000_000

    run(body)


def test_terminal(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client(stdin=True, detach_keys=b"\x10\x11")
        launch = h.launch("tty", ["sh"], tty=True)
        await h.start("tty", launch, theirs, open_stdin=True, size=(24, 80))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, b"stty size; tty\n")
        await read_until(ours, b"24 80\r\n/dev/pts/0\r\n")
        await h.host.resize(ContainerId("tty"), None, 30, 100)
        await loop.sock_sendall(ours, b"stty size\n")
        await read_until(ours, b"30 100\r\n")
        await loop.sock_sendall(ours, b"sh -c 'echo asleep; exec sleep 100'\n")
        await read_until(ours, b"asleep\r\n")
        await loop.sock_sendall(ours, b"\x03echo alive\n")
        await read_until(ours, b"alive\r\n")
        await loop.sock_sendall(ours, b"\x10\x11")
        await read_all(ours)
        await until(lambda: h.detached == ["tty"], "it is told that the client has gone")
        again, theirs = client(stdin=True)
        await h.host.attach(ContainerId("tty"), theirs)
        await loop.sock_sendall(again, b"exit 7\n")
        await read_all(again)
        assert (await h.exit("tty")).code == 7

    run(body)


def test_exec_joins_the_container(run: Runner) -> None:
    async def body(h: Harness) -> None:
        await h.start("host", h.launch("host", ["sleep", "100"]))
        ours, theirs = client()
        script = "hostname; cat /proc/1/cmdline; readlink /proc/self/ns/pid; exit 9"
        await h.exec("host", "x1", ["sh", "-c", script], theirs)
        output = (await read_all(ours)).decode()
        assert await h.exec_exit("x1") == 9
        assert output.startswith("host\nsleep\x00100\x00pid:[")
        assert os.readlink("/proc/self/ns/pid") not in output
        with pytest.raises(StartFailure) as caught:
            await h.exec("host", "x2", ["nope"])
        assert caught.value.exit_code == 127
        await h.host.signal(ContainerId("host"), signal.SIGKILL)
        assert (await h.exit("host")).code == 137

    run(body)


def test_execs_end_with_the_container(run: Runner) -> None:
    async def body(h: Harness) -> None:
        await h.start("end", h.launch("end", ["sleep", "100"]))
        ours, theirs = client()
        await h.exec("end", "long", ["sleep", "100"], theirs)
        await h.host.signal(ContainerId("end"), signal.SIGKILL)
        assert await h.exec_exit("long") == 137
        assert (await h.exit("end")).code == 137
        assert await read_all(ours) == b""
        with pytest.raises(Conflict):
            await h.host.signal(ContainerId("end"), signal.SIGTERM)

    run(body)


def test_a_new_engine_finds_what_runs_and_what_has_ended(run: Runner, tmp_path: Path) -> None:
    async def body(h: Harness) -> None:
        log = tmp_path / "log"
        script = "i=0; while [ $i -lt 50 ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit 4"
        target = LogTarget(path=str(log))
        await h.start("stay", h.launch("stay", ["sleep", "100"]))
        exec_pid = await h.exec("stay", "open", ["sh", "-c", "sleep 1; exit 6"])
        await h.start("gone", h.launch("gone", ["sh", "-c", script]), log=target)
        h.host.close()
        host = h.new_host()
        await until(lambda: not os.path.exists(f"/proc/{exec_pid}"), "the exec has ended")
        await until(lambda: host.find_exit(ContainerId("gone")) is not None, "so has the other")
        state = await host.reconnect(ContainerId("stay"))
        assert state is not None
        assert state.execs["open"].exit_code == 6
        assert await host.reconnect(ContainerId("gone")) is None
        record = host.find_exit(ContainerId("gone"))
        assert record is not None
        assert record.code == 4
        lines = [json.loads(line)["log"] for line in log.read_bytes().splitlines()]
        assert lines == [f"{n}\n" for n in range(50)]
        await host.signal(ContainerId("stay"), signal.SIGKILL)
        assert (await h.exit("stay")).code == 137
        host.close()

    run(body)


def test_waiting_shims_may_be_killed(run: Runner) -> None:
    async def body(h: Harness) -> None:
        for child in _children(h.spawner_pid):
            # The shim first: it leaves when its helper has gone.
            ended = [(pid, os.pidfd_open(pid)) for pid in (child, *_children(child))]
            for pid, pidfd in ended:
                os.kill(pid, signal.SIGKILL)
                assert select.select([pidfd], [], [], 10)[0]
                os.close(pidfd)
        await h.start("after", h.launch("after", ["true"]))
        assert (await h.exit("after")).code == 0

    run(body)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_init_forwards_signals_and_reaps(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = "trap 'echo caught; exit 12' TERM; echo ready; while :; do sleep 0.05; done"
        launch = h.launch("init", ["sh", "-c", script], init=True)
        await h.start("init", launch, theirs)
        await read_until(ours, b"ready\n")
        orphan = "(sleep 0.05 &) ; sleep 0.3; while ps -o stat | grep Z; do sleep 0.1; done"
        out, exec_client = client()
        await h.exec("init", "orphan", ["sh", "-c", orphan], exec_client)
        await read_all(out)  # ends when the orphan has been reaped
        await h.host.signal(ContainerId("init"), signal.SIGTERM)
        assert b"caught" in await read_all(ours)
        assert (await h.exit("init")).code == 12

    run(body)


def test_memory_limit_kills_and_is_seen(run: Runner) -> None:
    async def body(h: Harness) -> None:
        limits = oci.Resources(memory=oci.Memory(limit=16 << 20, swap=16 << 20))
        script = "head -c 100000000 /dev/zero | tail"
        await h.start("oom", h.launch("oom", ["sh", "-c", script], resources=limits))
        record = await h.exit("oom")
        assert record.oom_killed
        assert not h.cgroup_exists("oom")

    run(body)


def test_pids_limit_stops_a_fork_bomb(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        limits = oci.Resources(pids=oci.Pids(limit=10))
        script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; echo all"
        await h.start("pids", h.launch("pids", ["sh", "-c", script], resources=limits), theirs)
        output = await read_all(ours)
        assert b"can't fork" in output
        assert b"all" not in output

    run(body)


def test_read_only_root(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        launch = h.launch("ro", ["sh", "-c", "touch /x; echo y > /dev/shm/y"], readonly=True)
        await h.start("ro", launch, theirs)
        assert await read_all(ours) == b"touch: /x: Read-only file system\n"
        assert (await h.exit("ro")).code == 0

    run(body)


def test_nothing_of_the_host_is_open_in_the_program(run: Runner) -> None:
    async def body(h: Harness) -> None:
        ours, theirs = client()
        await h.start("fds", h.launch("fds", ["ls", "-l", "/proc/self/fd"]), theirs)
        output = (await read_all(ours)).decode()
        targets = [line.split(" -> ")[1] for line in output.splitlines() if " -> " in line]
        assert [t.split(":")[0] for t in targets[:3]] == ["/dev/null", "pipe", "pipe"]
        assert len(targets) == 3, "the fourth is ls reading the directory, gone when it is shown"

    run(body)
