from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from barque.cli import completion
from barque.cli.registry import COMMANDS, HIDDEN

NAMES = """\
#!/bin/sh
case "$1 $2" in
"container ls") echo web; echo db ;;
"image ls") echo alpine:3.20 ;;
"volume ls") echo data ;;
"network ls") echo bridge ;;
esac
"""

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bash script, and a ``barque`` that lists fixed names."""
    directory: Path = tmp_path_factory.mktemp("completion")
    (directory / "completion.bash").write_text(completion.bash())
    program = directory / "barque"
    program.write_text(NAMES)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return directory / "completion.bash"


def _candidates(script: Path, line: str) -> list[str]:
    """What Tab offers behind the last word of ``line``."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    program = f"""
        source {script}
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
        _barque
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        env={"PATH": f"{script.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("barque vol", {"volume"}),
        (
            "barque pu",
            {"pull", "push"},
        ),
        ("barque volume ", {"create", "inspect", "ls", "prune", "rm"}),
        ("barque stop ", {"web", "db"}),
        ("barque container stop w", {"web"}),
        ("barque rmi ", {"alpine:3.20"}),
        ("barque volume rm ", {"data"}),
        ("barque volume create ", set()),
        ("barque network inspect b", {"bridge"}),
        ("barque inspect ", {"web", "db", "alpine:3.20", "data", "bridge"}),
        ("barque -H unix:///x stop d", {"db"}),
        ("barque ps --no", {"--no-trunc"}),
        ("barque ps --filter ", set()),
        ("barque network connect bridge w", {"web"}),
    ],
)
def test_bash(script: Path, line: str, expected: set[str]) -> None:
    assert set(_candidates(script, line)) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_syntax(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    path = tmp_path / "script"
    path.write_text(getattr(completion, shell)())
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_the_script(shell: str) -> None:
    text = getattr(completion, shell)()
    for path in COMMANDS:
        assert path in HIDDEN or path in text
