"""The engine killed before every single step of what changes images.

``STEPS`` lists the steps of each operation; a first run without a kill holds the list to the
truth. Afterwards the image is whole or not there, a deep check of the next engine finds nothing,
nothing is left in staging or trash, and the operation done again succeeds.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.engine import Engine, open_barqued
from support.images import make_config, make_docker_archive, make_tar
from support.registry import run_own
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="unpacks images: needs root")

_INGEST = ("create ingest", "write ingest", "sync file", "rename ingest to blob")
_UNPACK = (
    *("database: insert snapshots", "mkdir snapshot", "mkdir directory of snapshot"),
    *("mkdir inside", "create inside", "sync layer", "database: update snapshots"),
)
_LINKS = ("symlink inside", "link inside")
_REGISTER = ("database: insert images", "database: insert tags", "database: commit")
_COLLECT = (
    *("database: delete snapshots", "database: commit"),
    *("rename snapshot to trash", "remove inside", "rmdir inside"),
    *("rename blob to deleted blob", "remove deleted blob"),
)
STEPS: dict[str, tuple[str, ...]] = {
    "pull": (*_INGEST, "create partial", "rename partial to blob", *_UNPACK, *_LINKS, *_REGISTER),
    "load": (*_INGEST, *_UNPACK, *_LINKS, *_REGISTER),
    "import": (*_INGEST, *_UNPACK, *_REGISTER),
    "commit": (*_INGEST, *_UNPACK, *_REGISTER),
    "rmi": ("database: delete tags", "database: delete images", *_COLLECT),
    "prune": ("database: delete images", *_COLLECT),
    "recovery": ("database: insert reserve", *_COLLECT),
}
"""The engine is killed before the first and before the last time that each is done."""

BASE = make_tar([("dir", "etc", None), ("file", "etc/a", "base"), ("file", "etc/b", "b" * 5000)])
TOP = make_tar([("file", "etc/.wh.b", ""), ("symlink", "etc/link", "a"), ("link", "h", "etc/a")])
ARCHIVE = make_docker_archive([(["app:1"], [BASE, TOP], make_config([BASE, TOP], Cmd=["x"]))])
_MORTAL = str(Path(__file__).parents[1] / "support" / "mortal_engine.py")


class Refused(Exception):
    """The engine said no, or went away."""


class Mortal:
    """An engine whose steps are counted, and that can be told where to die."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.arm = engine.root / "arm"
        self.record = engine.root / "steps"
        engine.command = [sys.executable, _MORTAL, *engine.command[1:]]
        engine.environment = {
            "MORTAL_ROOT": str(engine.data_root),
            "MORTAL_ARM": str(self.arm),
            "MORTAL_RECORD": str(self.record),
        }

    def arm_for(self, kill: str = "") -> None:
        """Count steps from here on; die before the step ``kill``."""
        self.record.write_bytes(b"")
        partial = self.arm.with_suffix(".new")
        partial.write_text(kill)
        partial.rename(self.arm)

    def restart(self) -> None:
        """Start the engine anew, after it died or with a kill, and count no steps."""
        self.engine.kill()
        self.arm.unlink(missing_ok=True)
        self.engine.start()

    def has_died(self) -> bool:
        """Tell whether the engine kills itself, as it does within moments or never."""
        assert self.engine.process is not None
        try:
            self.engine.process.wait(30)
        except subprocess.TimeoutExpired:
            return False
        return True

    def list_steps(self) -> Counter[str]:
        """Return the steps since the engine was armed, which it is no more, and their numbers."""
        self.arm.unlink()
        return Counter(self.record.read_text().splitlines())

    def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        """Send one request. Raises Refused."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(30)
            connection.sock.connect(str(self.engine.socket))
            kind = "application/x-tar" if body and body[:1] != b"{" else "application/json"
            headers = {"Content-Type": kind}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(content.decode())
        lines = [json.loads(line) for line in content.splitlines() if line.startswith((b"{", b"["))]
        for line in lines:
            if isinstance(line, dict) and "error" in line:
                raise Refused(line["error"])
        return lines

    def list_images(self) -> list[str]:
        (images,) = self.ask("GET", "/images/json?all=1")
        return sorted(tag for image in images for tag in image["RepoTags"] or ["dangling"])

    def assert_sound(self) -> None:
        """Hold that all that is kept is whole, and belongs to something."""
        *findings, checked = self.ask("POST", "/barque/system/check?deep=1")[-20:]
        assert [line for line in findings if "aux" in line] == []
        assert "Checked" in checked["aux"]
        root = self.engine.data_root
        wait_until(lambda: not os.listdir(root / "trash"), "the trash is empty")
        kept = os.listdir(root / "content/ingest")
        assert [name for name in kept if not name.startswith("partial-")] == []

    def leftovers(self) -> list[str]:
        """Return all that images have left on the disk."""
        root = self.engine.data_root
        places = ("content/blobs/sha256", "content/ingest", "snapshots/overlay", "trash")
        return [f"{place}/{name}" for place in places for name in os.listdir(root / place)]


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    with open_barqued() as engine:
        yield Mortal(engine)


@pytest.fixture(scope="module")
def registry(mortal: Mortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with an image ``app:1``."""
    with run_own(tmp_path_factory.mktemp("registry")) as address:
        mortal.restart()
        load(mortal)
        mortal.ask("POST", f"/images/app:1/tag?repo={address}/app&tag=1")
        mortal.ask("POST", f"/images/{address}/app/push?tag=1")
        remove_all(mortal)
        yield address


def load(mortal: Mortal) -> None:
    mortal.ask("POST", "/images/load", ARCHIVE)


def load_dangling(mortal: Mortal) -> None:
    load(mortal)
    mortal.ask("POST", "/images/create?fromSrc=-&repo=app&tag=1", BASE)


def create(mortal: Mortal) -> None:
    load(mortal)
    if "changed" not in list_containers(mortal):
        mortal.ask("POST", "/containers/create?name=changed", b'{"Image": "app:1"}')
    change = make_tar([("file", "etc/new", "new"), ("dir", "d", None)])
    mortal.ask("PUT", "/containers/changed/archive?path=/", change)


def commit(mortal: Mortal) -> None:
    mortal.ask("POST", "/commit?container=changed&repo=made&tag=1")


def import_(mortal: Mortal) -> None:
    mortal.ask("POST", "/images/create?fromSrc=-&repo=imported&tag=1", BASE)


def remove(mortal: Mortal) -> None:
    if "app:1" in mortal.list_images():
        mortal.ask("DELETE", "/images/app:1")


def prune(mortal: Mortal) -> None:
    mortal.ask("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D")


def list_containers(mortal: Mortal) -> list[str]:
    (containers,) = mortal.ask("GET", "/containers/json?all=1")
    return [container["Names"][0].removeprefix("/") for container in containers]


def remove_all(mortal: Mortal) -> None:
    for name in list_containers(mortal):
        mortal.ask("DELETE", f"/containers/{name}?force=1")
    (images,) = mortal.ask("GET", "/images/json")
    for image in images:
        mortal.ask("DELETE", f"/images/{image['Id']}?force=1")
    wait_until(lambda: not mortal.leftovers(), "nothing is left of the images")


def nothing(_mortal: Mortal) -> None:
    """Nothing has to be there."""


Act = Callable[[Mortal], None]
OPERATIONS: dict[str, tuple[Act, Act, list[str], list[str]]] = {
    # name: (what has to be there, the operation, images before, images after)
    "load": (nothing, load, [], ["app:1"]),
    "import": (nothing, import_, [], ["imported:1"]),
    "commit": (create, commit, ["app:1"], ["app:1", "made:1"]),
    "rmi": (load, remove, ["app:1"], []),
    "prune": (load_dangling, prune, ["app:1", "dangling"], ["app:1"]),
}


def get_operation(name: str, registry: str) -> tuple[Act, Act, list[str], list[str]]:
    if name != "pull":
        return OPERATIONS[name]

    def pull(mortal: Mortal) -> None:
        mortal.ask("POST", f"/images/create?fromImage={registry}/app&tag=1")

    return nothing, pull, [], [f"{registry}/app:1"]


def prepare_alone(mortal: Mortal, prepare: Act) -> None:
    """Have nothing but what the operation needs, and none of its preparation's steps to come."""
    remove_all(mortal)
    prepare(mortal)
    wait_for_trash(mortal)


def wait_for_trash(mortal: Mortal) -> None:
    trash = mortal.engine.data_root / "trash"
    wait_until(lambda: not os.listdir(trash), "the trash is empty")


@pytest.mark.parametrize("name", ["pull", *OPERATIONS])
def test_killed_at_every_step(mortal: Mortal, registry: str, name: str) -> None:
    prepare, act, before, after = get_operation(name, registry)
    mortal.restart()
    prepare_alone(mortal, prepare)
    mortal.arm_for()
    act(mortal)
    wait_for_trash(mortal)
    steps = mortal.list_steps()
    assert mortal.list_images() == after
    assert set(steps) == set(STEPS[name])
    assert os.listdir(mortal.engine.data_root / "content/ingest") == []
    for step, count in steps.items():
        for number in sorted({1, count}):
            prepare_alone(mortal, prepare)
            mortal.arm_for(f"{step}#{number}")
            with suppress(Refused):
                act(mortal)
            assert mortal.has_died(), f"{step} was not reached {number} times"
            mortal.restart()
            mortal.assert_sound()
            assert mortal.list_images() in (before, after), f"before {step} {number}"
            act(mortal)
            assert mortal.list_images() == after, f"before {step} {number}"
            mortal.assert_sound()
            assert os.listdir(mortal.engine.data_root / "content/ingest") == []
    remove_all(mortal)


def test_killed_at_every_step_of_clearing_up(mortal: Mortal, registry: str) -> None:
    """What a killed pull left is cleared when the engine starts, which is killed again."""
    _, pull, _, _ = get_operation("pull", registry)

    def break_off() -> None:
        mortal.restart()
        remove_all(mortal)
        mortal.arm_for("database: insert images#1")
        with suppress(Refused):
            pull(mortal)
        assert mortal.has_died()
        mortal.engine.kill()

    break_off()
    mortal.arm_for()
    mortal.engine.start()
    wait_for_trash(mortal)
    steps = mortal.list_steps()
    assert set(steps) == set(STEPS["recovery"])
    for step, count in steps.items():
        for number in sorted({1, count}):
            break_off()
            mortal.arm_for(f"{step}#{number}")
            mortal.engine.spawn()
            assert mortal.has_died(), f"{step} was not reached {number} times"
            mortal.restart()
            mortal.assert_sound()
            assert mortal.leftovers() == []
            assert mortal.list_images() == []
