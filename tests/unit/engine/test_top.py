from __future__ import annotations

import asyncio
import os
import shutil
import subprocess

import pytest

from barque.engine.processes import find_columns, list_processes
from barque.engine.top import parse_output
from barque.errors import InvalidArgument


@pytest.mark.parametrize("arguments", ["-ef", "aux", "-o pid,ppid,pgid,user,tty,stat,comm,args"])
def test_as_ps_shows(arguments: str) -> None:
    """Columns that do not change while two programs look are the same."""
    if shutil.which("ps") is None:
        pytest.skip("this machine has no ps to compare with")
    columns = find_columns(arguments.split())
    assert columns is not None
    ours = list_processes([os.getpid()], columns)[0]
    titles = [title for title, _ in columns]
    listed = "-e" if arguments.startswith("-o") else ""
    text = subprocess.run(
        ["ps", *listed.split(), *arguments.split()],
        check=True,
        capture_output=True,
        env={**os.environ, "COLUMNS": "10000"},
    ).stdout.decode()
    theirs = parse_output(text, [os.getpid()])
    assert titles == theirs.titles
    changing = {"C", "%CPU", "%MEM", "VSZ", "RSS", "TIME", "STAT", "STIME", "START"}
    for title, mine, other in zip(titles, ours, theirs.rows[0], strict=True):
        if title not in changing:
            assert mine == other.strip(), title


def test_no_arguments_means_ef() -> None:
    assert find_columns([]) == find_columns(["-ef"])


def test_the_pid_is_needed() -> None:
    with pytest.raises(InvalidArgument, match="Couldn't find PID field"):
        find_columns(["-o", "comm"])
    with pytest.raises(InvalidArgument, match="Couldn't find PID field"):
        parse_output("CMD\nsh\n", [1])


def test_what_we_do_not_know_is_left_to_ps() -> None:
    for words in (["--forest"], ["-o", "pid,wchan"], ["-o"], ["-Z"]):
        assert find_columns(words) is None


def test_only_the_containers_processes_are_picked() -> None:
    text = "PID COMMAND\n  1 init --x y\n 22 sh -c a b\n333 tail\n"
    found = parse_output(text, {22, 333})
    assert found.titles == ["PID", "COMMAND"]
    assert found.rows == [["22", "sh -c a b"], ["333", "tail"]]


def test_a_process_that_has_ended_is_left_out() -> None:
    async def body() -> int:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        return process.pid

    columns = find_columns(["-ef"])
    assert columns is not None
    assert list_processes([asyncio.run(body())], columns) == []
