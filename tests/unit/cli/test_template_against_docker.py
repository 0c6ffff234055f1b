"""The same templates through the real docker CLI and through ours: same text, same code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from barque.cli.inspection import Inspection
from barque.errors import BarqueError
from support.fake_documents import CONTAINER, answers
from support.fake_engine import FakeEngine
from support.template_cases import INSPECT_TEMPLATES, NEWER_THAN_28

DOCKER = "/usr/local/bin/docker"

pytestmark = pytest.mark.skipif(
    shutil.which(DOCKER) is None, reason=f"needs the docker CLI at {DOCKER}"
)

Outcome = tuple[str, int, str]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    directory: Path = tmp_path_factory.mktemp("docker")
    engine = FakeEngine(directory / "docker.sock", answers())
    environment = {
        "DOCKER_HOST": engine.host,
        "DOCKER_CONFIG": str(directory),
        "PATH": os.environ["PATH"],
    }

    def run(template: str) -> Outcome:
        done = subprocess.run(
            [DOCKER, "inspect", "--type", "container", "-f", template, "web"],
            env=environment,
            capture_output=True,
            check=False,
        )
        return done.stdout.decode(), done.returncode, done.stderr.decode().strip()

    with engine.serving(), ThreadPoolExecutor(4) as pool:
        yield dict(zip(INSPECT_TEMPLATES, pool.map(run, INSPECT_TEMPLATES), strict=True))


def _ours(template: str) -> Outcome:
    try:
        inspection = Inspection(template)
    except BarqueError as error:
        return "", 64, str(error)
    try:
        inspection.add(json.dumps(CONTAINER).encode(), "container.InspectResponse")
    except BarqueError as error:
        return inspection.finish(), 1, str(error)
    return inspection.finish(), 0, ""


def test_there_are_enough_templates() -> None:
    assert len(set(INSPECT_TEMPLATES)) >= 200


@pytest.mark.parametrize("template", INSPECT_TEMPLATES)
def test_inspect(docker: dict[str, Outcome], template: str) -> None:
    if template in NEWER_THAN_28:
        pytest.skip("docker 28 joins lists of strings only; 29 and barque join any list or map")
    assert _ours(template) == docker[template]
