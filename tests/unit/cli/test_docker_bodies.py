"""What barque asks of an engine is what docker 28 asks, for the same arguments."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.command_lines import CREATE, FILES, OTHERS, RUN
from support.fake_daemon import FakeDaemon, Request

DOCKER = os.environ.get("BARQUE_TEST_DOCKER", "/usr/local/bin/docker")
BARQUE = (sys.executable, "-m", "barque")


def _has_docker() -> bool:
    try:
        said = subprocess.run([DOCKER, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return said.stdout.startswith("Docker version 28.")


pytestmark = pytest.mark.skipif(not _has_docker(), reason=f"needs docker's CLI 28 at {DOCKER}")

LINES = [
    *(f"run {line}" for line in RUN),
    *(f"create {line}" for line in CREATE),
    *OTHERS,
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli")
    for name, content in FILES.items():
        (directory / name).write_text(content)
    return directory


def _requests(program: tuple[str, ...], line: str, directory: Path) -> list[Request]:
    words = shlex.split(line.replace("@DIR", str(directory)))
    with FakeDaemon(directory / f"{Path(program[-1]).name}.sock") as daemon:
        environment = {
            "DOCKER_HOST": daemon.url,
            "HOME": str(directory),
            "PATH": os.environ["PATH"],
            "HOME_OF_TEST": "here",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            [*program, *words],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return daemon.requests


def _comparable(request: Request) -> tuple[str, str, dict[str, str], Any]:
    body = request.body
    if isinstance(body, dict):
        for key in ("Env",):
            if isinstance(body.get(key), list):
                body[key] = sorted(body[key])  # docker's order is that of a hash map
        host = body.get("HostConfig")
        if host:
            for key in ("Binds", "Ulimits"):
                if host.get(key):
                    host[key] = sorted(host[key], key=repr)
    return request.method, request.path, request.query, body


@pytest.mark.parametrize("line", LINES)
def test_same_requests(line: str, directory: Path) -> None:
    docker = [_comparable(r) for r in _requests((DOCKER,), line, directory)]
    barque = [_comparable(r) for r in _requests(BARQUE, line, directory)]
    if line.startswith("exec"):
        docker = docker[1:]  # an inspect only to find a missing container early
    if line.startswith(("run -d", "run --detach=", "run -itd")):
        docker = [r for r in docker if not r[1].endswith("/wait")]  # nobody waits for it
    if line.startswith("attach"):
        docker = sorted(docker[:2], key=repr) + docker[2:]  # wait and inspect run side by side
        barque = sorted(barque[:2], key=repr) + barque[2:]
    assert barque == docker
