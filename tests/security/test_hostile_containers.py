"""Containers that work against their shim, their neighbours and the host while they run."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from barque.engine.shims import StartFailure
from barque.kernel import process as kp
from barque.kernel.libc import syscall
from barque.models import oci
from barque.models.ids import ContainerId
from barque.models.launch import LogTarget
from barque.runtime.rootfs import copy_tree
from barque.shim import protocol as p
from support.rootfs import busybox_is_here, write_busybox_tar
from support.scale import patient
from support.shims import Harness, client, make_root, read_all, read_until
from support.shims import run as run_with

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]

_KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
_GET_KEYRING_ID, _SETPERM, _SESSION = 0, 5, 2**32 - 3

Runner = Callable[[Callable[[Harness], Awaitable[None]]], None]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_root(tmp_path / "image", write_busybox_tar(tmp_path / "root.tar"))


@pytest.fixture
def run(tmp_path: Path, image: Path) -> Runner:
    return lambda body: run_with(body, tmp_path, image)


def test_container_that_stops_execs_does_not_stop_its_shim(run: Runner) -> None:
    """An exec that is stopped on its way hangs alone: output, other execs and kill go on."""

    async def body(h: Harness) -> None:
        ours, theirs = client()
        script = "echo ready; while :; do kill -STOP -1; done"
        await h.start("stop", h.launch("stop", ["sh", "-c", script]), theirs)
        await read_until(ours, b"ready\n")
        hanging = [asyncio.ensure_future(h.exec("stop", f"x{n}", ["true"])) for n in range(3)]
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        await h.host.signal(ContainerId("stop"), signal.SIGKILL)
        assert (await h.exit("stop")).code == 137
        assert time.monotonic() - begin < 5
        await asyncio.gather(*hanging, return_exceptions=True)
        ours.close()

    run(body)


def test_what_an_exec_leaves_running_cannot_keep_its_client(run: Runner) -> None:
    async def body(h: Harness) -> None:
        await h.start("flood", h.launch("flood", ["sleep", "100"]))
        ours, theirs = client()
        writers = "for i in 1 2 3 4 5 6 7 8; do cat /dev/zero & done; sleep 0.3; exit 3"
        await h.exec("flood", "x", ["sh", "-c", writers], theirs)
        reading = asyncio.ensure_future(read_all(ours))
        assert await h.exec_exit("x") == 3
        await asyncio.wait_for(reading, 20)
        await h.host.signal(ContainerId("flood"), signal.SIGKILL)
        assert (await h.exit("flood")).code == 137

    run(body)


def test_execs_are_forgotten_once_their_clients_are_served(run: Runner) -> None:
    """Also those whose client reads the last of the output after the engine knows the code."""

    async def body(h: Harness) -> None:
        id_ = ContainerId("many")
        await h.start("many", h.launch("many", ["sleep", "100"]))
        ours, theirs = client()
        await h.exec("many", "slow", ["head", "-c", "3000000", "/dev/zero"], theirs)
        assert await h.exec_exit("slow") == 0
        assert len(await read_all(ours)) == 3000000
        host = h.host
        async with asyncio.timeout(patient(10)):
            while True:  # until the shim has seen that the client has everything
                host.close()
                host = h.new_host()
                state = await host.reconnect(id_)
                assert state is not None
                if state.execs == {}:
                    break
        await host.signal(id_, signal.SIGKILL)
        await h.exit("many")
        host.close()

    run(body)


def test_log_that_is_taken_away_does_not_end_the_shim(run: Runner, tmp_path: Path) -> None:
    async def body(h: Harness) -> None:
        directory = tmp_path / "log"
        directory.mkdir()
        target = LogTarget(path=str(directory / "log"), max_size_bytes=200, max_files=3)
        ours, theirs = client()
        script = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 4"
        await h.start("log", h.launch("log", ["sh", "-c", script]), theirs, log=target)
        await read_until(ours, b"line 10\n")
        for path in directory.iterdir():
            path.unlink()
        await read_until(ours, b"line 30\n")
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        assert (await read_all(ours)).endswith(b"line 59\n")
        assert (await h.exit("log")).code == 4

    run(body)


def test_shim_survives_requests_that_make_no_sense(run: Runner) -> None:
    async def body(h: Harness) -> None:
        id_ = ContainerId("odd")
        await h.start("odd", h.launch("odd", ["sleep", "100"], tty=True))
        for request in (
            p.Resize(1001, 70000, -1),
            p.Signal(1002, 1 << 40),
            p.Attach(1003, p.ClientSpec()),
            p.Namespaces(1004, ["nothing"]),
        ):
            with pytest.raises(Exception, match="odd"):
                await h.host._request(id_, request, [], 5)
        h.host._shims[id_].end.send(b"{")
        await h.host.resize(id_, None, 30, 100)
        await h.host.signal(id_, signal.SIGKILL)
        assert (await h.exit("odd")).code == 137

    run(body)


def test_clients_of_a_start_that_fails_early_are_let_go(run: Runner) -> None:
    async def body(h: Harness) -> None:
        launch = h.launch("bad", ["true"])
        launch.spec.linux.namespaces.append(oci.Namespace(type="nonsense"))
        ours, theirs = client()
        with pytest.raises(Exception, match="nonsense"):
            await h.start("bad", launch, theirs)
        assert await read_all(ours, 2) == b""

    run(body)


@pytest.mark.parametrize(
    "name", ["net.//.//.vm.swappiness", "net.//.vm.swappiness", "net..ipv4.ip_forward"]
)
def test_sysctl_does_not_climb_to_the_hosts(run: Runner, name: str) -> None:
    before = Path("/proc/sys/vm/swappiness").read_text()

    async def body(h: Harness) -> None:
        launch = h.launch("ctl", ["true"])
        launch.spec.linux.sysctl = {name: "1"}
        with pytest.raises(StartFailure, match="sysctl"):
            await h.start("ctl", launch)

    run(body)
    assert Path("/proc/sys/vm/swappiness").read_text() == before


def test_null_device_that_is_a_link_masks_nothing(run: Runner, tmp_path: Path) -> None:
    """CVE-2025-31133: in a shared /dev it could show a kernel's file in place of another."""
    shared = tmp_path / "dev"
    shared.mkdir()
    (shared / "null").symlink_to("/proc/sys/kernel/core_pattern")

    async def body(h: Harness) -> None:
        launch = h.launch("null", ["cat", "/proc/timer_list"])
        launch.spec.mounts = [
            mount for mount in launch.spec.mounts if not mount.destination.startswith("/dev")
        ]
        launch.spec.mounts.append(
            oci.Mount(destination="/dev", type="bind", source=str(shared), options=["bind"])
        )
        with pytest.raises(StartFailure, match="null device"):
            await h.start("null", launch)

    run(body)


def test_terminal_multiplexer_that_is_none_is_refused(run: Runner, tmp_path: Path) -> None:
    shared = tmp_path / "dev"
    (shared / "pts").mkdir(parents=True)
    os.mkfifo(shared / "pts" / "ptmx")

    async def body(h: Harness) -> None:
        launch = h.launch("ptmx", ["true"], tty=True)
        launch.spec.linux.masked_paths = []
        launch.spec.mounts = [
            mount for mount in launch.spec.mounts if not mount.destination.startswith("/dev")
        ]
        launch.spec.mounts.append(
            oci.Mount(destination="/dev", type="bind", source=str(shared), options=["bind"])
        )
        with pytest.raises(StartFailure, match="multiplexer"):
            await h.start("ptmx", launch)

    run(body)


def test_number_that_means_no_change_is_no_user(run: Runner, image: Path) -> None:
    """setresuid(-1) succeeds and leaves root as it is."""
    with (image / "etc" / "passwd").open("a") as file:
        file.write(f"evil:x:{2**32 - 1}:{2**32 - 1}::/:/bin/sh\n")

    async def body(h: Harness) -> None:
        with pytest.raises(StartFailure, match="unable to find user evil"):
            await h.start("uid", h.launch("uid", ["id"], user="evil"))

    run(body)


def test_old_filter_without_close_range_lets_programs_start(run: Runner, tmp_path: Path) -> None:
    """With no_new_privs nothing of ours but execve is left to be done under the filter."""
    filter_ = oci.Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=[
            oci.Syscall(
                names=["close_range", "setresuid", "setgroups", "capset"], action="SCMP_ACT_ERRNO"
            )
        ],
    )

    async def body(h: Harness) -> None:
        launch = h.launch("old", ["ls", "/proc/self/fd"])
        assert launch.spec.process is not None
        launch.spec.process.no_new_privileges = True
        launch.spec.linux.seccomp = filter_
        ours, theirs = client()
        await h.start("old", launch, theirs)
        assert (await read_all(ours)).split() == [b"0", b"1", b"2", b"3"]
        assert (await h.exit("old")).code == 0

    run(body)


def test_ignored_signals_of_the_engine_are_not_the_programs(tmp_path: Path, image: Path) -> None:
    """As where it was started with nohup, or in the background of a shell."""

    async def body(h: Harness) -> None:
        ours, theirs = client()
        await h.start("sig", h.launch("sig", ["grep", "Sig[BI]", "/proc/self/status"]), theirs)
        lines = (await read_all(ours)).decode().splitlines()
        assert [int(line.split()[1], 16) for line in lines] == [0, 0]
        await h.exit("sig")

    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    _dispose_of(_RESERVED_BY_GLIBC, signal.SIG_IGN)
    try:
        run_with(body, tmp_path, image)
    finally:
        _dispose_of(_RESERVED_BY_GLIBC, signal.SIG_DFL)
        signal.signal(signal.SIGQUIT, before)


_RESERVED_BY_GLIBC = 32


def _dispose_of(number: int, handler: signal.Handlers) -> None:
    """sigaction(2) past the C library, which refuses its own signals."""
    action = int(handler).to_bytes(32, "little")
    call = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
    syscall("rt_sigaction", call, number, action, None, 8)


def test_volume_that_is_changed_while_it_is_filled(tmp_path: Path) -> None:
    """A neighbour swaps what was just made for a link: the link's target keeps its mode."""
    source, target, victim = tmp_path / "source", tmp_path / "target", tmp_path / "victim"
    for directory in (source, target):
        directory.mkdir()
    with (source / "large").open("wb") as file:
        file.write(bytes(64 << 20))  # its copying takes long enough
    (source / "large").chmod(0o4777)
    victim.write_text("secret")
    victim.chmod(0o600)
    swapper = os.fork()
    if swapper == 0:
        _swap_for_links(target, victim)
    target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        copy_tree(os.open(source, os.O_RDONLY | os.O_DIRECTORY), target_fd)
    except FileNotFoundError:
        pass  # a name was gone when its times were to be set
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)
        os.close(target_fd)
    assert victim.stat().st_mode & 0o7777 == 0o600


def _swap_for_links(target: Path, victim: Path) -> NoReturn:
    """Replace every file of ``target`` by a link to ``victim``, for ever."""
    try:
        while True:
            for name in os.listdir(target):
                with suppress(FileNotFoundError, FileExistsError):
                    if not os.path.islink(target / name):
                        os.unlink(target / name)
                        os.symlink(victim, target / name)
    finally:
        os._exit(1)


def test_session_keyring_opened_to_all_is_not_joined_by_the_next_container() -> None:
    children = [_fork(_open_keyring), _fork(_make_keyring)]
    for pid, _ in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert children[0][1] != children[1][1]


def _make_keyring() -> int:
    kp.new_session_keyring()
    return syscall("keyctl", _KEYCTL, _GET_KEYRING_ID, _SESSION, 0)


def _open_keyring() -> int:
    serial = _make_keyring()
    syscall("keyctl", _KEYCTL, _SETPERM, serial, 0x3F3F3F3F)
    return serial


def _fork(work: Callable[[], int]) -> tuple[int, int]:
    """A child that has done ``work`` and lives on, as its keyring does, and the result."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(theirs, str(work()).encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(theirs)
    result = int(os.read(ours, 32))
    os.close(ours)
    return pid, result
