"""``python -m bench [--only GROUPS] [--targets TARGETS]``: measure and print a table."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.groups import GROUPS
from bench.measure import Measurement
from bench.report import render_markdown, write
from bench.subjects import open_subjects
from support import rootfs

RESULTS = Path(__file__).parent / "results"
PROGRAMS = {
    "dockerd": ("dockerd", "docker"),
    "barque": ("docker",),
    "podman": ("podman", "crun"),
    "bare": ("gcc",),
}


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"of {','.join(GROUPS)}")
    parser.add_argument("--targets", default="", help=f"of {','.join(PROGRAMS)}")
    arguments = parser.parse_args()
    for option, known in (("only", GROUPS), ("targets", PROGRAMS)):
        chosen = [name for name in getattr(arguments, option).split(",") if name]
        if unknown := set(chosen) - set(known):
            parser.error(f"--{option}: {', '.join(unknown)}: not one of {', '.join(known)}")
        setattr(arguments, option, chosen or list(known))
    return arguments


def _available(names: list[str]) -> list[str]:
    """Return the targets whose programs are installed, and say which are left out."""
    available = []
    for name in names:
        if missing := [program for program in PROGRAMS[name] if shutil.which(program) is None]:
            _say(f"{name} is left out: {', '.join(missing)} is not installed")
        else:
            available.append(name)
    return available


def _version(*command: str) -> str:
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[0]
    return next(word for word in said.replace(",", "").split() if word[0].isdigit())


def _versions(targets: list[str]) -> dict[str, str]:
    versions = {}
    if "barque" in targets:
        versions["barque"] = _version(str(Path(sys.executable).with_name("barque")), "--version")
    if "dockerd" in targets:
        versions["dockerd"] = _version("dockerd", "--version")
    if "podman" in targets:
        versions["podman"] = _version("podman", "--version")
        versions["crun"] = _version("crun", "--version")
    versions["docker CLI"] = _version("docker", "--version")
    return versions


def main() -> None:
    """Run the groups asked for, print the table, and keep it in ``bench/results``."""
    arguments = _parse()
    if os.geteuid():
        sys.exit("the measurements start engines: run them as root")
    if not rootfs.busybox_is_here():
        sys.exit(f"{rootfs.BUSYBOX} is missing: apt-get install busybox-static")
    targets = _available(arguments.targets)
    versions = _versions(targets)
    measurements: list[Measurement] = []
    with open_subjects(targets) as subjects:
        for name in arguments.only:
            begin = time.monotonic()
            measurements += [m for m in GROUPS[name](subjects) if m.samples]
            _say(f"{name}: {time.monotonic() - begin:.0f} s")
            write(RESULTS, measurements, versions)
    sys.stdout.write(render_markdown(measurements, versions))


if __name__ == "__main__":
    main()
