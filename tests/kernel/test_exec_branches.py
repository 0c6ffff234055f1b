"""How exec'ed processes get into a container: what a further fork on the way must not change."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from barque.kernel import process as kp
from barque.runtime.status import Reporter
from barque.shim.protocol import Streams
from barque.shim.task import Branching, Child, StartError, exit_status, follow
from support import census
from support.agreement import find_shim
from support.bundle import Runtime
from support.engine import Engine
from support.waiting import wait_until

UID = "54321"
"""Of nobody else on the machine: limits count all processes of a user."""

FORBIDDEN = [
    *(
        (name, "SCMP_ACT_ERRNO")
        for name in ("clone", "setsid", "ioctl", "prlimit64", "write", "read")
    ),
    *((name, "SCMP_ACT_KILL_PROCESS") for name in ("clone", "setsid", "ioctl", "sendmsg", "write")),
]
"""Of what a branch needs. The programs of the test do without, or are content with an error."""


@pytest.fixture
def no_leaks(barqued: Engine) -> Iterator[None]:
    barqued.docker("run", "--rm", "busybox", "true")  # what all containers share is there
    before = census.take_at_rest()
    yield
    barqued.remove_containers()
    assert census.settle(before) == []


pytestmark = pytest.mark.usefixtures("no_leaks")


def run(engine: Engine, *flags: str, command: tuple[str, ...] = ("sleep", "1000")) -> str:
    return engine.docker("run", "-d", *flags, "busybox", *command)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_session_of_its_own(barqued: Engine) -> None:
    id_ = run(barqued)
    shown = barqued.docker("exec", id_, "cut", "-d ", "-f1,4-8", "/proc/self/stat").split()
    pid, parent, group, session, terminal, foreground = map(int, shown)
    assert pid == group == session
    assert (parent, terminal, foreground) == (0, 0, -1)


def test_a_terminal_controls_it(barqued: Engine) -> None:
    id_ = run(barqued)
    script = "exec <&- >&-; ps -o pid,tty | grep -v ? >/dev/tty; echo here >/dev/tty"
    command = ["docker", "exec", "-t", id_, "sh", "-c", script]
    shown = subprocess.run(
        command, env=barqued.client_environment(), capture_output=True, check=True, timeout=30
    ).stdout.decode()
    assert shown.endswith("here\r\n")


def test_one_process_of_a_user_is_one(barqued: Engine) -> None:
    """The limit counts what is being made, and what has ended and was not reaped."""
    id_ = run(barqued, "-u", UID, "--ulimit", "nproc=1")
    assert barqued.docker("exec", id_, "sh", "-c", "ulimit -u; ulimit -Hu") == "1\n1"
    tight = run(barqued, "-u", UID, "--ulimit", "nproc=4")  # with the first container
    for _ in range(20):
        assert barqued.docker("exec", tight, "sh", "-c", "/bin/true; echo well") == "well"
    done = barqued.cli("exec", tight, "sh", "-c", "sleep 1 & sleep 1 & wait")
    assert "can't fork" in done.stderr


@pytest.mark.parametrize(("name", "action"), FORBIDDEN)
def test_filters_that_forbid_what_is_needed(
    barqued: Engine, tmp_path: Path, name: str, action: str
) -> None:
    """Nobody but the program is under its filter."""
    profile = tmp_path / "profile"
    rule = {"names": [name], "action": action}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    flags = ("--security-opt", f"seccomp={profile}", "--ulimit", "nproc=1000")
    id_ = run(barqued, *flags, "--name", f"forbids-{name}")
    for terminal in ((), ("-t",)):
        done = barqued.cli("exec", *terminal, id_, "mkdir", f"/done{''.join(terminal)}")
        assert done.returncode == 0, done.stderr
    assert barqued.docker("diff", id_).split() == ["A", "/done", "A", "/done-t"]


def test_the_program_that_cannot_be_run_is_told_of(barqued: Engine) -> None:
    id_ = run(barqued)
    barqued.docker("exec", id_, "sh", "-c", "echo '#!/nowhere' >/script; chmod 755 /script")
    barqued.docker("exec", id_, "sh", "-c", "printf '\\177ELFnonsense' >/elf; chmod 755 /elf")
    for program, code, said in (
        ("/script", 127, "no such file or directory"),
        ("/elf", 126, "exec format error"),
        ("/nope", 127, "no such file or directory"),
        ("/etc", 126, "is a directory"),
    ):
        done = barqued.cli("exec", id_, program)
        assert done.returncode == code
        assert said in done.stdout + done.stderr


@pytest.mark.parametrize("flags", [("--pid", "host"), ("--userns", "host")])
def test_namespaces_that_are_the_hosts(barqued: Engine, flags: tuple[str, ...]) -> None:
    id_ = run(barqued, *flags)
    shown = barqued.docker("exec", id_, "readlink", "/proc/self/ns/pid")
    assert (shown == os.readlink("/proc/self/ns/pid")) == (flags == ("--pid", "host"))


def test_the_pid_namespace_of_another_container(barqued: Engine) -> None:
    first = run(barqued)
    second = run(barqued, "--pid", f"container:{first}")
    where = [
        barqued.docker("exec", id_, "readlink", "/proc/self/ns/pid") for id_ in (first, second)
    ]
    assert where[0] == where[1] != os.readlink("/proc/self/ns/pid")


def test_attributes_are_those_of_the_container(barqued: Engine) -> None:
    id_ = run(barqued, "--oom-score-adj", "321", "--cpuset-cpus", "0", "--ulimit", "nofile=77:88")
    script = "cat /proc/self/oom_score_adj; nproc; ulimit -n; ulimit -Hn; umask; pwd"
    shown = barqued.docker("exec", "-w", "/tmp", id_, "sh", "-c", script).split()
    assert shown == ["321", "1", "77", "88", "0022", "/tmp"]


def test_no_room_for_a_process_is_told_of(barqued: Engine) -> None:
    id_ = run(barqued, "--pids-limit", "1")
    done = barqued.cli("exec", id_, "true")
    assert done.returncode != 0
    assert "as many processes as it may" in done.stdout + done.stderr
    assert barqued.docker("inspect", "-f", "{{.State.Running}}", id_) == "true"


def test_containers_that_end_under_execs(barqued: Engine) -> None:
    """Whatever an exec had got to: the container ends, and at once."""
    for _ in range(12):
        id_ = run(barqued)
        execs = [
            threading.Thread(target=barqued.cli, args=("exec", id_, "sleep", "100"))
            for _ in range(4)
        ]
        for thread in execs:
            thread.start()
        barqued.docker("kill", id_)
        assert barqued.docker("wait", id_, timeout_s=20) == "137"
        for thread in execs:
            thread.join(20)
            assert not thread.is_alive()


def speak_for(pid: int) -> Child:
    """What an exec's process says when who traces it has the credentials forged."""

    def child(reporter: Reporter, _stdio: object) -> None:
        with socket.socket(fileno=os.dup(reporter.fileno())) as end:
            sender = struct.pack("3i", pid, 0, 0)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, sender)]
            end.sendmsg([b'{"type":"branched","waits":false}'], ancillary)
        os._exit(0)

    return child


def say_nothing(_reporter: Reporter, _stdio: object) -> None:
    os._exit(0)


@pytest.mark.parametrize("child", [speak_for(os.getpid()), say_nothing], ids=["forged", "silent"])
def test_processes_that_nobody_knows(child: Child) -> None:
    """Nothing of them is taken for the exec's, and its parent is told to look for what there is."""
    streams = Streams(tty=False, open_stdin=True)
    starting = Branching(streams, partial(kp.clone_child, 0), child, (0, 0), lambda _: False)
    with pytest.raises(StartError) as caught:
        follow(starting)
    assert caught.value.strays
    assert caught.value.pidfd < 0
    exit_status(starting.preparer_pidfd)
    os.close(starting.preparer_pidfd)


def test_preparers_that_are_killed(barqued: Engine) -> None:
    """The exec runs or fails; in the shim nothing is left of it, and others go on."""
    id_ = run(barqued)
    shim = find_shim(id_)
    init = int(barqued.docker("inspect", "-f", "{{.State.Pid}}", id_))
    over = threading.Event()
    killed = 0

    def kill() -> None:
        nonlocal killed
        while not over.is_set():
            for pid in set(children(shim)) - {init}:
                try:
                    name = Path(f"/proc/{pid}/comm").read_text()
                    os.kill(pid, signal.SIGKILL)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                killed += name.startswith("barque-shim")

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        codes = {barqued.cli("exec", id_, "true").returncode for _ in range(40)}
    finally:
        over.set()
        killer.join()
    assert killed, "none was killed on its way"
    assert codes <= {0, 126, 128, 137, 1}
    wait_until(lambda: children(shim) == [init], "nothing is left of them")
    assert barqued.docker("exec", id_, "echo", "well") == "well"


@pytest.mark.parametrize(
    "scheduler",
    [
        {"policy": "SCHED_OTHER", "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        {"policy": "SCHED_BATCH", "nice": 7},
    ],
    ids=str,
)
def test_a_scheduler_that_a_fork_would_take_away(
    runtime: Runtime, tmp_path: Path, scheduler: dict[str, object]
) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    document = tmp_path / "document"
    args = ["cut", "-d ", "-f19,41", "/proc/self/stat"]
    document.write_text(json.dumps({"args": args, "cwd": "/", "scheduler": scheduler}))
    shown = runtime.call("exec", "--process", str(document), "c1").split()
    assert shown == [
        str(scheduler["nice"]),
        {"SCHED_OTHER": "0", "SCHED_BATCH": "3"}[str(scheduler["policy"])],
    ]


def test_a_detached_exec_is_left_to_who_reaps(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    pid_file = tmp_path / "pid"
    detached = ("exec", "--detach", "--pid-file", str(pid_file), "c1", "sleep", "50")
    assert runtime.start(*detached, into=subprocess.DEVNULL).wait(60) == 0
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    assert pid in runtime.processes()
    assert len(runtime.processes()) == 2  # and no preparer
    assert runtime.try_call("exec", "c1", "sh", "-c", "exit 9")[0] == 9
    assert runtime.try_call("exec", "c1", "nonesuch")[0] == 255
