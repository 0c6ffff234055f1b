"""What goes through networks: bytes between host and containers, names resolved.

dockerd is measured with its firewall, with its docker-proxy and without. The engines run in a
network namespace of their own each, so that their rules never meet the machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from barque.kernel.netlink import LOOPBACK, Netlink, add_veth, set_link
from barque.kernel.process import CLONE_NEWNET, unshare
from bench.measure import Goal, Measurement
from bench.subjects import Subjects
from bench.targets import IMAGE, build
from support import rootfs
from support.engine import Engine, open_barqued, open_dockerd

ROUNDS = 3
SECONDS = 2
OUTSTANDING = 16
HOST = "192.0.2.1"
PORT = 5201
NETWORK = "bench"
FIREWALL = ("--iptables=true", "--ip6tables=false")
FLAVOURS = {
    "barque": open_barqued,
    "dockerd": lambda: open_dockerd(*FIREWALL, "--userland-proxy=true"),
    "dockerd without proxy": lambda: open_dockerd(*FIREWALL, "--userland-proxy=false"),
}
ROWS = {
    "iperf3 host to container": ("host", "container", "dockerd"),
    "iperf3 container to container": ("client", "container", "dockerd"),
    "iperf3 by a published port": ("host", HOST, "dockerd"),
    "iperf3 by a published port at 127.0.0.1": ("host", "127.0.0.1", "dockerd"),
}
COST = ", a processor second"
NAMES = "names resolved"
FACTORS = {"iperf3 by a published port at 127.0.0.1": 2.0}
UNITS = {**dict.fromkeys(ROWS, "Gbit/s"), **{row + COST: "Gbit" for row in ROWS}, NAMES: "1/s"}


def measure(subjects: Subjects) -> list[Measurement]:
    """Measure the flavours of those engines that are subjects, one after the other."""
    if shutil.which("iperf3") is None:
        sys.stderr.write("traffic is left out: iperf3 is not installed\n")
        return []
    wanted = {engine.name for engine in subjects.engines}
    measurements = {
        name: Measurement(
            name, unit, "higher", goal=Goal("dockerd", FACTORS.get(name.removesuffix(COST), 1.0))
        )
        for name, unit in UNITS.items()
    }
    dns = build("dns", subjects.folder)
    archive = rootfs.write_busybox_tar(subjects.folder / "traffic.tar")
    flavours = [name for name in FLAVOURS if name.split()[0] in wanted]
    for _ in range(ROUNDS):
        for flavour in flavours:
            samples = _in_own_network(lambda flavour=flavour: _sample(flavour, archive, dns))
            for name, value in samples.items():
                measurements[name].add(flavour, value)
        flavours.append(flavours.pop(0))
    return list(measurements.values())


def _in_own_network(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Run ``work`` in a process with a network namespace of its own, which plays a host."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            unshare(CLONE_NEWNET)
            _make_host()
            os.write(writer, json.dumps(work()).encode())
            code = 0
        except BaseException:  # noqa: BLE001 - shown, and the parent fails
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the measurement in a network of its own failed")
    found: dict[str, float] = json.loads(text)
    return found


def _make_host() -> None:
    """An address that is not the loopback's, on an interface that is up."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    with Netlink() as netlink:
        netlink.execute(
            set_link(LOOPBACK, up=True),
            add_veth("uplink", namespace_fd=own, master=0, peer="wan0"),
            set_link(netlink.index("lo"), up=True),
        )
    os.close(own)
    for command in (f"address add {HOST}/24 dev uplink", "link set wan0 up"):
        subprocess.run(["ip", *command.split()], check=True)


def _sample(flavour: str, archive: Path, dns: Path) -> dict[str, float]:
    with FLAVOURS[flavour]() as engine:
        engine.docker("import", str(archive), IMAGE)
        engine.docker("network", "create", NETWORK)
        run = ("run", "-d", "--network", NETWORK)
        sleep = (IMAGE, "sleep", "600")
        engine.docker(*run, "--name", "container", "-p", f"{PORT}:{PORT}", *sleep)
        engine.docker(*run, "--name", "client", *sleep)
        found = {}
        for name, (source, target, _) in ROWS.items():
            before = _busy_seconds()
            found[name] = _iperf(engine, source, target)
            found[name + COST] = found[name] * SECONDS / (_busy_seconds() - before)
        command = [*_inside(engine, "client"), str(dns), "127.0.0.11", "container"]
        command += [str(OUTSTANDING), str(SECONDS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[NAMES] = float(done.stdout)
        return found


def _busy_seconds() -> float:
    """What all processors of the machine, which has nothing else to do, have worked so far."""
    line = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _inside(engine: Engine, container: str) -> list[str]:
    pid = engine.docker("inspect", "--format", "{{.State.Pid}}", container)
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@contextmanager
def _serving(command: list[str]) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(0.3)
            yield
        finally:
            process.kill()


def _iperf(engine: Engine, source: str, target: str) -> float:
    """Return gigabits a second, as the receiver counts them."""
    with ExitStack() as stack:
        server = [*_inside(engine, "container"), "iperf3", "-s", "-p", str(PORT)]
        stack.enter_context(_serving(server))
        if target == "container":
            shown = f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}'
            target = engine.docker("inspect", "--format", shown, "container")
        prefix = [] if source == "host" else _inside(engine, source)
        command = [*prefix, "iperf3", "-J", "-c", target, "-p", str(PORT), "-t", str(SECONDS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        document = json.loads(done.stdout)
        if "error" in document:
            raise RuntimeError(f"{' '.join(command)}: {document['error']}")
        return float(document["end"]["sum_received"]["bits_per_second"]) / 1e9
