"""Containers that have the machine's own programs, read-only: engines inside of engines."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from support.engine import Engine
from support.waiting import wait_until

_VENV = Path(sys.executable).parent
_SOURCES = Path(__file__).parents[2] / "src"
_PATH = f"{_VENV}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SOCKET = "unix:///run/barque.sock"
_IMAGE = "/busybox.tar"


def machine_binds(*more: Path) -> list[str]:
    """Return the flags that show a container the machine's programs, and barque's sources."""
    wanted = [Path("/usr"), Path("/lib"), Path("/lib64"), Path(sys.base_prefix), _VENV.parent]
    flags = [f"-v={path}:{path}:ro" for path in (*wanted, _SOURCES, *more) if path.exists()]
    return [*dict.fromkeys(flags), f"-e=PATH={_PATH}", "-e=PYTHONDONTWRITEBYTECODE=1"]


@dataclass(frozen=True)
class Inner:
    """An engine in the container ``name``, which ``run`` can talk to from inside."""

    outer: Engine
    chain: tuple[str, ...]
    """Names of containers, the outermost first, the engine's own last."""

    def _reach(self) -> list[str]:
        """Return the command line that runs another one beside the inner engine."""
        words: list[str] = []
        for name in self.chain:
            host = [] if not words else ["docker", "-H", _SOCKET]
            words += [*host, "exec", name]
        return words

    def run(self, *command: str, timeout_s: float = 120) -> str:
        """Run a command beside the engine, which must succeed; return its output."""
        return self.outer.docker(*self._reach(), *command, timeout_s=timeout_s)

    def docker(self, *arguments: str) -> str:
        """Run the stock command line against the inner engine; it must succeed."""
        return self.run("docker", "-H", _SOCKET, *arguments)

    def fails(self, *arguments: str) -> str:
        """As ``docker``, but it must fail: return what it said."""
        done = self.outer.cli(*self._reach(), "docker", "-H", _SOCKET, *arguments)
        assert done.returncode, done.stdout
        return done.stderr

    def wait(self) -> None:
        """Wait until the inner engine answers."""
        reach = (*self._reach(), "docker", "-H", _SOCKET, "version")
        wait_until(
            lambda: self.outer.cli(*reach, timeout_s=60).returncode == 0,
            f"the engine in {'/'.join(self.chain)} answers",
            60,
        )

    def subnet(self) -> str:
        """Return the subnet of the inner engine's default network."""
        (network,) = json.loads(self.docker("network", "inspect", "bridge"))
        subnet: str = network["IPAM"]["Config"][0]["Subnet"]
        return subnet

    def nest(self, name: str) -> Inner:
        """Start an engine in a container of this one."""
        self.docker(*engine_container(name, _IMAGE))
        inner = Inner(self.outer, (*self.chain, name))
        inner.wait()
        inner.docker("load", "-i", _IMAGE)
        return inner


def engine_container(
    name: str, archive: str, *more: str, privileged: bool = True, volume: bool = True
) -> list[str]:
    """Return the arguments of ``docker run`` for a container with an engine as its program.

    ``archive`` is what ``docker save`` made of busybox. ``volume``: for the data root.
    """
    return [
        *("run", "-d", "--name", name, *(["--privileged"] if privileged else [])),
        *machine_binds(),
        f"-v={archive}:{_IMAGE}:ro",
        *(["-v=/var/lib/barque"] if volume else []),
        *(more or ("busybox",)),
        "barqued",
    ]


def start(outer: Engine, name: str, archive: Path, *more: str, volume: bool = True) -> Inner:
    """Start an engine in a privileged container of ``outer``; ``more`` ends with the image."""
    outer.docker(*engine_container(name, str(archive), *more, volume=volume))
    inner = Inner(outer, (name,))
    inner.wait()
    inner.docker("load", "-i", _IMAGE)
    return inner
