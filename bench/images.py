"""Images as archives: load, commit, export, save, of many files and of many layers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import IMAGE, Target, call, time_command
from support.images import Item, make_config, make_docker_archive, make_tar

FILES = 9_500
LAYERS = 40
ROUNDS = 3
_TREE = "bench-tree"
_TALL = "bench-tall"
_MADE = "bench-made"


def measure(subjects: Subjects) -> list[Measurement]:
    """Load an image of 9,500 files and one of 40 layers; commit, export and save each."""
    tree = subjects.folder / "tree.tar"
    tall = subjects.folder / "tall.tar"
    tree.write_bytes(make_docker_archive([_make_image(_TREE, [FILES])]))
    tall.write_bytes(make_docker_archive([_make_image(_TALL, [25] * LAYERS)]))
    return [
        _measure(subjects, f"load, {FILES} files", 1.5, lambda target: _load(target, tree, _TREE)),
        _measure(
            subjects, f"load, {LAYERS} layers", 1.5, lambda target: _load(target, tall, _TALL)
        ),
        *_measure_versions(subjects, f"{FILES} files", tree, _TREE, IMAGE),
        *_measure_versions(subjects, f"{LAYERS} layers", tall, _TALL, _TALL),
    ]


def _measure(
    subjects: Subjects, name: str, factor: float, sample: Callable[[Target], float]
) -> Measurement:
    measurement = Measurement(name, "s", goal=Goal("dockerd", factor))
    return interleave(subjects.sample(sample), measurement, ROUNDS)


def _make_image(name: str, layers: list[int]) -> tuple[list[str], list[bytes], bytes]:
    """Return an image whose layers have so many files, sized like those of a distribution."""
    numbers = random.Random(1)  # noqa: S311 the same files in every run
    made = []
    for layer, count in enumerate(layers):
        items: list[Item] = [("dir", f"l{layer}", None)]
        for number in range(count):
            if number % 100 == 0:
                items.append(("dir", f"l{layer}/d{number // 100}", None))
            size = min(int(numbers.lognormvariate(7.5, 1.6)), 2 << 20)
            path = f"l{layer}/d{number // 100}/f{number}"
            items.append(("file", path, numbers.randbytes(size)))
        made.append(make_tar(items))
    assert len({hashlib.sha256(layer).digest() for layer in made}) == len(layers)
    return ([f"{name}:latest"], made, make_config(made))


def _load(target: Target, archive: Path, name: str) -> float:
    elapsed = time_command(target, "load", "-q", "-i", str(archive))
    call(target, "rmi", "-f", name)
    return elapsed


def _measure_versions(
    subjects: Subjects, what: str, archive: Path, name: str, base: str
) -> list[Measurement]:
    """Measure with a container of ``base`` that has the lowest layer of ``name`` as its own."""
    containers = {}
    for target in subjects.targets:
        call(target, "load", "-q", "-i", str(archive))
        source = call(target, "create", name, "x")
        copied = subjects.folder / f"{name}-{target.name}"
        call(target, "cp", f"{source}:/l0", str(copied))
        containers[target.name] = call(target, "create", base, "x")
        call(target, "cp", str(copied), f"{containers[target.name]}:/new")
        call(target, "rm", source)

    def commit(target: Target) -> float:
        elapsed = time_command(target, "commit", containers[target.name], _MADE)
        call(target, "rmi", "-f", _MADE)
        return elapsed

    def export(target: Target) -> float:
        output = str(subjects.folder / "exported")
        return time_command(target, "export", "-o", output, containers[target.name])

    def save(target: Target) -> float:
        output = subjects.folder / f"saved-{target.name}"
        elapsed = time_command(target, "save", "-o", str(output), name)
        output.unlink()
        return elapsed

    found = [
        _measure(subjects, f"commit, {what}", 1, commit),
        _measure(subjects, f"export, {what}", 1, export),
        _measure(subjects, f"save, {what}", 1, save),
    ]
    for target in subjects.targets:
        call(target, "rm", containers[target.name])
        call(target, "rmi", "-f", name)
    return found
