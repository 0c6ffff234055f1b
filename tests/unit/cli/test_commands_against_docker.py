"""Whole commands through the real docker CLI and ours, against the same fixed engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from support.command_cases import COMMANDS, OTHER_WORDS
from support.fake_documents import answers
from support.fake_engine import FakeEngine, Request

DOCKER = "/usr/local/bin/docker"
_START = f"""
import sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from barque.cli.main import main
raise SystemExit(main())
"""
BARQUE = [sys.executable, "-c", _START]

pytestmark = pytest.mark.skipif(
    shutil.which(DOCKER) is None, reason=f"needs the docker CLI at {DOCKER}"
)


class Outcome(NamedTuple):
    out: str
    code: int
    err: str


def _run(program: list[str], args: list[str], environment: dict[str, str]) -> Outcome:
    done = subprocess.run([*program, *args], env=environment, capture_output=True, check=False)
    return Outcome(
        done.stdout.decode("utf-8", "surrogateescape"),
        done.returncode,
        done.stderr.decode().strip(),
    )


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[FakeEngine, dict[str, str]]]:
    directory: Path = tmp_path_factory.mktemp("engine")
    engine = FakeEngine(directory / "docker.sock", answers())
    with engine.serving():
        yield (
            engine,
            {
                "DOCKER_HOST": engine.host,
                "DOCKER_CONFIG": str(directory),
                "PATH": os.environ["PATH"],
                "TZ": "UTC",
            },
        )


@pytest.fixture(scope="module")
def outcomes(environment: tuple[FakeEngine, dict[str, str]]) -> dict[str, tuple[Outcome, Outcome]]:
    _, variables = environment

    def both(args: list[str]) -> tuple[Outcome, Outcome]:
        return _run([DOCKER], args, variables), _run(BARQUE, args, variables)

    with ThreadPoolExecutor(2) as pool:
        results = pool.map(both, COMMANDS)
    return {"\0".join(args): result for args, result in zip(COMMANDS, results, strict=True)}


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_same_output(outcomes: dict[str, tuple[Outcome, Outcome]], args: list[str]) -> None:
    docker, barque = outcomes["\0".join(args)]
    if args[-2:] == ["--format", "json"] and args[0] == "ps":
        # A field of docker 29 that 28 does not have yet.
        barque = barque._replace(out=_without(barque.out, "HealthStatus"))
    assert barque.out == docker.out
    assert barque.code == docker.code
    if args not in OTHER_WORDS:
        assert barque.err == docker.err


def _without(lines: str, key: str) -> str:
    start = f'"{key}":'
    shown = []
    for line in lines.splitlines():
        before, _, rest = line.partition(start)
        value = json.dumps(json.loads(line)[key])
        shown.append(before + rest.removeprefix(value).removeprefix(",") + "\n")
    return "".join(shown)


@pytest.mark.parametrize(
    "args",
    [
        ["ps", "-a", "-s", "-f", "status=running", "-f", "label=a=b"],
        ["ps", "-l"],
        ["ps", "-n", "3"],
        ["ps", "--format", "{{.Size}}"],
        ["images", "-a", "-f", "dangling=true", "alpine"],
        ["volume", "ls", "-f", "driver=local"],
        ["network", "ls", "-f", "driver=bridge"],
        ["logs", "--tail", "3", "-t", "--details", "--since", "1700000000", "web"],
        ["logs", "--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00.5Z", "web"],
        ["events", "--since", "2020-01-01", "--until", "1700000000", "-f", "type=container"],
        ["top", "web", "-o", "pid,cmd"],
        ["history", "nginx"],
    ],
    ids=" ".join,
)
def test_same_requests(environment: tuple[FakeEngine, dict[str, str]], args: list[str]) -> None:
    engine, variables = environment

    def asked(program: list[str]) -> list[tuple[str, str, dict[str, object]]]:
        engine.requests.clear()
        _run(program, args, variables)
        return [(each.method, each.path, _meaning(each)) for each in engine.requests]

    assert asked(BARQUE) == asked([DOCKER])


def _meaning(request: Request) -> dict[str, object]:
    """The query without what says nothing; filters in one form."""
    query: dict[str, object] = {
        key: value
        for key, value in request.query.items()
        if value not in ("", "0", "{}") or key == "tail"
    }
    if "filters" in query:
        filters = json.loads(str(query["filters"]))
        query["filters"] = {key: sorted(values) for key, values in filters.items()}
    return query
