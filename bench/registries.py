"""Pulling from a registry and pushing to one: Debian's docker-registry, on this machine.

Two images: the root file system of a distribution, 9,500 files in one layer, taken from this
machine's ``/usr``; and one of 40 small layers.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import EngineTarget, Podman, Target, call
from support.images import make_config, make_docker_archive
from support.registry import DISTRIBUTION, run_distribution

FILES = 9_500
LARGEST = 3_000_000
LAYERS = 40
ROUNDS = 3
PEAK_MIB = 150
_SOURCES = ("/usr/lib/python3", "/usr/share", "/usr/bin", "/usr/lib")
_OCI = "application/vnd.oci.image"
_PUSHED = "bench-push"


def measure_pull(subjects: Subjects) -> list[Measurement]:
    """Pull each image with nothing of it there, and see how large the engines become."""
    if not _can_serve():
        return []
    measurements = []
    with _registry(subjects.folder) as address:
        archive = _write_root(subjects.folder)
        images = {
            "pull 9,500 files": _upload(address, "files", [archive.read_bytes()]),
            "pull 40 layers": _upload(address, "layers", [_make_layer(n) for n in range(LAYERS)]),
        }
        for engine in subjects.engines:
            _forget_peak(engine)
        for title, name in images.items():

            def sample(target: Target, name: str = name) -> float:
                os.sync()  # who waits for the disk shall not wait for what others have written
                begin = time.perf_counter()
                call(target, "pull", "-q", *_plain(target), name)
                elapsed = time.perf_counter() - begin
                call(target, "rmi", "-f", name)
                return elapsed * 1000

            measurement = Measurement(title, "ms", goal=Goal("dockerd", 1.5))
            measurements.append(interleave(subjects.sample(sample), measurement, ROUNDS))
        peak = Measurement("engine at most, pulling", "MiB", goal=Goal(limit=PEAK_MIB))
        for engine in subjects.engines:
            peak.add(engine.name, _read_peak(engine))
    return [*measurements, peak]


def measure_push(subjects: Subjects) -> list[Measurement]:
    """Push each image to an empty registry, from layers as they were built: compress, send."""
    if not _can_serve():
        return []
    root = _write_root(subjects.folder)
    tall = subjects.folder / "push.tar"
    layers = [_make_layer(number) for number in range(LAYERS)]
    tall.write_bytes(make_docker_archive([([f"{_PUSHED}:latest"], layers, make_config(layers))]))
    return [
        _measure_push(subjects, "push 9,500 files", ["import", str(root), _PUSHED]),
        _measure_push(subjects, f"push {LAYERS} layers", ["load", "-q", "-i", str(tall)]),
    ]


def _measure_push(subjects: Subjects, title: str, make: list[str]) -> Measurement:
    """Measure with the image that the command ``make`` makes."""
    for target in subjects.targets:
        call(target, *make)

    def sample(target: Target) -> float:
        with _registry(subjects.folder) as address:
            call(target, "tag", _PUSHED, f"{address}/pushed")
            os.sync()
            begin = time.perf_counter()
            call(target, "push", "-q", *_plain(target), f"{address}/pushed")
            elapsed = time.perf_counter() - begin
            call(target, "rmi", f"{address}/pushed")
            return elapsed * 1000

    measurement = Measurement(title, "ms", goal=Goal("dockerd", 1.5))
    interleave(subjects.sample(sample), measurement, ROUNDS)
    for target in subjects.targets:
        call(target, "rmi", _PUSHED)
    return measurement


def _can_serve() -> bool:
    if shutil.which(DISTRIBUTION):
        return True
    sys.stderr.write(f"pull and push are left out: {DISTRIBUTION} is not installed\n")
    return False


def _plain(target: Target) -> list[str]:
    return ["--tls-verify=false"] if isinstance(target, Podman) else []


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    with TemporaryDirectory(dir=folder) as root, run_distribution(Path(root)) as address:
        yield address


def _write_root(folder: Path) -> Path:
    """Write an archive of this machine's files, FILES of them."""
    path = folder / "root.tar"
    if path.exists():
        return path
    count = 0
    with tarfile.open(path, "w") as archive:
        for source in _SOURCES:
            for directory, _, names in sorted(os.walk(source)):
                for name in sorted(names):
                    file = Path(directory) / name
                    plain = file.is_symlink() or (file.is_file() and file.stat().st_size <= LARGEST)
                    if plain and count < FILES:
                        archive.add(file, recursive=False)
                        count += 1
    return path


def _make_layer(number: int) -> bytes:
    noise = random.Random(number)  # noqa: S311 - to be the same each time
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in range(20):
            content = noise.randbytes(3_000) + bytes(9_000)
            info = tarfile.TarInfo(f"layer{number}/file{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _upload(address: str, name: str, archives: list[bytes]) -> str:
    """Put an image of these layers into the registry, compressed as docker does."""
    layers, diff_ids = [], []
    for archive in archives:
        diff_ids.append(_digest(archive))
        layers.append(
            _put_blob(address, name, gzip.compress(archive, 6, mtime=0), "layer.v1.tar+gzip")
        )
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _put_blob(address, name, json.dumps(config).encode(), "config.v1+json"),
        "layers": layers,
    }
    url = f"http://{address}/v2/{name}/manifests/latest"
    _send("PUT", url, json.dumps(manifest).encode(), f"{_OCI}.manifest.v1+json")
    return f"{address}/{name}:latest"


def _put_blob(address: str, name: str, content: bytes, kind: str) -> dict[str, object]:
    start = f"http://{address}/v2/{name}/blobs/uploads/"
    location = urljoin(start, _send("POST", start, b"", ""))
    joint = "&" if "?" in location else "?"
    digest = _digest(content)
    _send("PUT", f"{location}{joint}digest={digest}", content, "application/octet-stream")
    return {"mediaType": f"{_OCI}.{kind}", "digest": digest, "size": len(content)}


def _send(method: str, url: str, body: bytes, kind: str) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)  # noqa: S310 - our registry
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - our registry
        return str(reply.headers.get("Location", ""))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _forget_peak(engine: EngineTarget) -> None:
    """Let the kernel begin anew with the engine's largest resident size."""
    Path(f"/proc/{engine.engine.pid}/clear_refs").write_text("5")


def _read_peak(engine: EngineTarget) -> float:
    """Return the largest resident size of the engine itself, in MiB."""
    text = Path(f"/proc/{engine.engine.pid}/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
