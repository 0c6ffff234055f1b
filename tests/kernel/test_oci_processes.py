"""barque-runtime: what the processes of a container are given, the first and exec'ed ones."""

from __future__ import annotations

import array
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from barque.cgroups import cgroup_version
from support.bundle import Runtime
from support.waiting import wait_until

KILL_TALK = {
    "names": ["sendto", "sendmsg", "recvfrom", "recvmsg", "socket", "connect", "pidfd_getfd"],
    "action": "SCMP_ACT_KILL_PROCESS",
}
NOTIFY = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}


def start(runtime: Runtime, tmp_path: Path, script: str = "exec sleep 100") -> None:
    runtime.create(script, tmp_path / "log")
    runtime.call("start", "c1")


def receive(listener: socket.socket) -> tuple[dict[str, Any], int]:
    """The document and the descriptor of the next that calls."""
    connection, _ = listener.accept()
    with connection:
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(8))
    return json.loads(data), array.array("i", ancillary[0][2])[0]


@pytest.mark.parametrize("privileges", [False, True])
def test_a_filter_that_forbids_to_talk(runtime: Runtime, tmp_path: Path, privileges: bool) -> None:
    runtime.spec["process"]["noNewPrivileges"] = not privileges
    runtime.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [KILL_TALK]}
    assert runtime.run("echo through; exit 5") == (5, ["through"])
    start(runtime, tmp_path)
    assert runtime.call("exec", "c1", "echo", "here", "too") == "here too\n"
    assert runtime.try_call("exec", "c1", "nonesuch")[0] == 255


@pytest.mark.parametrize("privileges", [False, True])
def test_listeners_of_a_filter_that_forbids_to_talk(
    runtime: Runtime, tmp_path: Path, privileges: bool
) -> None:
    """The first process's, and one of each that is exec'ed."""
    runtime.spec["process"]["noNewPrivileges"] = not privileges
    path = str(tmp_path / "notify")
    runtime.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "syscalls": [KILL_TALK, NOTIFY],
    }
    pid_file = tmp_path / "pid"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        start(runtime, tmp_path)
        told, fd = receive(listener)
        assert told["state"]["status"] == "creating"
        os.close(fd)
        assert runtime.call("exec", "--pid-file", str(pid_file), "c1", "echo", "in") == "in\n"
        told, fd = receive(listener)
    assert "seccomp notify" in os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    assert told["state"]["status"] == "running"
    assert told["pid"] == int(pid_file.read_text())
    assert told["pid"] != told["state"]["pid"]


def test_what_a_process_document_leaves_out(runtime: Runtime, tmp_path: Path) -> None:
    process = runtime.spec["process"]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    process["noNewPrivileges"] = True
    process["user"] = {"uid": 0, "gid": 0, "umask": 0o77}
    runtime.linux["personality"] = {"domain": "LINUX32"}
    start(runtime, tmp_path)
    script = (
        "ulimit -n; ulimit -Hn; umask; uname -m; cut -d' ' -f19,41 /proc/self/stat; "
        "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; ionice -p $$"
    )
    document = tmp_path / "document"
    given: dict[str, object] = {"args": ["sh", "-c", script], "cwd": "/"}
    document.write_text(json.dumps(given))
    lines = runtime.call("exec", "--process", str(document), "c1").splitlines()
    assert lines[:3] == ["77", "88", "0077"]
    assert lines[3] in {"i686", "armv8l"}
    assert lines[4] == "5 3"
    assert lines[5:7] == ["CapEff:\t0000000020000420", "NoNewPrivs:\t0"]
    assert lines[7].startswith("idle")
    given["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 55, "hard": 66}]
    given["capabilities"] = {}
    given["noNewPrivileges"] = True
    document.write_text(json.dumps(given))
    lines = runtime.call("exec", "--process", str(document), "c1").splitlines()
    assert lines[:2] == ["55", "66"]
    assert lines[5:7] == ["CapEff:\t0000000000000000", "NoNewPrivs:\t1"]


@pytest.mark.parametrize("mapped", [False, True])
def test_the_callers_umask_goes_no_further(runtime: Runtime, mapped: bool) -> None:
    if mapped:
        runtime.add_user_namespace()
    runtime.write("umask; stat -c %a /dev/shm /dev/null; ls /sys/fs/cgroup >/dev/null")
    arguments = ("run", "--bundle", str(runtime.bundle), "c1")
    assert runtime.try_call(*arguments, umask=0o077) == (0, "0022\n1777\n666\n")


def test_labels_are_passed_on_to_what_is_executed(runtime: Runtime, tmp_path: Path) -> None:
    """Without a host that has AppArmor, by the refusal: what is left out is the container's."""
    start(runtime, tmp_path)
    state = runtime.root / "c1/state.json"
    record = json.loads(state.read_text())
    for name, said in (("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")):
        if os.path.exists({"AppArmor": "/sys/module/apparmor", "SELinux": "/sys/fs/selinux"}[said]):
            continue
        changed = {**record, "spec": {**record["spec"]}}
        changed["spec"]["process"] = {**record["spec"]["process"], name: "of-the-container"}
        state.write_text(json.dumps(changed))
        document = tmp_path / "document"
        document.write_text('{"args": ["true"], "cwd": "/"}')
        code, text = runtime.try_call("exec", "--process", str(document), "c1")
        assert code == 255
        assert f"{said} is not enabled" in text
        assert "of-the-container" in text
    state.write_text(json.dumps(record))


def test_a_terminal_in_a_user_namespace(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add_user_namespace()
    start(runtime, tmp_path)
    shown = runtime.call("exec", "-t", "c1", "sh", "-c", "tty; stat -c %u:%g $(tty)")
    assert shown.replace("\r", "").split() == ["/dev/pts/0", "0:5"]


@pytest.mark.parametrize(
    ("uid", "home"), [(0, "/root"), (1, "/usr/sbin"), (65534, "/home"), (4242, "/")]
)
def test_the_home_of_the_passwd_file(runtime: Runtime, tmp_path: Path, uid: int, home: str) -> None:
    runtime.spec["process"]["user"] = {"uid": uid, "gid": 0}
    assert runtime.run("echo $HOME") == (0, [home])
    runtime.spec["process"]["env"].append("HOME=/mine")
    start(runtime, tmp_path)
    assert runtime.call("exec", "c1", "sh", "-c", "echo $HOME") == "/mine\n"
    document = tmp_path / "document"
    given = {"args": ["sh", "-c", "echo $HOME"], "cwd": "/", "user": {"uid": uid, "gid": 0}}
    given["env"] = ["PATH=/bin", "HOME="]
    document.write_text(json.dumps(given))
    assert runtime.call("exec", "--process", str(document), "c1") == f"{home}\n"


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("limit", ["NOFILE", "NPROC", "FSIZE", "CORE", "MSGQUEUE"])
def test_limits_of_nothing_do_not_hinder_the_start(
    runtime: Runtime, tmp_path: Path, limit: str, mapped: bool
) -> None:
    if mapped:
        runtime.add_user_namespace()
    name = {"NOFILE": "open files", "NPROC": "processes", "FSIZE": "file size",
            "CORE": "core file size", "MSGQUEUE": "msgqueue size"}[limit]  # fmt: skip
    runtime.spec["process"]["rlimits"] = [{"type": f"RLIMIT_{limit}", "soft": 0, "hard": 0}]
    runtime.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
    runtime.spec["process"]["args"] = ["cat", "/proc/self/limits"]
    # With no descriptors nothing can be opened: then it is enough that the program ran.
    if limit == "NOFILE":
        runtime.spec["process"]["args"] = ["echo", "Max open files 0 0"]
    runtime.write()
    code, said = runtime.try_call("run", "--bundle", str(runtime.bundle), "c1")
    assert code == 0, said
    line = next(line for line in said.splitlines() if line.startswith(f"Max {name}"))
    assert line.removeprefix(f"Max {name}").split()[:2] == ["0", "0"]


def test_a_limit_is_raised_for_a_user_namespace(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add_user_namespace()
    runtime.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}]
    assert runtime.run("ulimit -n; ulimit -Hn") == (0, ["300", "400"])
    start(runtime, tmp_path)
    assert runtime.call("exec", "c1", "sh", "-c", "ulimit -n; ulimit -Hn") == "300\n400\n"


@pytest.mark.skipif(cgroup_version() == 1, reason="needs cgroup version 2")
def test_exec_beside_groups_of_the_container(runtime: Runtime, tmp_path: Path) -> None:
    """As systemd does inside: the init moves below, and passes controllers on."""
    script = (
        "cd /sys/fs/cgroup && mkdir inner && echo 1 > inner/cgroup.procs && "
        "echo +$(cut -d' ' -f1 cgroup.controllers) > cgroup.subtree_control && echo done && "
        "exec sleep 100"
    )
    for mount in runtime.spec["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"].remove("ro")
    start(runtime, tmp_path, script)
    wait_until(lambda: (tmp_path / "log").read_text() == "done\n", "it has made its group")
    assert "0::/inner\n" in runtime.call("exec", "c1", "cat", "/proc/self/cgroup")
    assert runtime.try_call("exec", "--cgroup", "other", "c1", "true")[0] == 255
