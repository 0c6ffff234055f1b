"""What each feature of isolation costs: starts with all of them beside starts without one.

Straight through a spawner, without an engine or a command line, from the request to the end of
a program that does nothing. The difference is taken within a round, the median over the rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from barque.engine.facts import MASKED_PATHS, HostFacts
from barque.engine.seccomp import default_profile, resolve_profile
from barque.models import oci
from barque.models.launch import ContainerLaunch, RootfsMount
from barque.runtime.capabilities import DEFAULT, NAMES
from barque.runtime.seccomp import compile_filter
from bench.measure import Measurement
from bench.subjects import Subjects
from support import rootfs
from support.shims import READONLY, Harness

ROUNDS = 60
_LIMITS = oci.Resources(
    memory=oci.Memory(limit=64 << 20),
    cpu=oci.Cpu(quota=50_000, period=100_000),
    pids=oci.Pids(limit=100),
    devices=[oci.DeviceRule(allow=False)],
)

Change = Callable[[ContainerLaunch], None]


def _without_namespace(kind: str) -> Change:
    def change(launch: ContainerLaunch) -> None:
        linux = launch.spec.linux
        linux.namespaces = [namespace for namespace in linux.namespaces if namespace.type != kind]

    return change


def _without_mount(destination: str) -> Change:
    def change(launch: ContainerLaunch) -> None:
        mounts = launch.spec.mounts
        launch.spec.mounts = [mount for mount in mounts if mount.destination != destination]

    return change


def _without_layers(launch: ContainerLaunch) -> None:
    launch.rootfs = RootfsMount(type="bind", source=launch.rootfs.lower[0])


def _without_filter(launch: ContainerLaunch) -> None:
    launch.seccomp_path = ""


def _without_masks(launch: ContainerLaunch) -> None:
    launch.spec.linux.masked_paths = []


def _without_readonly(launch: ContainerLaunch) -> None:
    launch.spec.linux.readonly_paths = []


def _with_all_capabilities(launch: ContainerLaunch) -> None:
    assert launch.spec.process is not None
    caps = list(NAMES)
    launch.spec.process.capabilities = oci.Capabilities(
        bounding=caps, effective=caps, permitted=caps
    )


def _without_limits(launch: ContainerLaunch) -> None:
    launch.spec.linux.resources = oci.Resources()


def _without_rlimits(launch: ContainerLaunch) -> None:
    assert launch.spec.process is not None
    launch.spec.process.rlimits = []


FEATURES: dict[str, Change] = {
    "pid namespace": _without_namespace("pid"),
    "network namespace, loopback": _without_namespace("network"),
    "ipc namespace": _without_namespace("ipc"),
    "uts namespace, host name": _without_namespace("uts"),
    "cgroup namespace": _without_namespace("cgroup"),
    "overlay of two layers": _without_layers,
    "/sys": _without_mount("/sys"),
    "/sys/fs/cgroup": _without_mount("/sys/fs/cgroup"),
    "/dev/mqueue": _without_mount("/dev/mqueue"),
    "/dev/shm": _without_mount("/dev/shm"),
    "masked paths": _without_masks,
    "read-only paths": _without_readonly,
    "seccomp filter": _without_filter,
    "capabilities taken away": _with_all_capabilities,
    "limits and device rules": _without_limits,
    "rlimits": _without_rlimits,
}
"""What a container is started without, and how."""


class _Bench:
    """Starts of one program."""

    def __init__(self, harness: Harness, seccomp_path: str) -> None:
        self._harness = harness
        self._seccomp_path = seccomp_path
        self._count = 0

    async def start(self, change: Change | None) -> float:
        """The microseconds from the request to the end of the program."""
        self._count += 1
        id_ = f"b{self._count}"
        launch = self._harness.launch(id_, ["true"], resources=_LIMITS)
        launch.seccomp_path = self._seccomp_path
        launch.spec.mounts = list(launch.spec.mounts)
        launch.spec.linux.masked_paths = list(MASKED_PATHS)
        launch.spec.linux.readonly_paths = list(READONLY)
        assert launch.spec.process is not None
        launch.spec.process.rlimits = [oci.Rlimit(type="RLIMIT_CORE", soft=0, hard=0)]
        if change is not None:
            change(launch)
        begin = time.perf_counter()
        await self._harness.start(id_, launch)
        record = await self._harness.exit(id_)
        elapsed = time.perf_counter() - begin
        if record.code:
            raise RuntimeError(f"the container failed: {record}")
        return 1e6 * elapsed


def measure(subjects: Subjects) -> list[Measurement]:
    """Return the cost of each feature in microseconds, and a whole start."""
    if not any(engine.name == "barque" for engine in subjects.engines):
        return []
    directory = Path(tempfile.mkdtemp(prefix="isolation-", dir=subjects.folder))
    archive = rootfs.write_busybox_tar(directory / "busybox.tar")
    lower = directory / "lower"
    lower.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", lower], check=True)
    facts = HostFacts.gather()
    profile = resolve_profile(default_profile(), DEFAULT, facts)
    assert profile is not None
    filter_path = directory / "filter"
    filter_path.write_bytes(compile_filter(profile))
    harness = Harness(directory, lower)
    try:
        return asyncio.run(_measure(harness, str(filter_path)))
    finally:
        harness.close()


async def _measure(harness: Harness, filter_path: str) -> list[Measurement]:
    bench = _Bench(harness, filter_path)
    whole = Measurement("start and end, all isolation", "us")
    costs: dict[str, list[float]] = {name: [] for name in FEATURES}
    try:
        for _ in range(ROUNDS):
            for name, change in FEATURES.items():
                complete = await bench.start(None)
                costs[name].append(complete - await bench.start(change))
                whole.add("barque", complete)
    finally:
        harness.host.close()
    return [whole, *(_report(name, samples) for name, samples in costs.items())]


def _report(name: str, samples: list[float]) -> Measurement:
    """One whose median is what the table shows."""
    measurement = Measurement(f"of it: {name}", "us")
    measurement.add("barque", statistics.median(samples))
    return measurement
