"""A file system that does not answer holds up who asks for it, and nobody else."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine
from support.silent_fuse import SilentFileSystem, silent_file_system
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse")

ASKING = 12
"""More than the threads that the engine shares."""
QUICK_S = 10.0


@pytest.fixture
def dead(barqued: Engine, tmp_path: Path) -> Iterator[SilentFileSystem]:
    """A file system that is mounted at ``tmp_path`` and, at /dead, in the container ``holds``."""
    try:
        with silent_file_system(tmp_path) as served:
            command = ("--name", "holds", "-v", f"{tmp_path}:/dead", "busybox", "sleep", "600")
            barqued.docker("run", "-d", *command)
            yield served
    finally:
        barqued.remove_containers()


def assert_lively(engine: Engine) -> None:
    began = time.monotonic()
    assert engine.docker("ps", "-q")
    assert engine.docker("cp", "holds:/etc/hostname", "-")
    assert engine.docker("logs", "holds") == ""
    assert engine.docker("top", "holds")
    assert time.monotonic() - began < QUICK_S


def count_threads(engine: Engine) -> int:
    return len(os.listdir(f"/proc/{engine.pid}/task"))


def test_copies_that_hang_hold_nobody_up(barqued: Engine, dead: SilentFileSystem) -> None:
    dead.silence()
    before = count_threads(barqued)
    paths = [("holds:/dead/file", "-"), ("/etc/hostname", "holds:/dead/file")] * (ASKING // 2)
    asking = [
        subprocess.Popen(
            ["docker", "cp", *path],
            env=barqued.client_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for path in paths
    ]
    wait_until(lambda: count_threads(barqued) >= before + ASKING, "all of them hang")
    assert_lively(barqued)
    for client in asking[2:]:
        client.kill()
    for client in asking[:2]:  # docker asks for the target, too, before it sends anything
        said = client.communicate(timeout=90)[0].decode()
        assert "has not answered for 20 s: is its server there?" in said
        assert client.returncode
    for client in asking[2:]:
        client.communicate()
    assert_lively(barqued)


def test_threads_end_when_the_file_system_is_gone(barqued: Engine, tmp_path: Path) -> None:
    before = count_threads(barqued)
    with silent_file_system(tmp_path) as served:
        command = ("--name", "holds", "-v", f"{tmp_path}:/dead", "busybox", "sleep", "600")
        barqued.docker("run", "-d", *command)
        served.silence()
        idle = count_threads(barqued)
        client = subprocess.Popen(
            ["docker", "cp", "holds:/dead/file", "-"], env=barqued.client_environment()
        )
        wait_until(lambda: count_threads(barqued) > idle, "a thread hangs")
        client.kill()
        client.wait()
    wait_until(lambda: count_threads(barqued) <= before + 1, "no thread hangs any more")
    barqued.remove_containers()


def test_create_on_what_does_not_answer(
    barqued: Engine, dead: SilentFileSystem, tmp_path: Path
) -> None:
    dead.silence()
    idle = count_threads(barqued)
    asking = [
        subprocess.Popen(
            ["docker", "create", *mount, "busybox"],
            env=barqued.client_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for mount in (
            ("-v", f"{tmp_path}/new:/x"),
            ("--mount", f"type=bind,src={tmp_path}/old,dst=/x"),
        )
    ]
    wait_until(lambda: count_threads(barqued) >= idle + len(asking), "both hang")
    assert_lively(barqued)
    for client in asking:
        assert b"has not answered for 20 s" in client.communicate(timeout=60)[0]
        assert client.returncode
