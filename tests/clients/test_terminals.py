"""``docker run -it`` and its kin on a real terminal."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress

import pytest

from support.engine import Engine
from support.terminal import Terminal

PROMPT = r"# (\x1b\[6n)?"


def _open(engine: Engine, *arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
    return Terminal(["docker", *arguments], engine.client_environment(), rows=rows, columns=columns)


def _state(engine: Engine, container: str) -> str:
    return engine.docker("inspect", "-f", "{{.State.Status}}", container)


def _interrupt_what_runs(terminal: Terminal) -> None:
    terminal.type("sh -c 'echo runs $((1)); exec sleep 1000'\n")
    terminal.expect(r"runs 1\r\n")
    terminal.type("\x03")
    terminal.expect(PROMPT)


def test_a_shell_from_beginning_to_end(engine: Engine) -> None:
    with _open(engine, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.expect(PROMPT)
        terminal.type("echo $((40+2)); tty; test -t 0 && echo yes\n")
        terminal.expect(r"42\r\n/dev/(console|pts/0)\r\nyes\r\n")
        terminal.expect(PROMPT)
        terminal.type("exit 7\n")
        assert terminal.wait() == 7


def test_the_size_and_its_changes(engine: Engine) -> None:
    with _open(engine, "run", "--rm", "-it", "busybox", "sh", rows=31, columns=97) as terminal:
        terminal.expect(PROMPT)
        terminal.expect_size(31, 97)
        terminal.expect(PROMPT)
        terminal.resize(40, 120)
        terminal.expect_size(40, 120)
        terminal.expect(PROMPT)
        terminal.type("exit\n")
        assert terminal.wait() == 0


def test_the_size_is_there_from_the_first_moment(barqued: Engine) -> None:
    with _open(
        barqued, "run", "--rm", "-it", "busybox", "stty", "size", rows=33, columns=99
    ) as terminal:
        assert terminal.wait() == 0
        assert terminal.seen == "33 99\r\n"


def test_control_c_interrupts_what_runs(engine: Engine) -> None:
    with _open(engine, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.expect(PROMPT)
        _interrupt_what_runs(terminal)
        terminal.type("echo $?; exit\n")
        terminal.expect(r"130\r\n")
        assert terminal.wait() == 0


def test_control_d_ends_the_shell(engine: Engine) -> None:
    with _open(engine, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("flags", "keys"), [((), "\x10\x11"), (("--detach-keys", "ctrl-x,y"), "\x18y")]
)
def test_detach_and_attach_again(engine: Engine, flags: tuple[str, ...], keys: str) -> None:
    with _open(engine, "run", *flags, "-it", "--name", "c1", "busybox", "sh") as terminal:
        terminal.expect(PROMPT)
        terminal.type("x=kept\n")
        terminal.expect(PROMPT)
        terminal.type(keys)
        assert terminal.wait() == 0
    assert _state(engine, "c1") == "running"
    with _open(engine, "attach", "c1") as terminal:
        terminal.type("\n")
        terminal.expect(PROMPT)
        terminal.type("echo $x\n")
        terminal.expect(r"kept\r\n")
        terminal.type("exit 4\n")
        assert terminal.wait() == 4
    assert _state(engine, "c1") == "exited"


def test_several_clients_see_the_same(engine: Engine) -> None:
    engine.docker("run", "-dit", "--name", "c1", "busybox", "sh")
    with _open(engine, "attach", "c1") as first, _open(engine, "attach", "c1") as second:
        for number, terminal in enumerate((first, second)):  # what is heard is attached
            terminal.type(f"echo heard$(({number}))\n")
            terminal.expect(rf"heard{number}\r\n")
        first.type("echo one$((1))\n")
        first.expect(r"one1\r\n")
        second.expect(r"one1\r\n")
        second.type("echo two$((2))\n")
        first.expect(r"two2\r\n")
        second.expect(r"two2\r\n")
        first.type("exit\n")
        assert first.wait() == 0
        assert second.wait() == 0


def test_exec_on_a_terminal(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
    with _open(engine, "exec", "-it", "c1", "sh", rows=35, columns=101) as terminal:
        terminal.expect(PROMPT)
        terminal.expect_size(35, 101)
        terminal.expect(PROMPT)
        terminal.type("tty\n")
        terminal.expect(r"/dev/pts/\d\r\n")
        _interrupt_what_runs(terminal)
        terminal.resize(20, 60)
        terminal.expect_size(20, 60)
        terminal.expect(PROMPT)
        terminal.type("exit 6\n")
        assert terminal.wait() == 6
    assert _state(engine, "c1") == "running"


def test_exec_is_left_by_detach_keys(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
    with _open(engine, "exec", "-it", "c1", "sh") as terminal:
        terminal.expect(PROMPT)
        terminal.type("\x10\x11")
        terminal.wait()
    assert engine.docker("top", "c1", "-o", "pid,args").endswith("sh")


def test_a_terminal_needs_one(engine: Engine) -> None:
    done = engine.cli("run", "--rm", "-it", "busybox", "true")
    assert done.returncode == 1
    assert "the input device is not a TTY" in done.stderr


def test_signals_reach_an_attached_container(engine: Engine) -> None:
    script = 'trap "exit 9" TERM; while :; do echo up; sleep .1; done'
    engine.docker("run", "-d", "--name", "c1", "busybox", "sh", "-c", script)
    with subprocess.Popen(
        ["docker", "attach", "c1"],
        env=engine.client_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n", "it is attached"
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(15) == 9
        finally:
            process.kill()


def test_signals_are_kept_from_it_if_asked(engine: Engine) -> None:
    script = "while :; do echo up; sleep .1; done"
    engine.docker("run", "-d", "--name", "c1", "busybox", "sh", "-c", script)
    with subprocess.Popen(
        ["docker", "attach", "--sig-proxy=false", "c1"],
        env=engine.client_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n", "it is attached"
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):  # it may go on, or leave the container alone
            process.wait(0.5)
        process.kill()
    assert _state(engine, "c1") == "running"
