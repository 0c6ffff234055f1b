"""barque-runtime: what is left when a command is killed or fails, and how it says so."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bundle import Runtime
from support.waiting import wait_until


def hook(script: str) -> list[dict[str, object]]:
    return [{"path": "/bin/sh", "args": ["sh", "-c", script]}]


def create_and_kill(runtime: Runtime, ready: Callable[[], bool], *more: str) -> None:
    """Begin a creation, and kill it when it is ``ready``."""
    runtime.write("exec sleep 100")
    process = runtime.start("create", "--bundle", str(runtime.bundle), *more, "c1")
    wait_until(ready, "it is on its way")
    process.kill()
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()


def assert_nothing_runs(runtime: Runtime) -> None:
    wait_until(lambda: runtime.processes() == [], "the init has ended with its creator")
    assert runtime.status() == "stopped"
    assert runtime.call("list", "-q") == "c1\n"
    runtime.call("delete", "--force", "c1")
    assert os.listdir(runtime.root) == []


def test_a_creation_killed_in_a_hook_of_the_host(runtime: Runtime, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    runtime.spec["hooks"] = {"prestart": hook(f"echo $$ > {mark}; exec sleep 100")}
    create_and_kill(runtime, lambda: mark.exists() and mark.read_text().endswith("\n"))
    wait_until(lambda: not os.path.exists(f"/proc/{mark.read_text().strip()}"), "the hook ends")
    assert_nothing_runs(runtime)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_creation_killed_in_a_hook_of_the_container(runtime: Runtime, mapped: bool) -> None:
    if mapped:
        runtime.add_user_namespace()
    runtime.spec["hooks"] = {"createContainer": hook("exec sleep 100")}
    create_and_kill(runtime, lambda: len(runtime.processes()) == 2)
    assert_nothing_runs(runtime)


def test_a_creation_killed_while_its_terminal_is_given_away(
    runtime: Runtime, tmp_path: Path
) -> None:
    """The process is recorded by then, and must not go on to its gate all the same."""
    runtime.spec["process"]["terminal"] = True
    path = str(tmp_path / "console")
    pid_file = tmp_path / "pid"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(0)
        other.connect(path)  # nobody accepts: the next must wait
        more = ("--pid-file", str(pid_file), "--console-socket", path)
        create_and_kill(runtime, pid_file.exists, *more)
    assert_nothing_runs(runtime)


def test_a_creation_that_is_killed_from_outside(runtime: Runtime, tmp_path: Path) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    wait = f"echo x > {mark}; until test -e {go}; do sleep 0.05; done"
    runtime.spec["hooks"] = {"createRuntime": hook(wait)}
    runtime.write("exec sleep 100")
    process = runtime.start("create", "--bundle", str(runtime.bundle), "c1")
    wait_until(mark.exists, "it is on its way")
    assert runtime.status() == "creating"
    for command in ("start", "kill", "delete", "pause", "ps"):
        assert runtime.try_call(command, "c1")[0] == 1
    assert "being created" in runtime.try_call("exec", "c1", "true")[1]
    runtime.call("delete", "--force", "c1")
    go.touch()
    assert process.wait(20) == 1
    assert process.stdout is not None
    process.stdout.close()
    assert runtime.processes() == []
    assert os.listdir(runtime.root) == []


def test_a_console_socket_that_nobody_accepts_from(runtime: Runtime, tmp_path: Path) -> None:
    runtime.spec["process"]["terminal"] = True
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(0)
        other.connect(path)
        runtime.write("true")
        bundle = ("--bundle", str(runtime.bundle))
        code, said = runtime.try_call("create", *bundle, "--console-socket", path, "c1")
    assert code == 1
    assert "nobody has accepted within 10 s" in said
    assert os.listdir(runtime.root) == []


def test_a_pid_file_that_cannot_be_written(runtime: Runtime, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none/pid")
    runtime.write("exec sleep 100")
    bundle = ("--bundle", str(runtime.bundle))
    code, said = runtime.try_call("create", *bundle, "--pid-file", nowhere, "c1")
    assert code == 1
    assert f"{tmp_path}/none/.pid: no such file or directory" in said
    assert os.listdir(runtime.root) == []
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    detached = ("exec", "--detach", "--pid-file", nowhere, "c1", "touch", "/tmp/ran")
    assert runtime.try_call(*detached)[0] == 255
    assert len(runtime.processes()) == 1
    assert runtime.try_call("exec", "c1", "test", "-e", "/tmp/ran")[0] == 1


@pytest.mark.parametrize("phase", ["prestart", "createContainer", "poststart"])
def test_poststop_hooks_after_what_failed(runtime: Runtime, tmp_path: Path, phase: str) -> None:
    trace = tmp_path / "trace"
    runtime.spec["hooks"] = {phase: hook("exit 3"), "poststop": hook(f"cat > {trace}; pwd >&2")}
    code, lines = runtime.run("true")
    assert code == 1
    assert f"error running {phase} hook" in "\n".join(lines)
    assert json.loads(trace.read_text())["status"] == "stopped"


def test_where_hooks_begin(runtime: Runtime, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    phases = ["prestart", "createRuntime", "poststart", "poststop"]
    runtime.spec["hooks"] = {phase: hook(f"echo {phase} $(pwd) >> {trace}") for phase in phases}
    runtime.spec["hooks"]["createContainer"] = hook(f"echo root $(ls -d etc) >> {trace}")
    assert runtime.run("sleep 0.1")[0] == 0
    lines = trace.read_text().splitlines()
    assert sorted(lines) == sorted([*(f"{phase} {runtime.bundle}" for phase in phases), "root etc"])


def test_a_hook_may_take_its_own_time(runtime: Runtime, tmp_path: Path) -> None:
    """One of a start is not cut off by the deadline of the start itself: see unit tests."""
    slow = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 1; echo done > /tmp/slow"]}
    runtime.spec["hooks"] = {"startContainer": [slow]}
    assert runtime.run("cat /tmp/slow; rm /tmp/slow") == (0, ["done"])


@pytest.mark.parametrize("command", ["start", "run"])
def test_a_hook_that_fails_at_the_start_is_told_of(
    runtime: Runtime, tmp_path: Path, command: str
) -> None:
    """The command that created the process is gone by then."""
    runtime.spec["hooks"] = {"startContainer": hook("echo I cannot; exit 3")}
    if command == "start":
        runtime.create("echo ran", tmp_path / "log")
        code, said = runtime.try_call("start", "c1")
        assert runtime.status() == "stopped"
        assert runtime.try_call("start", "c1")[1].strip().endswith("that has stopped")
        runtime.call("delete", "c1")
    else:
        code, lines = runtime.run("echo ran")
        said = "\n".join(lines)
    assert code == 1
    assert "error running startContainer hook #0 (/bin/sh): exit status 3, output: I cannot" in said
    assert os.listdir(runtime.root) == []


def test_a_program_that_is_none_is_told_of_at_the_start(runtime: Runtime, tmp_path: Path) -> None:
    script = tmp_path / "none"
    script.write_bytes(b"\x7fELF and nothing more")
    script.chmod(0o755)
    mount = {"destination": "/bin/none", "type": "bind", "source": str(script), "options": ["bind"]}
    runtime.spec["mounts"].append(mount)
    runtime.spec["process"]["args"] = ["none"]
    runtime.write()
    creation = runtime.start(
        "create", "--bundle", str(runtime.bundle), "c1", into=subprocess.DEVNULL
    )
    assert creation.wait(60) == 0
    code, said = runtime.try_call("start", "c1")
    assert (code, said.strip()) == (
        1, "barque-runtime: start failed: exec /bin/none: exec format error"
    )  # fmt: skip


def test_one_of_many_starts_is_the_one(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    starts = [runtime.start("start", "c1") for _ in range(4)]
    said = [start.communicate(timeout=60)[0] for start in starts]
    assert sorted(start.returncode for start in starts) == [0, 1, 1, 1]
    assert sum("cannot start an already running container" in text for text in said) == 3
    assert runtime.status() == "running"


def test_a_start_of_what_was_killed_meanwhile_says_so(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    os.kill(runtime.pid(), signal.SIGKILL)
    wait_until(lambda: runtime.status() == "stopped", "it has ended")
    code, said = runtime.try_call("start", "c1")
    assert code == 1
    assert "cannot start a container that has stopped" in said


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        b'{"ociVersion": "1.0.2", "hostname": "\xff"}',
        b"[]",
        b'{"ociVersion": 1}',
        b'{"process": {"user": {"uid": "root"}}}',
        b'{"linux": {"resources": {"memory": {"limit": 1e400}}}}',
        b"[" * 100_000,
        b'{"annotations": ' + b'{"a":' * 100_000,
    ],
)
def test_a_spec_that_is_none(runtime: Runtime, text: bytes) -> None:
    (runtime.bundle / "config.json").write_bytes(text)
    code, said = runtime.try_call("create", "--bundle", str(runtime.bundle), "c1")
    assert code == 1
    assert said.startswith("barque-runtime: create failed: ")
    assert "Traceback" not in said
    assert not runtime.root.exists() or os.listdir(runtime.root) == []


def test_documents_that_are_none(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    document = tmp_path / "document"
    document.write_bytes(b'{"args": ["\xff"], "unified": {"a": "\xff"}}')
    for command, code in ((("exec", "--process"), 255), (("update", "--resources"), 1)):
        given, said = runtime.try_call(*command, str(document), "c1")
        assert (given, "Traceback" in said) == (code, False)
    state = runtime.root / "c1/state.json"
    sound = state.read_bytes()
    state.write_bytes(sound[:-1])
    for command_ in ("state", "kill", "list"):
        given, said = runtime.try_call(*((command_, "c1") if command_ != "list" else ("list",)))
        assert given == 1
        assert "state.json is damaged" in said
        assert "Traceback" not in said
    state.write_bytes(sound)


def test_a_log_that_cannot_be_written(runtime: Runtime) -> None:
    code, said = runtime.try_call("--log", "/nowhere/log", "start", "nobody")
    assert code == 1
    assert said.startswith("barque-runtime: start failed: container does not exist (/nowhere/log")


def test_its_caller_need_not_reap(runtime: Runtime) -> None:
    """A program that ignores SIGCHLD passes that on to those that it runs."""
    runtime.write("exit 3")
    process = runtime.start(
        "run",
        "--bundle",
        str(runtime.bundle),
        "c1",
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (3, "")


def test_ps_that_does_not_end(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    program = tmp_path / "ps"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    begin = time.monotonic()
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    code, said = runtime.try_call("ps", "c1", env=path)
    assert code == 1
    assert "ps did not end within 10 s" in said
    assert time.monotonic() - begin < 30
