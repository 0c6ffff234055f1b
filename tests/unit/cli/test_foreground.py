"""Containers in the foreground: streams, terminals, signals, exit codes."""

from __future__ import annotations

import hashlib
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from barque.cli.command import CommandError
from barque.cli.detach import DEFAULT_KEYS, DetachKeys, parse_detach_keys
from barque.cli.streams import Demultiplexer
from support.fake_daemon import CONTAINER_ID, FakeDaemon, Reply

DEADLINE_S = 20


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "docker.sock") as daemon:
        yield daemon


def _start(
    daemon: FakeDaemon, *words: str, stdin: int = subprocess.DEVNULL, **options: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "barque", *words],
        stdin=stdin,
        stdout=options.get("stdout", subprocess.PIPE),
        stderr=options.get("stderr", subprocess.PIPE),
        env={
            "DOCKER_HOST": daemon.url,
            "HOME": str(daemon.path.parent),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )


def _run(daemon: FakeDaemon, *words: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
    process = _start(daemon, *words, stdin=subprocess.PIPE)
    out, err = process.communicate(given, timeout=DEADLINE_S)
    return process.returncode, out, err


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def _frame(stream: int, payload: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + struct.pack(">I", len(payload)) + payload


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), max_size=30),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_frames_arrive_whole_however_they_are_cut(
    frames: list[tuple[int, bytes]], sizes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    data = memoryview(b"".join(_frame(*frame) for frame in frames))
    demultiplexer = Demultiplexer()
    capfd.readouterr()
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        demultiplexer.feed(data[at : at + size])
        at += size
    out, err = (text.encode() for text in capfd.readouterr())
    if all(payload.isascii() and b"\r" not in payload for _, payload in frames):
        assert out == b"".join(payload for stream, payload in frames if stream < 2)
        assert err == b"".join(payload for stream, payload in frames if stream >= 2)


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(CommandError, match="unrecognized stream"):
        Demultiplexer().feed(memoryview(b"hello world"))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b"\x10\x11"),
        ("a", b"a"),
        ("ctrl-a,b", b"\x01b"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("DEL", b"\x7f"),
    ],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ab", "ctrl-1", ",", "a,,b"])
def test_impossible_detach_keys(text: str) -> None:
    with pytest.raises(CommandError, match="invalid detach keys"):
        parse_detach_keys(text)


@given(before=st.binary(max_size=20), pieces=st.lists(st.integers(1, 5), min_size=1))
def test_the_sequence_is_found_in_any_pieces(before: bytes, pieces: list[int]) -> None:
    typed = before + DEFAULT_KEYS
    watcher = DetachKeys(DEFAULT_KEYS)
    end = typed.index(DEFAULT_KEYS) + len(DEFAULT_KEYS)
    at = count = 0
    while at < len(typed):
        size = pieces[count % len(pieces)]
        count += 1
        found = watcher.find_end(typed[at : at + size])
        if found >= 0:
            assert at + found == end
            return
        at += size
    pytest.fail("not found")


def test_output_and_exit_code(daemon: FakeDaemon) -> None:
    daemon.stream = _frame(1, b"out\n") + _frame(2, b"err\n") + _frame(1, b"more\n")
    daemon.exit_code = 7
    assert _run(daemon, "run", "x") == (7, b"out\nmore\n", b"err\n")


def test_input_reaches_the_container_and_ends(daemon: FakeDaemon) -> None:
    assert _run(daemon, "run", "-i", "x", "cat", given=b"hello\n")[0] == 0
    assert daemon.stdin == b"hello\n"


def test_without_i_the_input_is_closed_at_once(daemon: FakeDaemon) -> None:
    process = _start(daemon, "run", "x", stdin=subprocess.PIPE)
    assert process.wait(DEADLINE_S) == 0  # the fake engine waits for the end of its input
    process.communicate()
    assert daemon.stdin == b""


def test_only_stdin_attached_ends_with_the_container(daemon: FakeDaemon) -> None:
    process = _start(daemon, "run", "-a", "stdin", "-i", "x", stdin=subprocess.PIPE)
    daemon.exit_code = 3
    assert process.wait(DEADLINE_S) == 3
    process.communicate()


def test_a_large_stream_goes_through_and_back(daemon: FakeDaemon) -> None:
    def echo(connection: socket.socket) -> None:
        while data := connection.recv(1 << 16):
            connection.sendall(_frame(1, data))

    daemon.session = echo
    daemon.ended.clear()
    content = os.urandom(1 << 20) * 48
    code, out, _ = _run(daemon, "run", "-i", "x", "cat", given=content)
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(content).digest()


def _was_sent(daemon: FakeDaemon, path: str, count: int) -> bool:
    return len(daemon.sent("POST", path)) >= count


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def _either(first: Callable[[], bool], second: Callable[[], bool]) -> bool:
    return first() or second()


def _until_released(release: threading.Event) -> Callable[[socket.socket], None]:
    def session(_connection: socket.socket) -> None:
        release.wait(DEADLINE_S)

    return session


def test_signals_are_passed_on(daemon: FakeDaemon) -> None:
    daemon.ended.clear()
    release = threading.Event()
    daemon.session = _until_released(release)
    process = _start(daemon, "run", "x")
    _until(lambda: daemon.sent("POST", f"/containers/{CONTAINER_ID}/start"))
    kill = f"/containers/{CONTAINER_ID}/kill"
    for expected, number in enumerate((signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1), 1):
        process.send_signal(number)
        _until(partial(_was_sent, daemon, kill, expected))
    for number in (signal.SIGWINCH, signal.SIGURG, signal.SIGCHLD):
        process.send_signal(number)
    daemon.exit_code = 143
    release.set()
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert [request.query["signal"] for request in daemon.sent("POST", kill)] == ["15", "1", "10"]


def test_the_third_interrupt_ends_the_command_line(daemon: FakeDaemon) -> None:
    daemon.ended.clear()
    release = threading.Event()
    daemon.session = _until_released(release)
    process = _start(daemon, "run", "x")
    _until(lambda: daemon.sent("POST", f"/containers/{CONTAINER_ID}/start"))
    kill = f"/containers/{CONTAINER_ID}/kill"
    for expected in (1, 2, 3):
        process.send_signal(signal.SIGINT)
        sent = partial(_was_sent, daemon, kill, expected)
        _until(partial(_either, sent, partial(_has_ended, process)))
    _, err = process.communicate(timeout=DEADLINE_S)
    release.set()
    assert process.returncode == 1
    assert b"forcefully exiting" in err


class Terminal:
    """A pseudo terminal and a command line in it."""

    def __init__(self, daemon: FakeDaemon, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.process = _start(
            daemon, *words, stdin=self.slave, stdout=self.slave, stderr=self.slave
        )
        self.shown = b""

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ISIG)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, height: int, width: int) -> None:
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process.send_signal(signal.SIGWINCH)  # it is not its controlling terminal

    def read_until(self, text: bytes) -> None:
        def arrived() -> bool:
            if select.select([self.master], [], [], 0)[0]:
                self.shown += os.read(self.master, 4096)
            return text in self.shown

        _until(arrived)

    def finish(self) -> int:
        code = self.process.wait(DEADLINE_S)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 4096)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def open_terminal(daemon: FakeDaemon) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(daemon, *words))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


class Shell:
    """A container's end of the stream: remembers what was typed, ends at ctrl-D."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.typed = b""
        daemon.session = self
        daemon.ended.clear()

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(b"prompt$ ")
        while data := connection.recv(4096):
            self.typed += data
            if b"\x04" in data:
                connection.sendall(b"bye\r\n")
                return


def test_a_terminal_is_raw_and_comes_back(
    daemon: FakeDaemon, open_terminal: Callable[..., Terminal]
) -> None:
    shell = Shell(daemon)
    daemon.exit_code = 5
    terminal = open_terminal("run", "-it", "x", "sh")
    terminal.read_until(b"prompt$ ")
    assert terminal.is_raw()
    terminal.type(b"\x03\r")
    _until(lambda: shell.typed == b"\x03\r")
    terminal.type(b"\x04")
    assert terminal.finish() == 5
    assert terminal.shown.endswith(b"bye\r\n")
    body = daemon.sent("POST", "/containers/create")[0].body
    assert body["HostConfig"]["ConsoleSize"] == [24, 80]
    assert body["Tty"]
    assert body["StdinOnce"]


def test_the_window_s_size_is_passed_on(
    daemon: FakeDaemon, open_terminal: Callable[..., Terminal]
) -> None:
    Shell(daemon)
    path = f"/containers/{CONTAINER_ID}/resize"
    terminal = open_terminal("run", "-it", "x", "sh")
    _until(lambda: daemon.sent("POST", path))
    terminal.resize(40, 100)
    _until(lambda: len(daemon.sent("POST", path)) == 2)
    terminal.type(b"\x04")
    assert terminal.finish() == 0
    sizes = [request.query for request in daemon.sent("POST", path)]
    assert sizes == [{"h": "24", "w": "80"}, {"h": "40", "w": "100"}]


@pytest.mark.parametrize(
    ("words", "keys", "code", "said"),
    [
        (("run", "-it", "x"), b"\x10\x11", 0, b""),
        (("run", "-it", "--detach-keys", "ctrl-a,z", "x"), b"\x01z", 0, b""),
        (("attach", "x"), b"\x10\x11", 1, b"read escape sequence"),
        (("exec", "-it", "x", "sh"), b"\x10\x11", 1, b"read escape sequence"),
        (("start", "-ai", "x"), b"\x10\x11", 0, b""),
    ],
)
def test_detaching(
    daemon: FakeDaemon,
    open_terminal: Callable[..., Terminal],
    words: tuple[str, ...],
    keys: bytes,
    code: int,
    said: bytes,
) -> None:
    shell = Shell(daemon)
    daemon.inspect["Config"] = {"Tty": True, "OpenStdin": True}
    terminal = open_terminal(*words)
    terminal.read_until(b"prompt$ ")
    terminal.type(b"ls\r" + keys)
    assert terminal.finish() == code
    assert said in terminal.shown
    _until(lambda: shell.typed == b"ls\r" + keys)


def test_a_killed_command_line_restores_the_terminal(
    daemon: FakeDaemon, open_terminal: Callable[..., Terminal]
) -> None:
    Shell(daemon)
    terminal = open_terminal("run", "-it", "--sig-proxy=false", "x")
    terminal.read_until(b"prompt$ ")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish() == 143


def test_exec_reports_the_code_of_its_process(daemon: FakeDaemon) -> None:
    daemon.exit_code = 9
    daemon.stream = _frame(1, b"x")
    assert _run(daemon, "exec", "x", "ls") == (9, b"x", b"")


def test_attach_needs_a_running_container(daemon: FakeDaemon) -> None:
    daemon.inspect["State"]["Running"] = False
    assert _run(daemon, "attach", "x") == (
        1,
        b"",
        b"You cannot attach to a stopped container, start it first\n",
    )


def test_a_start_that_fails(daemon: FakeDaemon) -> None:
    daemon.ended.clear()
    message = 'exec: "foo": executable file not found in $PATH: unknown'
    daemon.replies[f"POST /containers/{CONTAINER_ID}/start"] = Reply(400, {"message": message})
    code, out, err = _run(daemon, "run", "x", "foo")
    assert (code, out) == (127, b"")
    assert err.decode() == (
        f"barque: Error response from daemon: {message}\n\n"
        "Run 'barque run --help' for more information\n"
    )
