"""Every flag of docker run, exec and update: shown to work inside, or which error it gives.

The table is ``support.flag_cases``; it has a row for every flag that the stock command line's
``--help`` lists, whichever version is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cases import Case, describe_mismatch, run_script
from support.engine import Engine
from support.flag_cases import COMMANDS

ROWS = [
    pytest.param(case, id=f"{command} {case.name}")
    for command, cases in COMMANDS.items()
    for case in cases
]


@pytest.fixture
def barque(barqued: Engine) -> Iterator[Engine]:
    yield barqued
    barqued.remove_containers()


@pytest.mark.parametrize("case", ROWS)
def test_flag(case: Case, barque: Engine, tmp_path: Path) -> None:
    mismatch = describe_mismatch(case, run_script(barque, case.script, tmp_path), None)
    assert not mismatch, f"{case.script}\n{mismatch}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_a_row(command: str) -> None:
    if shutil.which("docker") is None:
        pytest.skip("needs the docker command line")
    done = subprocess.run(["docker", command, "--help"], capture_output=True, text=True, check=True)
    options = done.stdout.partition("Options:")[2]
    flags = set(re.findall(r"^ {2}(?:-\w, | {4})(--[a-z0-9-]+)", options, re.MULTILINE))
    assert len(flags) > 5, "the help could not be read"
    missing = flags - {case.name.split()[0] for case in COMMANDS[command]}
    assert not missing, f"docker {command}: no row for {', '.join(sorted(missing))}"
