"""``barque system check``: what it finds of a whole engine, prints, mends, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engine import Engine, docker_cli_is_here, open_barqued
from support.registry import run_own
from support.rootfs import busybox_is_here, write_busybox_tar

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="starts containers: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]
BARQUE = str(Path(__file__).parents[2] / ".venv" / "bin" / "barque")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Engine]:
    """An engine that may be damaged."""
    archive = write_busybox_tar(tmp_path / "busybox.tar")
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        yield engine


def check(engine: Engine, *flags: str) -> tuple[int, list[dict[str, Any]], str]:
    """Return the exit code, the findings and what was said on stderr."""
    done = engine.cli("system", "check", "--format", "json", *flags, program=BARQUE)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def overwrite(path: Path) -> None:
    """Turn the last byte of a file, as a failing disk does."""
    status = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_engine_that_is_well(kept: Engine) -> None:
    kept.docker("run", "-d", "--name", "runs", "-v", "data:/data", "busybox", "sleep", "999")
    kept.docker("create", "--name", "stands", "busybox")
    done = kept.cli("system", "check", "--deep", program=BARQUE)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "Checked 3 blobs, 1 images, 1 layers, 2 containers, 1 volumes: all is well\n"
    )
    assert check(kept, "--deep", "--quiet") == (0, [], "")


def test_what_is_not_of_images(kept: Engine) -> None:
    kept.docker("create", "--name", "stands", "busybox")
    kept.docker("volume", "create", "data")
    root = kept.data_root
    shutil.rmtree(root / "volumes/data/_data")
    (root / "volumes/nobodys/_data").mkdir(parents=True)
    (root / "containers" / ("0" * 64)).mkdir()
    (root / "containers" / ("0" * 64) / "log").write_text("x")
    (root / "content/ingest/left").write_text("x")
    (root / "snapshots/overlay/99/fs").mkdir(parents=True)
    stands = kept.docker("inspect", "-f", "{{.Id}}", "stands")
    for name in os.listdir(root / "snapshots/overlay"):
        if (root / "snapshots/overlay" / name / "work").exists():
            shutil.rmtree(root / "snapshots/overlay" / name)
    with sqlite3.connect(root / "barque.db") as database:
        (number,) = database.execute(
            "SELECT number FROM snapshots WHERE key = ?", (stands,)
        ).fetchone()
    code, found, told = check(kept)
    assert code == 1
    assert told.endswith("6 problems found; run it with --repair to mend what can be mended\n")
    wanted = {
        ("container", "stands"),
        ("volume", "data"),
        ("leftover", "volumes/nobodys"),
        ("leftover", "containers/" + "0" * 64),
        ("leftover", f"{root}/content/ingest/left"),
        ("leftover", "snapshots/99"),
    }
    assert {(each["Kind"], each["Name"]) for each in found} == wanted
    assert not any(each["Repaired"] for each in found)
    (lost,) = [each for each in found if each["Kind"] == "container"]
    assert f"overlay/{number}/fs is missing" in lost["Problem"]

    table = kept.cli("system", "check", "--repair", program=BARQUE)
    assert table.returncode == 1
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "PROBLEM", "RESULT"]
    assert len(lines) == 7
    assert table.stderr.endswith("6 problems found, 5 repaired, 1 left\n")
    kept.docker("rm", "stands")
    assert check(kept) == (0, [], kept.cli("system", "check", program=BARQUE).stderr)
    assert kept.docker("run", "--rm", "-v", "data:/d", "busybox", "ls", "/d") == ""


def test_a_damaged_layer_is_made_again_unless_a_container_runs_on_it(kept: Engine) -> None:
    kept.docker("run", "-d", "--name", "runs", "busybox", "sleep", "999")
    (tree,) = [
        path / "fs"
        for path in (kept.data_root / "snapshots/overlay").iterdir()
        if not (path / "work").exists()
    ]
    overwrite(tree / "etc/group")
    assert check(kept)[0] == 0
    code, (found,), _ = check(kept, "--deep", "--repair")
    assert code == 1
    assert found["Problem"] == "/etc/group has other content"
    assert found["Result"] == "kept: runs runs on it: stop it and check again"
    assert kept.docker("exec", "runs", "cat", "/etc/os-release")
    kept.docker("kill", "runs")
    code, (found,), _ = check(kept, "--deep", "--repair")
    assert code == 0
    assert found["Repaired"]
    assert check(kept, "--deep")[:2] == (0, [])
    kept.docker("start", "runs")
    assert kept.docker("exec", "runs", "tail", "-n", "1", "/etc/group") == "nogroup:x:65534:"
    kept.restart()
    assert check(kept, "--deep")[:2] == (0, [])
    assert kept.docker("exec", "runs", "tail", "-n", "1", "/etc/group") == "nogroup:x:65534:"


def test_a_pull_brings_back_what_was_damaged_while_others_run(kept: Engine, tmp_path: Path) -> None:
    with run_own(tmp_path / "registry") as address:
        name = f"{address}/app"
        kept.docker("run", "-d", "--name", "runs", "busybox", "sleep", "999")
        kept.docker("run", "--name", "made", "busybox", "sh", "-c", "echo hello >/hello")
        kept.docker("commit", "made", name)
        kept.docker("rm", "made")
        kept.docker("push", name)
        described = json.loads(kept.docker("image", "inspect", name))[0]
        top = described["RootFS"]["Layers"][1].partition(":")[2]
        overwrite(kept.data_root / "content/blobs/sha256" / top)
        for path in (kept.data_root / "snapshots/overlay").glob("*/fs/hello"):
            shutil.rmtree(path.parent.parent)
        code, found, _ = check(kept, "--deep", "--repair")
        assert code == 1
        assert {each["Kind"] for each in found} == {"blob", "layer"}
        assert all("pull or load" in each["Result"] for each in found)
        failed = kept.cli("create", "--pull", "never", name)
        assert failed.returncode == 1
        assert "pull or load the image again" in failed.stderr
        kept.docker("pull", name)
        assert check(kept, "--deep")[:2] == (0, [])
        assert kept.docker("run", "--rm", name, "cat", "/hello") == "hello"


def test_checking_ends_with_its_client(kept: Engine) -> None:
    kept.docker("run", "--name", "big", "busybox", "dd", "if=/dev/urandom", "of=/f", "count=200000")
    kept.docker("commit", "big", "big")
    one = subprocess.Popen(
        [BARQUE, "system", "check", "--deep"],
        env=kept.client_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    one.terminate()
    one.wait(20)
    assert check(kept, "--deep")[:2] == (0, [])
