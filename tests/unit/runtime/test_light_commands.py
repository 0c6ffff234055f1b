"""What engines run all the time loads little: each module costs every one of these commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from barque.runtime.command import main as program
from barque.runtime.command.parser import build_parser
from support.bundle import PROGRAM

HEAVY = {
    "argparse": {"create", "run", "exec"},  # all that the first interpreter does is to seal
    "barque.runtime.init": {"state", "kill", "delete", "start", "pause", "resume"},
    "inspect": {"state", "kill", "delete", "start", "pause", "resume", "list"},
    "shutil": {"state", "kill", "delete", "start", "pause", "resume"},
    "subprocess": {"state", "kill", "delete", "start", "pause", "resume"},
}
"""Modules, and the commands that do without."""

COMMANDS = sorted(set().union(*HEAVY.values()))


@pytest.mark.parametrize("command", COMMANDS)
def test_modules(tmp_path: Path, command: str) -> None:
    words = [] if command == "list" else ["nobody"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PROGRAM, "--root", str(tmp_path), command, *words],
        check=False,
        capture_output=True,
        text=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "barque.runtime.command.main" in loaded, done.stderr
    assert not {name for name, without in HEAVY.items() if command in without and name in loaded}


def test_every_command_has_arguments_and_a_function() -> None:
    parser = build_parser([])
    for command, (module, function) in program._COMMANDS.items():
        words = {"list": [], "features": [], "spec": [], "exec": ["c", "true"]}
        assert parser.parse_args([command, *words.get(command, ["c"])])
        found = __import__(f"barque.runtime.command.{module}", fromlist=(function,))
        assert callable(getattr(found, function))


def test_a_command_line_of_an_unknown_command_is_told_all(tmp_path: Path) -> None:
    done = subprocess.run([PROGRAM, "frobnicate"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    for command in program._COMMANDS:
        assert f"'{command}'" in done.stderr
