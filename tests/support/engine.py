"""Private engines for tests and measurements: barqued, and dockerd to compare with.

Each engine has its own data root, exec root, socket, bridge and subnet below one
directory, so that any number of them run side by side, and is removed without a trace.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.scale import patient
from support.wire import call

START_TIMEOUT_S = patient(30)
STOP_TIMEOUT_S = patient(30)
SUBNETS = ipaddress.IPv4Network("10.213.0.0/16")


class EngineDidNotStart(Exception):
    """The engine ended or kept silent; the message carries the end of its log."""


def ping(path: Path, timeout_s: float = 2.0) -> bool:
    """Tell whether an engine answers ``GET /_ping`` on the unix socket ``path``."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@dataclass
class Engine:
    """One private engine: how to start it, and a handle on the running one."""

    name: str
    root: Path
    command: Sequence[str]
    bridge: str
    subnet: ipaddress.IPv4Network
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    """The daemon.json."""

    @property
    def socket(self) -> Path:
        """The API socket."""
        return self.root / "api.sock"

    @property
    def url(self) -> str:
        """The API socket as clients' ``DOCKER_HOST``."""
        return f"unix://{self.socket}"

    @property
    def data_root(self) -> Path:
        """What outlives the engine."""
        return self.root / "data"

    @property
    def exec_root(self) -> Path:
        """What does not outlive the machine."""
        return self.root / "exec"

    @property
    def log(self) -> Path:
        """The engine's own messages."""
        return self.root / "log"

    @property
    def pid(self) -> int:
        """The engine's process id, while it runs."""
        assert self.process is not None, f"{self.name} is not running"
        return self.process.pid

    def spawn(self) -> None:
        """Start the engine without waiting for it."""
        assert self.process is None, f"{self.name} is running already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=os.environ | self.environment,
            )

    def start(self) -> float:
        """Start the engine and return the seconds until it answered its first ping.

        Raises EngineDidNotStart if it ends or does not answer within START_TIMEOUT_S.
        """
        begin = time.monotonic()
        self.spawn()
        assert self.process is not None
        while not ping(self.socket):
            if self.process.poll() is not None:
                self.process = None
                raise EngineDidNotStart(f"{self.name} ended: {self._last_words()}")
            if time.monotonic() - begin > START_TIMEOUT_S:
                self.kill()
                raise EngineDidNotStart(f"{self.name} does not answer: {self._last_words()}")
            time.sleep(0.001)
        return time.monotonic() - begin

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> int:
        """Ask the engine to end and return its exit code; SIGKILL after STOP_TIMEOUT_S."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process = None

    def kill(self) -> None:
        """Kill the engine without warning, as ``kill -9`` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> float:
        """Stop and start; return the seconds from the start to the first ping."""
        self.stop()
        return self.start()

    def client_environment(self) -> dict[str, str]:
        """Return the environment in which a client talks to this engine, and only to it."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "BARQUE_"))},
            "DOCKER_HOST": self.url,
            "DOCKER_CONFIG": str(self.root / "client"),
            "HOME": str(self.root),
        }

    def cli(
        self,
        *arguments: str,
        program: str = "docker",
        stdin: bytes | None = None,
        timeout_s: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a client's command line against this engine and return what it said."""
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=self.client_environment(),
            timeout=patient(timeout_s),
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def docker(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run the stock command line, which must succeed, and return its stripped output."""
        done = self.cli(*arguments, timeout_s=timeout_s)
        if done.returncode:
            raise AssertionError(
                f"{self.name}: docker {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
            )
        return done.stdout.strip()

    def remove_containers(self) -> None:
        """Remove every container of this engine, some at a time, and their volumes."""

        def remove(container: dict[str, Any]) -> None:
            call(self.socket, "DELETE", f"/containers/{container['Id']}?force=1&v=1", timeout_s=300)

        status, listed = call(self.socket, "GET", "/containers/json?all=1")
        assert status == 200, f"{self.name}: {listed}"
        if listed:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(remove, listed))


def docker_cli_is_here() -> bool:
    """Whether the stock docker command line is installed."""
    return shutil.which("docker") is not None


def dockerd_is_here() -> bool:
    """Whether dockerd is installed."""
    return shutil.which("dockerd") is not None


def _choose_network() -> tuple[str, ipaddress.IPv4Network]:
    """Return a bridge name and a /24 that nothing on the machine uses."""
    listed = subprocess.run(["ip", "-j", "address"], check=True, capture_output=True).stdout
    used = [
        ipaddress.ip_address(address["local"])
        for link in json.loads(listed)
        for address in link.get("addr_info", [])
        if address.get("family") == "inet"
    ]
    names = {link.get("ifname") for link in json.loads(listed)}
    candidates = list(SUBNETS.subnets(new_prefix=24))
    first = os.getpid() * 7 + len(used)
    for step in range(len(candidates)):
        number = (first + step) % len(candidates)
        name = f"bqt{number}"
        subnet = candidates[number]
        if name not in names and not any(address in subnet for address in used):
            return name, subnet
    raise AssertionError(f"no free subnet left in {SUBNETS}: remove stale bqt* bridges")


def _gateway(subnet: ipaddress.IPv4Network) -> str:
    return f"{subnet[1]}/{subnet.prefixlen}"


def _remove_link(name: str) -> None:
    if Path(f"/sys/class/net/{name}").exists():
        subprocess.run(["ip", "link", "delete", name], check=True)


def _remove_table(name: str) -> None:
    if shutil.which("nft") is None:
        return
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    if f"table inet {name}" in listed.stdout.splitlines():
        subprocess.run(["nft", "delete", "table", "inet", name], check=True)


def _unmount_below(root: Path) -> None:
    """Take away what an engine left mounted below ``root``, deepest first."""
    mounts = [
        line.split()[4].encode().decode("unicode_escape")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    for mount in reversed(mounts):
        if mount.startswith(f"{root}/"):
            subprocess.run(["umount", "-l", mount], check=False)


@contextmanager
def _removed_afterwards(engine: Engine) -> Iterator[Engine]:
    (engine.root / "client").mkdir()
    (engine.root / "daemon.json").write_text(json.dumps(engine.configuration))
    try:
        engine.start()
        yield engine
    finally:
        try:
            if engine.process is None:
                engine.start()
            engine.remove_containers()
            call(engine.socket, "POST", "/networks/prune")
        finally:
            engine.stop()
            _unmount_below(engine.root)
            _remove_link(engine.bridge)
            _remove_table(f"barque-{engine.bridge}")
            shutil.rmtree(engine.root, ignore_errors=True)


@contextmanager
def open_barqued(
    *extra: str,
    prefix: str = "barqued-",
    configuration: dict[str, Any] | None = None,
    program: Sequence[str] = (),
) -> Iterator[Engine]:
    """Run a private barqued; ``extra`` are more of its flags. Needs root.

    ``configuration`` is its daemon.json; ``program`` takes the place of the command ``barqued``.
    On leaving, its containers, bridge and files are removed. Raises EngineDidNotStart.
    """
    root = Path(tempfile.mkdtemp(prefix=prefix))
    bridge, subnet = _choose_network()
    engine = Engine(
        name="barqued",
        root=root,
        bridge=bridge,
        subnet=subnet,
        configuration=configuration or {},
        command=[
            *(program or [str(Path(sys.executable).with_name("barqued"))]),
            *("--data-root", str(root / "data")),
            *("--exec-root", str(root / "exec")),
            *("--pidfile", str(root / "pid")),
            *("--config-file", str(root / "daemon.json")),
            *("-H", f"unix://{root / 'api.sock'}"),
            *("--bridge", bridge),
            *("--bip", _gateway(subnet)),
            *extra,
        ],
    )
    with _removed_afterwards(engine):
        yield engine


@contextmanager
def open_dockerd(*extra: str, prefix: str = "dockerd-") -> Iterator[Engine]:
    """Run a private dockerd on a bridge of its own; ``extra`` are more of its flags.

    It leaves the machine's firewall alone: containers reach each other, not the outside.
    On leaving, its containers, bridge, mounts and files are removed.
    """
    root = Path(tempfile.mkdtemp(prefix=prefix))
    bridge, subnet = _choose_network()
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", _gateway(subnet), "dev", bridge], check=True)
    subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
    engine = Engine(
        name="dockerd",
        root=root,
        bridge=bridge,
        subnet=subnet,
        command=[
            "dockerd",
            *("--data-root", str(root / "data")),
            *("--exec-root", str(root / "exec")),
            *("--pidfile", str(root / "pid")),
            *("--config-file", str(root / "daemon.json")),
            *("-H", f"unix://{root / 'api.sock'}"),
            *("--bridge", bridge),
            "--iptables=false",
            "--ip6tables=false",
            "--userland-proxy=false",
            *extra,
        ],
    )
    with _removed_afterwards(engine):
        yield engine
