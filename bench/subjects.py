"""The targets of one run of the measurements, all with the same image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.disk import open_disk
from bench.targets import IMAGE, Bare, EngineTarget, Podman, Target, build, call
from support import rootfs
from support.engine import open_barqued, open_dockerd


@dataclass(frozen=True)
class Subjects:
    """Who is measured, and what they share."""

    engines: Sequence[EngineTarget]
    podman: Podman | None
    bare: Bare | None
    folder: Path
    """Room for files of measurements; removed at the end."""
    load: Path
    """The load generator, compiled."""

    @property
    def targets(self) -> list[Target]:
        """All that run containers by a command line."""
        return [*self.engines, *([self.podman] if self.podman else [])]

    def sample(self, measure: Callable[[Target], float]) -> dict[str, Callable[[], float]]:
        """Return ``measure`` applied to each target, by the target's name."""
        return {target.name: partial(measure, target) for target in self.targets}

    def sample_engines(
        self, measure: Callable[[EngineTarget], float]
    ) -> dict[str, Callable[[], float]]:
        """Return ``measure`` applied to each engine, by its name."""
        return {engine.name: partial(measure, engine) for engine in self.engines}


@contextmanager
def open_subjects(names: Sequence[str]) -> Iterator[Subjects]:
    """Start the targets called ``names`` with the image loaded, and remove them afterwards."""
    with ExitStack() as stack:
        stack.enter_context(open_disk())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        archive = rootfs.write_busybox_tar(folder / "busybox.tar")
        engines = []
        if "dockerd" in names:
            dockerd = stack.enter_context(open_dockerd("--live-restore", prefix="bench-dockerd-"))
            engines.append(EngineTarget("dockerd", dockerd))
        if "barque" in names:
            barqued = stack.enter_context(open_barqued(prefix="bench-barqued-"))
            engines.append(EngineTarget("barque", barqued))
        podman = bare = None
        if "podman" in names:
            stack.enter_context(_firewall_restored())
            podman = Podman(Path(tempfile.mkdtemp(prefix="bench-podman-")))
            stack.callback(podman.close)
        if "bare" in names:
            bare = Bare(archive)
            stack.callback(bare.close)
        subjects = Subjects(engines, podman, bare, folder, build("load", folder))
        for target in subjects.targets:
            call(target, "import", str(archive), IMAGE)
        yield subjects


@contextmanager
def _firewall_restored() -> Iterator[None]:
    """Take away the bridge and the firewall tables that podman's network plugins leave."""
    before = _tables()
    bridge_was_there = os.path.exists("/sys/class/net/cni-podman0")
    try:
        yield
    finally:
        for family, table in _tables() - before:
            subprocess.run(["nft", "delete", "table", family, table], check=False)
        if not bridge_was_there and os.path.exists("/sys/class/net/cni-podman0"):
            subprocess.run(["ip", "link", "delete", "cni-podman0"], check=False)


def _tables() -> set[tuple[str, str]]:
    if shutil.which("nft") is None:
        return set()
    listed = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True)
    return {tuple(line.split()[1:3]) for line in listed.stdout.splitlines()}  # type: ignore[misc]
