"""barque-runtime events: usage and memory running out, in runc's shape."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.bundle import Runtime
from support.waiting import wait_until

MIB = 1 << 20


def keys(document: Any, path: str = "") -> Iterator[str]:
    """All names in a document, but those of what the kernel tells of memory."""
    if isinstance(document, dict) and not path.endswith(".raw"):
        for name, value in document.items():
            yield f"{path}.{name}"
            yield from keys(value, f"{path}.{name}")


def test_what_a_container_uses(runtime: Runtime, tmp_path: Path) -> None:
    runtime.linux["resources"]["memory"] = {"limit": 64 * MIB}
    runtime.linux["resources"]["pids"] = {"limit": 17}
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    told = json.loads(runtime.call("events", "--stats", "c1"))
    assert (told["type"], told["id"]) == ("stats", "c1")
    data = told["data"]
    assert data["pids"] == {"current": 1, "limit": 17}
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert 0 < data["memory"]["usage"]["usage"] < 64 * MIB
    assert data["cpu"]["usage"]["total"] > 0


def test_the_shape_is_that_of_runc(runtime: Runtime, tmp_path: Path) -> None:
    if shutil.which("runc") is None:
        pytest.skip("needs runc to compare with")
    runtime.linux["resources"]["memory"] = {"limit": 64 * MIB}
    runtime.spec["process"]["rlimits"] = []
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    ours = json.loads(runtime.call("events", "--stats", "c1"))
    runtime.call("delete", "--force", "c1")
    runc = ["runc", "--root", str(tmp_path / "runc")]
    detached: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    bundle = ["--bundle", str(runtime.bundle)]
    subprocess.run([*runc, "run", "-d", *bundle, "c1"], check=True, timeout=60, **detached)
    try:
        shown = subprocess.run([*runc, "events", "--stats", "c1"], check=True, capture_output=True)
    finally:
        subprocess.run([*runc, "delete", "--force", "c1"], check=True, timeout=60)
    theirs = json.loads(shown.stdout)
    assert set(keys(theirs)) == set(keys(ours))
    assert theirs["data"]["memory"]["raw"].keys() <= ours["data"]["memory"]["raw"].keys()


def test_a_stream_until_the_end(runtime: Runtime, tmp_path: Path) -> None:
    runtime.linux["resources"]["memory"] = {"limit": 32 * MIB, "swap": 32 * MIB}
    script = "until test -e /tmp/go; do sleep 0.05; done; (tail /dev/zero); sleep 0.5"
    runtime.create(script, tmp_path / "log")
    runtime.call("start", "c1")
    seen = tmp_path / "events"
    with seen.open("w") as file:
        follower = subprocess.Popen(
            runtime.command("events", "--interval", "200ms", "c1"), stdout=file
        )
    try:
        wait_until(lambda: seen.read_text().count("\n") >= 2, "usage is told twice")
        runtime.call("exec", "c1", "touch", "/tmp/go")
        assert follower.wait(30) == 0
    finally:
        follower.kill()
        follower.wait()
        (runtime.rootfs / "tmp/go").unlink(missing_ok=True)
    told = [json.loads(line) for line in seen.read_text().splitlines()]
    assert {event["type"] for event in told} == {"stats", "oom"}
    assert {"type": "oom", "id": "c1"} in told
    code, said = runtime.try_call("events", "--stats", "c1")
    assert code == 1
    assert "container with id c1 is not running" in said


@pytest.mark.parametrize("interval", ["0s", "5", "-1s", "s", "1x", ""])
def test_intervals_that_are_none(runtime: Runtime, interval: str) -> None:
    code, said = runtime.try_call("events", f"--interval={interval}", "c1")
    assert code == 1
    assert "duration" in said
