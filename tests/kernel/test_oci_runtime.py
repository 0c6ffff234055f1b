"""barque-runtime: the OCI life cycle and what a spec can ask for, on the real kernel."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from barque.cgroups import cgroup_version
from barque.runtime.attributes import apparmor_enabled, selinux_enabled
from support.bundle import PROGRAM, Runtime
from support.namespaces import is_refused_without_own_mounts
from support.waiting import wait_until

CLOCK = "cut -d. -f1 /proc/uptime"
NOTIFYING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerMetadata": "nobody",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
}
"""A filter that leaves a call to a listener of whom nothing is said."""


def test_run_gives_output_and_exit_code(runtime: Runtime) -> None:
    code, lines = runtime.run("echo $$; hostname; exit 7")
    assert (code, lines) == (7, ["1", "barque"])
    assert runtime.call("list", "-q") == ""


def test_create_start_kill_delete(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime.create("echo started; exec sleep 100", log)
    assert runtime.status() == "created"
    assert log.read_text() == ""
    runtime.call("start", "c1")
    wait_until(lambda: log.read_text() == "started\n", "the program runs")
    assert runtime.status() == "running"
    code, said = runtime.try_call("start", "c1")
    assert code == 1
    assert "cannot start an already running container" in said
    code, said = runtime.try_call("delete", "c1")
    assert "cannot delete container c1 that is not stopped: running" in said
    runtime.call("pause", "c1")
    assert runtime.status() == "paused"
    assert "paused container" in runtime.try_call("exec", "c1", "true")[1]
    runtime.call("resume", "c1")
    runtime.call("kill", "c1", "KILL")
    wait_until(lambda: runtime.status() == "stopped", "it has ended")
    assert "container not running" in runtime.try_call("kill", "c1")[1]
    assert "stopped container" in runtime.try_call("exec", "c1", "true")[1]
    runtime.call("delete", "c1")
    assert "container does not exist" in runtime.try_call("state", "c1")[1]
    runtime.call("delete", "--force", "c1")


def test_a_created_container_that_is_never_started(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("echo never", tmp_path / "log")
    runtime.call("delete", "c1")
    assert (tmp_path / "log").read_text() == ""
    assert runtime.call("list", "-q") == ""


def test_names_are_taken_and_checked(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("true", tmp_path / "log")
    bundle = ("--bundle", str(runtime.bundle))
    assert "already exists" in runtime.try_call("create", *bundle, "c1")[1]
    for name in ("..", "a/b", "ä", ""):
        assert "invalid container ID format" in runtime.try_call("create", *bundle, name)[1]
        assert "invalid container ID format" in runtime.try_call("delete", "--force", name)[1]
    assert runtime.status() == "created"


def test_killed_while_paused(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    runtime.call("pause", "c1")
    runtime.call("kill", "c1", "KILL")
    wait_until(lambda: runtime.status() == "stopped", "it has ended")


def test_devices_are_denied_unless_given(runtime: Runtime) -> None:
    capabilities = runtime.spec["process"]["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        capabilities[kind].append("CAP_MKNOD")
    runtime.spec["linux"]["resources"] = {}
    script = "mknod /tmp/disk b 1 0; cat /tmp/disk; rm /tmp/disk; head -c 2 /dev/zero | wc -c"
    _, lines = runtime.run(f"exec 2>&1; {script}")
    assert lines == ["cat: can't open '/tmp/disk': Operation not permitted", "2"]


def test_the_state_is_private(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("true", tmp_path / "log")
    assert (runtime.root / "c1/state.json").stat().st_mode & 0o077 == 0


def test_failures_leave_nothing(runtime: Runtime) -> None:
    runtime.spec["process"]["args"] = ["nonesuch"]
    runtime.write()
    code, said = runtime.try_call("create", "--bundle", str(runtime.bundle), "c1")
    assert code == 1
    assert 'exec: "nonesuch": executable file not found in $PATH' in said
    assert runtime.call("list", "-q") == ""
    assert os.listdir(runtime.root) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ociVersion": "2.0.0"}, "not supported"),
        ({"process": {"cwd": "here", "args": ["sh"]}}, "not absolute"),
        ({"process": {"cwd": "/", "args": []}}, "nothing to run"),
        (
            {"process": {"cwd": "/", "args": ["sh"], "scheduler": {"policy": "SCHED_MINE"}}},
            "unknown scheduler policy",
        ),
        (
            {"process": {"cwd": "/", "args": ["sh"], "apparmorProfile": "mine"}},
            'profile "mine" is not loaded' if apparmor_enabled() else "AppArmor is not enabled",
        ),
        ({"mounts": [{"destination": "/proc", "type": "tmpfs", "source": "x"}]}, "must be a proc"),
        ({"hooks": {"prestart": [{"path": "true"}]}}, "not absolute"),
        (
            {"linux": {"namespaces": [{"type": "mount"}], "intelRdt": {}}, "hostname": ""},
            "the resctrl file system is not mounted",
        ),
        (
            {"process": {"cwd": "/", "args": ["sh"], "selinuxLabel": "a:b:c"}},
            "no such SELinux label" if selinux_enabled() else "SELinux is not enabled",
        ),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}, "listed twice"),
        ({"linux": {"namespaces": [{"type": "mount"}], "uidMappings": []}, "hostname": "x"}, "UTS"),
        (
            {
                "linux": {"namespaces": [{"type": "mount"}], "sysctl": {"net.x": "1"}},
                "hostname": "",
            },
            "not in a separate kernel namespace",
        ),
        ({"linux": {"namespaces": [{"type": "user"}]}, "hostname": ""}, "uidMappings"),
        (
            {"process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0, "umask": 512}}},
            "umask 512 is not in 0 to 511",
        ),
        (
            {
                "linux": {
                    "namespaces": [{"type": "time"}],
                    "timeOffsets": {"boottime": {"nanosecs": 10**9}},
                },
                "hostname": "",
            },
            "nanosecs 1000000000 is not in",
        ),
        ({"linux": {"seccomp": NOTIFYING}, "hostname": ""}, "listenerPath is needed"),
        (
            {"linux": {"seccomp": {**NOTIFYING, "syscalls": []}}, "hostname": ""},
            "listenerMetadata is for who listens",
        ),
        ({"hostname": "x" * 65}, "longer than 64 bytes"),
        ({"annotations": {"": "x"}}, "the empty string is no key"),
        (
            {
                "linux": {"resources": {"devices": [{"allow": True, "type": "c", "access": "x"}]}},
                "hostname": "",
            },
            "with access 'x'",
        ),
        ({"hooks": {"createContainer": [{"path": "/x", "timeout": 0}]}}, "createContainer hook /x"),
    ],
)
def test_what_cannot_be_is_refused(runtime: Runtime, change: dict[str, object], said: str) -> None:
    runtime.spec.update(change)
    runtime.write()
    code, text = runtime.try_call("create", "--bundle", str(runtime.bundle), "c1")
    assert code == 1
    assert said in text
    assert not runtime.root.exists() or os.listdir(runtime.root) == []


def test_a_label_of_mounts_needs_selinux_to_mean_anything(runtime: Runtime) -> None:
    if os.path.exists("/sys/fs/selinux/enforce"):
        pytest.skip("this host has SELinux: the label is applied")
    runtime.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
    code, lines = runtime.run("echo ran")
    assert (code, lines[-1]) == (0, "ran")
    assert "has no effect: SELinux is not enabled on this host" in lines[0]


def test_exec(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    assert runtime.call("exec", "-e", "A=b", "c1", "sh", "-c", "echo $A $$").split()[0] == "b"
    assert runtime.try_call("exec", "c1", "sh", "-c", "exit 3")[0] == 3
    code, said = runtime.try_call("exec", "c1", "nonesuch")
    assert code == 255
    assert 'exec: "nonesuch": executable file not found in $PATH' in said
    assert runtime.call("exec", "--user", "1000:1001", "--cwd", "/tmp", "c1", "id").startswith(
        "uid=1000 gid=1001"
    )
    assert "CapPrm:\t0000000000000000" in runtime.call(
        "exec", "--user", "1000", "c1", "cat", "/proc/self/status"
    )
    pid_file = tmp_path / "pid"
    detached = ("exec", "--detach", "--pid-file", str(pid_file), "c1", "sleep", "99")
    subprocess.run(
        [PROGRAM, "--root", str(runtime.root), *detached],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    assert int(pid_file.read_text()) in json.loads(runtime.call("ps", "--format", "json", "c1"))
    assert "sleep 99" in runtime.call("ps", "c1")


def test_hooks_in_their_order_with_the_state(runtime: Runtime, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", ""], "env": ["ONLY=this"]}

    def make(phase: str, target: str) -> list[dict[str, object]]:
        script = f'echo {phase} "$(env | grep -c ^ONLY)" "$(cat)" >> {target}'
        return [{**hook, "args": ["sh", "-c", script]}]

    phases = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    runtime.spec["hooks"] = {phase: make(phase, str(trace)) for phase in phases}
    runtime.spec["hooks"]["startContainer"] = make("startContainer", "/tmp/trace")
    code, lines = runtime.run("cat /tmp/trace; rm /tmp/trace; sleep 0.2")
    assert code == 0
    assert lines[0].startswith("startContainer 1 ")
    told = [line.split(" ", 2) for line in trace.read_text().splitlines()]
    assert [name for name, _, _ in told] == phases
    states = {name: json.loads(state) for name, _, state in told}
    assert {state["id"] for state in states.values()} == {"c1"}
    assert states["createRuntime"]["status"] == "creating"
    assert states["poststart"]["status"] == "running"
    assert states["poststart"]["pid"] > 1
    assert states["poststop"]["status"] == "stopped"


@pytest.mark.parametrize("phase", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_the_creation(runtime: Runtime, phase: str) -> None:
    args = ["sh", "-c", "echo I cannot; exit 3"]
    runtime.spec["hooks"] = {phase: [{"path": "/bin/sh", "args": args}]}
    code, lines = runtime.run("echo ran")
    assert code == 1
    assert f"error running {phase} hook #0 (/bin/sh): exit status 3, output: I cannot" in lines[0]
    assert runtime.call("list", "-q") == ""


def test_a_hook_has_its_time(runtime: Runtime) -> None:
    hook = {"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}
    runtime.spec["hooks"] = {"prestart": [hook]}
    begin = time.monotonic()
    code, lines = runtime.run("true")
    assert code == 1
    assert "more than 1 s" in lines[0]
    assert time.monotonic() - begin < 30


def test_a_user_namespace(runtime: Runtime) -> None:
    runtime.add_user_namespace()
    script = "id -u; cat /proc/self/uid_map; test -w /dev/null && echo null; echo $$"
    code, lines = runtime.run(
        f"{script}; ls -ln /proc/1/status | cut -d' ' -f9; mount -t tmpfs x /tmp"
    )
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "100000", "65536"]
    assert lines[2:4] == ["null", "1"]
    assert code != 0, "CAP_SYS_ADMIN was not given"


def test_exec_in_a_user_namespace(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add_user_namespace()
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    assert runtime.call("exec", "c1", "cat", "/proc/self/uid_map").split()[1] == "100000"
    pid = json.loads(runtime.call("state", "c1"))["pid"]
    assert os.stat(f"/proc/{pid}").st_uid == 100000


@pytest.mark.parametrize("mapped", [False, True])
def test_clocks_of_its_own(runtime: Runtime, mapped: bool) -> None:
    if mapped:
        runtime.add_user_namespace()
    runtime.spec["linux"]["namespaces"].append({"type": "time"})
    runtime.spec["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
    host = int(float(Path("/proc/uptime").read_text().split()[0]))
    _, lines = runtime.run(CLOCK)
    assert 9_999_990 < int(lines[0]) - host < 10_000_300


def test_a_bind_shows_other_owners(runtime: Runtime, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").touch()
    os.chown(shared / "file", 1000, 1000)
    mapping = [{"containerID": 1000, "hostID": 2000, "size": 1}]
    runtime.spec["mounts"].append(
        {
            "destination": "/shared",
            "source": str(shared),
            "options": ["rbind", "idmap"],
            "uidMappings": mapping,
            "gidMappings": mapping,
        }
    )
    _, lines = runtime.run("stat -c %u:%g /shared/file")
    assert lines == ["2000:2000"]


def test_joined_and_inherited_namespaces(runtime: Runtime) -> None:
    linux = runtime.spec["linux"]
    holder = subprocess.Popen(["unshare", "--net", "--uts", "--ipc", "sleep", "100"])
    try:
        wait_until(
            lambda: (
                os.stat(f"/proc/{holder.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
            ),
            "unshare has done it",
        )
        ours = {kind: f"/proc/{holder.pid}/ns/{name}" for kind, name in
                (("network", "net"), ("uts", "uts"), ("ipc", "ipc"))}  # fmt: skip
        for namespace in linux["namespaces"]:
            namespace.update({"path": ours[namespace["type"]]} if namespace["type"] in ours else {})
        runtime.spec["hostname"] = ""
        expected = [os.readlink(path) for path in ours.values()]
        _, lines = runtime.run("for n in net uts ipc; do readlink /proc/self/ns/$n; done")
        assert lines == expected
    finally:
        holder.kill()
        holder.wait()


def test_a_namespace_of_another_kind_is_refused(runtime: Runtime) -> None:
    for namespace in runtime.spec["linux"]["namespaces"]:
        if namespace["type"] == "uts":
            namespace["path"] = "/proc/self/ns/net"
    code, lines = runtime.run("true")
    assert code == 1
    assert "is no uts namespace" in lines[0]


def test_without_a_mount_namespace_nobody_sees_its_mounts(runtime: Runtime) -> None:
    linux = runtime.spec["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "mount"]
    linux["maskedPaths"] = []
    linux["readonlyPaths"] = []
    before = Path("/proc/self/mountinfo").read_text()
    code, lines = runtime.run("readlink /proc/self/ns/mnt; ls /dev/null; ls / | grep -c bin")
    assert Path("/proc/self/mountinfo").read_text() == before
    if is_refused_without_own_mounts(code, lines):
        return
    assert code == 0, lines
    assert lines[0] == os.readlink("/proc/self/ns/mnt")


def test_scheduling_priorities_and_domain(runtime: Runtime) -> None:
    process = runtime.spec["process"]
    process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    runtime.spec["linux"]["personality"] = {"domain": "LINUX32"}
    _, lines = runtime.run("uname -m; cut -d' ' -f19,41 /proc/self/stat; ionice -p 1")
    assert lines[0] in {"i686", "armv8l"}
    assert lines[1] == "5 3"
    assert lines[2].startswith("idle")


def test_a_terminal_goes_to_the_console_socket(runtime: Runtime, tmp_path: Path) -> None:
    runtime.spec["process"]["terminal"] = True
    runtime.spec["process"]["consoleSize"] = {"height": 33, "width": 77}
    runtime.write("tty; stty size")
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        bundle = ("--bundle", str(runtime.bundle))
        assert "console socket" in runtime.try_call("create", *bundle, "c1")[1]
        runtime.call("create", *bundle, "--console-socket", path, "c1")
        connection, _ = listener.accept()
        name, fds, _, _ = socket.recv_fds(connection, 100, 1)
    assert name == b"/dev/ptmx"
    runtime.call("start", "c1")
    said = b""
    while b"77" not in said:
        said += os.read(fds[0], 1000)
    os.close(fds[0])
    assert said.replace(b"\r", b"") == b"/dev/pts/0\n33 77\n"


def test_signals_go_through_a_foreground_run(runtime: Runtime) -> None:
    runtime.write("trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    process = runtime.start("run", "--bundle", str(runtime.bundle), "c1")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "caught\n"
    assert process.wait(20) == 9
    process.stdout.close()


def test_descriptors_are_preserved_where_asked(runtime: Runtime, tmp_path: Path) -> None:
    runtime.write("echo through >&3; ls /proc/self/fd | wc -l")
    target = tmp_path / "target"
    command = [PROGRAM, "--root", str(runtime.root), "run", "--preserve-fds", "1"]
    with target.open("w") as file:
        subprocess.run(
            [*command, "--bundle", str(runtime.bundle), "c1"],
            check=True,
            preexec_fn=lambda: os.dup2(file.fileno(), 3),
            pass_fds=(3,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    assert target.read_text() == "through\n"


@pytest.mark.parametrize("privileges", [False, True])
def test_a_seccomp_listener(runtime: Runtime, tmp_path: Path, privileges: bool) -> None:
    runtime.spec["process"]["noNewPrivileges"] = not privileges
    path = str(tmp_path / "notify")
    runtime.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "for the test",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        runtime.create("exec sleep 100", tmp_path / "log")
        connection, _ = listener.accept()
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(8))
        connection.close()
    fds = array.array("i", ancillary[0][2])
    told = json.loads(data)
    assert told["fds"] == ["seccompFd"]
    assert told["metadata"] == "for the test"
    assert told["state"]["id"] == "c1"
    assert told["pid"] == json.loads(runtime.call("state", "c1"))["pid"]
    assert "seccomp notify" in os.readlink(f"/proc/self/fd/{fds[0]}")
    os.close(fds[0])


def test_the_interpreter_is_a_sealed_copy(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("true", tmp_path / "log")
    pid = json.loads(runtime.call("state", "c1"))["pid"]
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:barque")


def test_limits_are_changed(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("update", "--pids-limit", "17", "--memory", "64m", "c1")
    files = (
        "pids*/pids.max /sys/fs/cgroup/memory*/memory.limit_in_bytes"
        if cgroup_version() == 1
        else "pids.max /sys/fs/cgroup/memory.max"
    )
    script = f"cat /sys/fs/cgroup/{files}"
    runtime.call("start", "c1")
    assert runtime.call("exec", "c1", "sh", "-c", script).split() == ["17", str(64 << 20)]


def test_capabilities_that_cannot_be_had_are_told(runtime: Runtime, tmp_path: Path) -> None:
    """As the specification demands; where engines look, if they name a file."""
    told = "ignoring unknown or unavailable capabilities: CAP_NONESUCH"
    runtime.spec["process"]["capabilities"]["bounding"].append("CAP_NONESUCH")
    code, lines = runtime.run("echo ran")
    assert code == 0
    assert set(lines) == {"ran", f"barque-runtime: {told}"}
    log, output = tmp_path / "log.json", tmp_path / "output"
    runtime.write("exec sleep 100")
    bundle = ("--bundle", str(runtime.bundle))
    flags = ("--log", str(log), "--log-format", "json")
    with output.open("w") as file:
        runtime.start(*flags, "run", "--detach", *bundle, "c1", into=file).wait(60)
    assert output.read_text() == ""
    said = json.loads(log.read_text())
    assert (said["level"], said["msg"]) == ("warning", told)


def test_a_group_is_below_the_hierarchies_roots(runtime: Runtime, tmp_path: Path) -> None:
    outside = Path(f"/barque-test-{tmp_path.name}")
    runtime.linux["cgroupsPath"] = f"/../../../..{outside}"
    code, lines = runtime.run("echo ran")
    assert (code, lines) == (0, ["ran"])
    assert not outside.exists()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_bind_of_another_kind_than_what_it_covers(runtime: Runtime, kind: str) -> None:
    source, destination = {"file": ("/etc/passwd", "/tmp"), "directory": ("/tmp", "/etc/passwd")}[
        kind
    ]
    runtime.spec["mounts"].append(
        {"destination": destination, "source": source, "options": ["bind"]}
    )
    code, lines = runtime.run("true")
    assert code == 1
    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in lines[0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--memory", "much"), "'much' is not a size such as 64m"),
        (("--l3-cache-schema", "L3:0=f"), "create it with intelRdt"),
        (("--mem-bw-schema", "L3:0=f"), "does not begin with MB:"),
    ],
)
def test_limits_that_cannot_be(
    runtime: Runtime, tmp_path: Path, flags: tuple[str, str], said: str
) -> None:
    runtime.create("exec sleep 100", tmp_path / "log")
    code, text = runtime.try_call("update", *flags, "c1")
    assert code == 1
    assert said in text


def test_processors_of_an_exec(runtime: Runtime, tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    affinity = {"initial": str(cpus[0]), "final": str(cpus[-1])}
    runtime.spec["process"]["execCPUAffinity"] = affinity
    runtime.create("exec sleep 100", tmp_path / "log")
    runtime.call("start", "c1")
    said = runtime.call("exec", "c1", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert said.split() == ["Cpus_allowed_list:", str(cpus[-1])]
    (runtime.bundle / "process.json").write_text(
        json.dumps(
            {"cwd": "/", "args": ["true"], "execCPUAffinity": {"initial": "8000"}, "user": {}}
        )
    )
    code, text = runtime.try_call("exec", "--process", str(runtime.bundle / "process.json"), "c1")
    assert code == 255
    assert "execCPUAffinity initial: none of these processors" in text


@pytest.mark.parametrize("words", [("checkpoint", "c1"), ("restore", "--image-path", "/x", "c1"),
                                   ("checkpoint", "--help")])  # fmt: skip
def test_what_is_missing_says_so(runtime: Runtime, words: tuple[str, ...]) -> None:
    """Podman asks for ``checkpoint --help``, and takes success for an answer."""
    code, text = runtime.try_call(*words)
    assert code == 1
    assert f"{words[0]} failed: containers are not saved to disk" in text


def test_errors_are_logged_where_engines_look(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    code, _ = runtime.try_call("--log", str(log), "--log-format", "json", "start", "nobody")
    assert code == 1
    told = json.loads(log.read_text())
    assert told["level"] == "error"
    assert "container does not exist" in told["msg"]


def test_features(runtime: Runtime) -> None:
    told = json.loads(runtime.call("features"))
    assert "createContainer" in told["hooks"]
    assert {"rro", "idmap", "rprivate"} <= set(told["mountOptions"])
    assert "user" in told["linux"]["namespaces"]
    assert "SCMP_ACT_NOTIFY" in told["linux"]["seccomp"]["actions"]
    assert {"SCMP_ARCH_X86", "SCMP_ARCH_X86_64"} <= set(told["linux"]["seccomp"]["archs"])
    assert told["linux"]["selinux"] == told["linux"]["apparmor"] == {"enabled": True}
    assert told["linux"]["netDevices"] == {"enabled": True}
    assert told["linux"]["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
