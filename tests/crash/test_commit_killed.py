"""The engine killed in the middle of a commit."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine, docker_cli_is_here, open_barqued
from support.rootfs import busybox_is_here, write_busybox_tar
from support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="starts containers: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    archive = write_busybox_tar(tmp_path / "busybox.tar")
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        yield engine


def count_files(engine: Engine) -> tuple[int, int, int]:
    """Return the numbers of blobs, ingests and snapshots."""
    root = engine.data_root
    return (
        len(list((root / "content/blobs/sha256").iterdir())),
        sum(not path.name.startswith("partial-") for path in (root / "content/ingest").iterdir()),
        len(list((root / "snapshots/overlay").iterdir())),
    )


def test_a_killed_commit_is_whole_or_not_there(engine: Engine) -> None:
    fill = (
        "for i in $(seq 1 2000); do head -c 20000 /dev/urandom >/f$i; done; echo full; sleep 9999"
    )
    engine.docker("run", "-d", "--name", "large", "busybox", "sh", "-c", fill)
    wait_until(lambda: engine.docker("logs", "large") == "full", "the files are there", 60)
    before = count_files(engine)
    finished = 0
    for number, wait_s in enumerate((0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)):
        committing = subprocess.Popen(
            ["docker", "commit", "large", f"made:{number}"],
            env=engine.client_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(wait_s)
        engine.kill()
        committing.wait(30)
        engine.start()
        assert engine.docker("inspect", "-f", "{{.State.Status}}", "large") == "running"
        assert engine.docker("exec", "large", "echo", "here") == "here"
        made = engine.docker("images", "-q", "--no-trunc", "made").split()
        if made:
            finished += 1
            listed = engine.docker("run", "--rm", f"made:{number}", "ls", "/").split()
            assert {f"f{i}" for i in range(1, 2001)} <= set(listed)
            engine.docker("rmi", "-f", f"made:{number}")
        wait_until(lambda: count_files(engine) == before, "only what was there is there", 20)
    image = engine.docker("commit", "large", "made:last")
    assert engine.docker("images", "-q", "--no-trunc", "made:last") == image
    assert finished < 7, "every commit was faster than the fault"
