"""``run BUNDLE`` by OCI runtimes: barque-runtime beside runc and crun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import HYBRID
from support import rootfs

ROUNDS = 11
PROGRAMS = ("runc", "crun")


def _bundle(folder: Path) -> Path:
    """A bundle whose program does nothing; ``runc spec``'s defaults otherwise."""
    bundle = folder / "oci"
    (bundle / "rootfs").mkdir(parents=True)
    archive = rootfs.write_busybox_tar(folder / "oci.tar")
    subprocess.run(["tar", "-C", bundle / "rootfs", "-xf", archive], check=True)
    subprocess.run(
        [Path(sys.executable).with_name("barque-runtime"), "spec", "--bundle", bundle], check=True
    )
    path = bundle / "config.json"
    spec = json.loads(path.read_text())
    spec["process"].update(terminal=False, args=["true"])
    path.write_text(json.dumps(spec))
    return bundle


def _time(command: list[str], bundle: Path) -> float:
    begin = time.perf_counter()
    subprocess.run([*command, "run", "--bundle", bundle, "bench-oci"], check=True)
    return 1000 * (time.perf_counter() - begin)


def measure(subjects: Subjects) -> list[Measurement]:
    """Time ``run`` of a bundle in the foreground.

    crun refuses a machine that has cgroup v1 and v2 mounted at once: it runs in a mount
    namespace without v2, entering which costs it about 2 ms.
    """
    bundle = _bundle(subjects.folder)
    measurement = Measurement("OCI runtime: run BUNDLE", "ms", goal=Goal("runc", 1))
    samplers: dict[str, Callable[[], float]] = {
        "barque": partial(_time, [str(Path(sys.executable).with_name("barque-runtime"))], bundle)
    }
    for name in PROGRAMS:
        if shutil.which(name):
            command = [name]
            if name == "crun" and os.path.ismount(HYBRID):
                script = f'umount {HYBRID} && exec crun "$@"'
                command = ["unshare", "--mount", "sh", "-c", script, "crun"]
            samplers[name] = partial(_time, command, bundle)
    return [interleave(samplers, measurement, ROUNDS)]
