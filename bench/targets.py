"""The programs that are measured, behind one contract.

``Target`` is whatever starts containers by a command line. ``EngineTarget`` also has an
API socket; dockerd and barque are driven by the same stock docker command line. ``Podman``
has no engine. ``Bare`` has neither: it prints its own times.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from support.engine import Engine

HERE = Path(__file__).parent
IMAGE = "bench"
LIVES = 3
"""Containers in a row, of which the last is measured, where all that is timed is the kernel's."""
HYBRID = "/sys/fs/cgroup/unified"
BARE_BRIDGE = "bqbare"
BARE_GATEWAY = "10.212.255.1/24"


class Target(Protocol):
    """Something that runs containers."""

    name: str
    fleet: int
    """How many containers a fleet of this target has."""

    def command(self, *arguments: str) -> list[str]:
        """Return the command line for ``arguments`` of the docker command line."""
        ...

    def environment(self) -> dict[str, str]:
        """Return the environment to run it in."""
        ...

    def engine_pids(self) -> list[int]:
        """Return the processes that make up the engine, without containers' helpers."""
        ...


def call(target: Target, *arguments: str) -> str:
    """Run a command line of ``target``, which must succeed; return its stripped output."""
    done = subprocess.run(
        target.command(*arguments),
        capture_output=True,
        text=True,
        env=target.environment(),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{target.name}: {arguments}: {done.returncode}: {done.stderr}")
    return done.stdout.strip()


def spawn(target: Target, *arguments: str, program: str = "") -> int:
    """Start a command line with its output thrown away; return its process id.

    Goes without ``subprocess``, whose own work would be part of what is measured.
    """
    command = target.command(*arguments)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        return os.posix_spawnp(
            program or command[0],
            [program, *arguments] if program else command,
            target.environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)],
        )
    finally:
        os.close(null)


def await_success(pid: int, what: str) -> None:
    """Wait for the process ``pid``. Raises RuntimeError if it fails."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise RuntimeError(f"{what}: exit code {code}")


def time_command(target: Target, *arguments: str, program: str = "") -> float:
    """Return the seconds that a command line takes, which must succeed."""
    begin = time.perf_counter()
    await_success(spawn(target, *arguments, program=program), f"{target.name}: {arguments}")
    return time.perf_counter() - begin


class EngineTarget:
    """dockerd or barque, by the stock docker command line."""

    fleet = 100

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self._environment = engine.client_environment()

    def command(self, *arguments: str) -> list[str]:
        """Return the docker command line."""
        return ["docker", *arguments]

    def environment(self) -> dict[str, str]:
        """Return an environment that names the engine's socket."""
        return self._environment

    def engine_pids(self) -> list[int]:
        """Return the engine and its direct helpers: containerd, the spawner."""
        engine = self.engine.pid
        return [engine, *_children(engine)]


class Podman:
    """Podman with crun: no engine, one command for each thing to do.

    crun refuses a machine that has cgroup v1 and v2 mounted at once. There podman runs in a
    mount namespace without the v2 hierarchy; entering it costs it about 2 ms a command.
    """

    name = "podman"
    fleet = 25

    def __init__(self, root: Path) -> None:
        self.root = root
        self._holder: subprocess.Popen[bytes] | None = None
        self._prefix: list[str] = []
        if os.path.ismount(HYBRID):
            self._holder = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", f"umount {HYBRID} && echo && exec sleep 86400"],
                stdout=subprocess.PIPE,
            )
            assert self._holder.stdout
            self._holder.stdout.readline()
            self._prefix = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    def command(self, *arguments: str) -> list[str]:
        """Return the podman command line.

        Podman raises limits to its own defaults, which the machine may forbid: containers
        get plain ones instead.
        """
        if arguments[0] == "run":
            limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
            arguments = ("run", *limits, *arguments[1:])
        return [
            *self._prefix,
            "podman",
            *("--root", f"{self.root}/storage"),
            *("--runroot", f"{self.root}/run"),
            *("--cgroup-manager", "cgroupfs"),
            *("--runtime", "crun"),
            *("--events-backend", "file"),
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        """Return the caller's environment."""
        return dict(os.environ)

    def engine_pids(self) -> list[int]:
        """Return nothing: there is no engine."""
        return []

    def close(self) -> None:
        """Remove everything: containers, images, storage."""
        subprocess.run(self.command("rm", "-af", "-t", "0"), capture_output=True, check=False)
        subprocess.run(self.command("rmi", "-af"), capture_output=True, check=False)
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
        shutil.rmtree(self.root, ignore_errors=True)


class Bare:
    """The C program that makes a container's system calls and nothing else."""

    name = "bare C"

    def __init__(self, archive: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="bench-bare-"))
        self.program = build("bare", self.root)
        for name in ("rootfs", "work"):
            (self.root / name).mkdir()
        subprocess.run(["tar", "-C", self.root / "rootfs", "-xf", archive], check=True)
        # One that an interrupted run has left is in the way.
        subprocess.run(["ip", "link", "delete", BARE_BRIDGE], check=False, capture_output=True)
        subprocess.run(["ip", "link", "add", BARE_BRIDGE, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", BARE_GATEWAY, "dev", BARE_BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BARE_BRIDGE, "up"], check=True)

    def run(self, *, bridge: bool) -> float:
        """Run containers, the first to warm up; return the milliseconds of the last.

        The program takes the time itself: its own start is not part of it.
        """
        done = subprocess.run(
            [
                *(self.program, self.root / "rootfs", self.root / "work", str(LIVES)),
                *([BARE_BRIDGE] if bridge else []),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(done.stdout.split()[-1]) / 1000

    def close(self) -> None:
        """Remove the bridge and the files."""
        subprocess.run(["ip", "link", "delete", BARE_BRIDGE], check=True)
        shutil.rmtree(self.root)


def build(name: str, folder: Path) -> Path:
    """Compile ``bench/NAME.c`` into ``folder`` and return the program."""
    program = folder / name
    flags = ["-O2", "-Wall", "-Wextra", "-Wno-format-truncation", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", program, HERE / f"{name}.c"], check=True)
    return program


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    threads = Path(f"/proc/{pid}/task").iterdir()
    found = set(map(int, text.split()))
    for thread in threads:
        found.update(map(int, (thread / "children").read_text().split()))
    return sorted(found)


def helpers(target: Target, containers: Sequence[str]) -> list[int]:
    """Return the processes that stand between the engine and its containers' inits.

    These are the ancestors of each init up to, and without, the engine or process 1.
    """
    listed = json.loads(call(target, "inspect", *containers))
    engine = {1, *target.engine_pids()}
    found = set()
    for container in listed:
        parent = _parent(container["State"]["Pid"])
        while parent not in engine:
            found.add(parent)
            parent = _parent(parent)
    if isinstance(target, Podman):
        return sorted(found)
    return sorted(found - engine)


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])
