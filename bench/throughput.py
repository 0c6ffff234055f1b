"""Bytes a second: what a container logs, and what goes through ``run -i``."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.measure import Goal, Measurement, interleave
from bench.subjects import Subjects
from bench.targets import IMAGE, Podman, Target, call

MEBI = 1 << 20
LOG_SIZE = 200_000_000
LINE = b"x" * 99 + b"\n"
LAST_LINE = b"the end".ljust(99, b".") + b"\n"
STDIO_SIZE = 512 * MEBI
ROUNDS = 3
DEADLINE_S = 120.0


def measure_logs(subjects: Subjects) -> list[Measurement]:
    """Write 200 MB in lines of 100 bytes and wait until the last one is in the log file."""
    lines = subjects.folder / "lines"
    with lines.open("wb") as file:
        block = LINE * 10_000
        for _ in range(LOG_SIZE // len(block)):
            file.write(block)
        file.write(LAST_LINE)

    def sample(target: Target) -> float:
        begin = time.perf_counter()
        driver = "k8s-file" if isinstance(target, Podman) else "json-file"
        container = call(
            target,
            *("run", "-d", "--network", "none", "--log-driver", driver),
            *("-v", f"{lines}:/lines:ro", IMAGE, "cat", "/lines"),
        )
        log = Path(call(target, "inspect", "--format", _log_path(target), container))
        _wait_until(lambda: LAST_LINE[:-1] in _tail(log), f"{target.name}: the log's last line")
        elapsed = time.perf_counter() - begin
        call(target, "rm", "-f", container)
        return lines.stat().st_size / MEBI / elapsed

    measurement = Measurement("container log", "MiB/s", "higher", goal=Goal("dockerd", 2))
    return [interleave(subjects.sample(sample), measurement, ROUNDS)]


def _log_path(target: Target) -> str:
    if isinstance(target, Podman):
        return "{{.HostConfig.LogConfig.Path}}"
    return "{{.LogPath}}"


def _tail(path: Path) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        return file.read()


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {DEADLINE_S:g} s")
        time.sleep(0.005)


def measure_stdio(subjects: Subjects) -> list[Measurement]:
    """Send 512 MiB through ``run -i IMAGE cat`` and count what comes back."""
    source = subjects.folder / "bytes"
    with source.open("wb") as file:
        for _ in range(STDIO_SIZE // MEBI):
            file.write(bytes(MEBI))

    def sample(target: Target) -> float:
        begin = time.perf_counter()
        command = target.command("run", "-i", "--rm", "--network", "none", IMAGE, "cat")
        received = 0
        with (
            source.open("rb") as file,
            subprocess.Popen(
                command, stdin=file, stdout=subprocess.PIPE, env=target.environment(), bufsize=0
            ) as process,
        ):
            assert process.stdout
            while data := process.stdout.read(MEBI):
                received += len(data)
        elapsed = time.perf_counter() - begin
        if received != STDIO_SIZE:
            raise RuntimeError(f"{target.name}: {received} of {STDIO_SIZE} bytes came back")
        return STDIO_SIZE / MEBI / elapsed

    measurement = Measurement("run -i cat", "MiB/s", "higher", goal=Goal("dockerd", 1))
    return [interleave(subjects.sample(sample), measurement, ROUNDS)]
