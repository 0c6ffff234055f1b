"""Clients and images that ask the engine for what would lead out of it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import sentinels
from support.engine import Engine, open_barqued
from support.images import make_config, make_docker_archive
from support.secret import SECRET, secret_environment
from support.waiting import wait_until
from support.weakenings import engine_program
from support.wire import call

NOBODY = 65534
FORGED = "2026-01-01 00:00:00,000 CRITICAL barque.engine: forged"
BAD_NAMES = [
    "../outside", "a/../../outside", "a/b", "..", ".hidden", "-flag", "name\nline", "name\r",
    "\x1b[2Jname", "name\0tail", "na me", "näme", "", "a" * 10 + "/",
]  # fmt: skip


def volume_names() -> list[str]:
    return [name for name in BAD_NAMES if name]


@pytest.fixture(scope="module")
def weak(busybox_tar: Path) -> Iterator[Engine]:
    """An engine that takes any name, lets any sysctl pass, logs what it is told, and passes its
    environment on.
    """
    program = engine_program(
        "any name will do",
        "any sysctl passes",
        "messages are logged as they come",
        "the environment is kept",
    )
    with secret_environment(), open_barqued(prefix="weak-", program=program) as engine:
        engine.docker("import", str(busybox_tar), "busybox")
        yield engine


def quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


@pytest.mark.parametrize("name", volume_names(), ids=ascii)
def test_containers_have_no_such_names(engine: Engine, name: str) -> None:
    body = {"Image": "busybox", "Cmd": ["true"]}
    status, said = call(engine.socket, "POST", f"/containers/create?name={quoted(name)}", body)
    assert status == 400, said


@pytest.mark.parametrize("name", volume_names(), ids=ascii)
def test_volumes_have_no_such_names(engine: Engine, name: str) -> None:
    status, said = call(engine.socket, "POST", "/volumes/create", {"Name": name})
    assert status == 400, said


def climbing(engine: Engine) -> tuple[str, Path]:
    """A volume's name that climbs out of the data root, and where it would be."""
    outside = engine.root / "planted"
    return f"../../{outside.name}", outside


def test_volume_does_not_climb_out(engine: Engine) -> None:
    name, outside = climbing(engine)
    assert call(engine.socket, "POST", "/volumes/create", {"Name": name})[0] == 400
    assert not outside.exists()


def test_volume_climbs_out_where_any_name_will_do(weak: Engine) -> None:
    name, outside = climbing(weak)
    assert call(weak.socket, "POST", "/volumes/create", {"Name": name})[0] == 201
    assert (outside / "_data").is_dir()


def forge(engine: Engine) -> list[str]:
    """Have the engine log a command of several lines; the lines of its log."""
    engine.docker("run", "-d", "--name", "forger", "busybox", "sleep", "100")
    engine.cli("exec", "forger", f"nope\n{FORGED}\x1b[2J")
    engine.docker("rm", "-f", "forger")
    return engine.log.read_text().splitlines()


def test_messages_are_not_forged(engine: Engine) -> None:
    lines = forge(engine)
    assert not [line for line in lines if line.startswith(FORGED)]
    assert [line for line in lines if FORGED in line]
    assert "\x1b" not in engine.log.read_text()


def test_messages_are_forged_where_they_are_logged_as_they_come(weak: Engine) -> None:
    assert [line for line in forge(weak) if line.startswith(FORGED)]


def test_hostile_labels_come_back_as_they_are(engine: Engine) -> None:
    """They are texts and nothing more: no rule, no path, no line of a log."""
    labels = {
        "line\nfeed": f"x\n{FORGED}", "escape": "\x1b[2J", "../../up": "../..", "nul": "a\0b",
        "com.docker.compose.project": "../../x", "quote": '"; drop table containers; --',
    }  # fmt: skip
    body = {"Image": "busybox", "Cmd": ["true"], "Labels": labels}
    status, said = call(engine.socket, "POST", "/containers/create", body)
    assert status == 201, said
    _, inspected = call(engine.socket, "GET", f"/containers/{said['Id']}/json")
    assert {k: v for k, v in inspected["Config"]["Labels"].items() if k in labels} == labels
    _, listed = call(engine.socket, "GET", "/containers/json?all=1")
    assert any(labels.items() <= c["Labels"].items() for c in listed)
    assert call(engine.socket, "DELETE", f"/containers/{said['Id']}")[0] == 204
    assert FORGED not in [line[: len(FORGED)] for line in engine.log.read_text().splitlines()]


@pytest.mark.parametrize(
    "host",
    [
        {"LogConfig": {"Type": "json-file", "Config": {"path": "/tmp/x"}}},
        {"LogConfig": {"Type": "json-file", "Config": {"max-size": "10\n/../x"}}},
        {"LogConfig": {"Type": "../../json-file", "Config": {}}},
        {"NetworkMode": "../../x"},
        {"NetworkMode": "container:../../x"},
        {"PidMode": "container:/proc/1/ns/pid"},
        {"IpcMode": "/proc/1/ns/ipc"},
        {"UTSMode": "container:x"},
        {"Runtime": "/bin/sh"},
        {"SecurityOpt": ["seccomp=/etc/shadow"]},
        {"SecurityOpt": ["apparmor=../../x"]},
        {"Binds": ["../../etc:/x"]},
        {"Binds": ["vol:/x:rw,nonsense"]},
        {"Binds": ["/tmp:/x\0/../y"]},
        {"Tmpfs": {"/x": "mode=0,exec,source=/dev/vda"}},
        {"Devices": [{"PathOnHost": "/etc/shadow", "PathInContainer": "/x"}]},
        {"DeviceCgroupRules": ["b *:* rwm\na *:* rwm"]},
        {"ExtraHosts": ["x\nlocalhost:1.2.3.4"]},
        {"ExtraHosts": ["x localhost:1.2.3.4"]},
        {"Ulimits": [{"Name": "nofile\n", "Soft": 1, "Hard": 1}]},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(engine: Engine, host: dict[str, Any]) -> None:
    """At create or at start, with a reason, and with nothing left."""
    before = sentinels.look(Path("/etc/passwd"))
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    status, said = call(engine.socket, "POST", "/containers/create", body)
    if status == 201:
        id_ = said["Id"]
        status, said = call(engine.socket, "POST", f"/containers/{id_}/start")
        assert call(engine.socket, "DELETE", f"/containers/{id_}?force=1")[0] == 204
    assert 400 <= status < 502, said
    assert said["message"]
    assert sentinels.look(Path("/etc/passwd")).changed(before) == []


def test_no_file_is_written_for_the_client(engine: Engine, tmp_path: Path) -> None:
    """ContainerIDFile is the command line's; an engine that wrote it would write anywhere."""
    target = tmp_path / "id"
    host = {"ContainerIDFile": str(target)}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    status, said = call(engine.socket, "POST", "/containers/create", body)
    assert status == 201, said
    call(engine.socket, "POST", f"/containers/{said['Id']}/start")
    call(engine.socket, "DELETE", f"/containers/{said['Id']}?force=1")
    assert not target.exists()


SYSCTLS = [
    "kernel.core_pattern", "kernel.modprobe", "vm.swappiness", "fs.protected_symlinks",
    "kernel/core_pattern", "net/../kernel/core_pattern", "net.../kernel/core_pattern",
    "net.ipv4/../../kernel/core_pattern", "net.//.vm.swappiness", "fs.mqueue/../file-max",
    "kernel.shmmax/../core_pattern", "kernel.hostname", "net.ipv4.ip_forward\nkernel.sysrq",
    "", "net.", ".", "/proc/sys/vm/swappiness", "NET.ipv4.ip_forward",
]  # fmt: skip


@pytest.mark.parametrize("name", SYSCTLS, ids=ascii)
def test_sysctls_of_the_host_are_not_set(engine: Engine, name: str) -> None:
    before = sentinels.look()
    host = {"Sysctls": {name: "1"}, "NetworkMode": "none"}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    status, said = call(engine.socket, "POST", "/containers/create", body)
    if status == 201:
        id_ = said["Id"]
        status, said = call(engine.socket, "POST", f"/containers/{id_}/start")
        call(engine.socket, "DELETE", f"/containers/{id_}?force=1")
    assert status in {400, 500}, said
    assert sentinels.look().changed(before) == []


def test_sysctl_of_the_host_is_set_where_any_passes(weak: Engine) -> None:
    """To what it is."""
    value = Path("/proc/sys/vm/swappiness").read_text().strip()
    host = {"Sysctls": {"vm.swappiness": value}, "NetworkMode": "none"}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    status, said = call(weak.socket, "POST", "/containers/create", body)
    assert status == 201, said
    assert call(weak.socket, "POST", f"/containers/{said['Id']}/start")[0] == 204


@pytest.mark.parametrize("network", [["--network", "host"]])
def test_sysctls_of_a_shared_network_are_not_set(engine: Engine, network: list[str]) -> None:
    done = engine.cli(
        "run", "--rm", *network, "--sysctl", "net.ipv4.ip_forward=1", "busybox", "true"
    )
    assert done.returncode == 125
    assert "not allowed in host network namespace" in done.stderr


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the host as a user without rights."""
    return subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True,
        check=False, cwd="/",
    )  # fmt: skip


def reachable(engine: Engine) -> str:
    """What of the engine's state a user of the host can read, write or run."""
    script = (
        "find $0/data $0/exec -mindepth 1 2>/dev/null;"
        "for s in $(find $0 -type s 2>/dev/null); do [ -w $s ] && echo $s; done;"
        "p=$(find $0/data -name busybox-suid -perm -4000 2>/dev/null | head -n 1);"
        '[ "$p" ] && $p true && echo ran'
    )
    return as_nobody("sh", "-c", script, str(engine.root)).stdout


SUID = "cp /bin/busybox /busybox-suid; chmod 4755 /busybox-suid; echo done; sleep 100"


@pytest.fixture
def with_suid(engine: Engine) -> Iterator[Engine]:
    """A container with a set-user-ID program, and an engine whose directory all may enter."""
    engine.root.chmod(0o755)
    engine.docker("run", "-d", "--name", "suid", "-v", "suid:/v", "busybox", "sh", "-c", SUID)
    wait_until(lambda: "done" in engine.docker("logs", "suid"), "the program is there")
    yield engine
    engine.docker("rm", "-f", "-v", "suid")
    engine.docker("volume", "rm", "suid")
    engine.root.chmod(0o700)


def test_state_is_not_for_users_of_the_host(with_suid: Engine) -> None:
    """CVE-2021-41091: a container's set-user-ID program is run from the layer by a local user."""
    assert reachable(with_suid) == ""


def test_state_that_is_opened_serves_users_of_the_host(with_suid: Engine) -> None:
    """The same with the modes that /var/lib/docker had."""
    opened = [with_suid.data_root]
    opened += [path for path in with_suid.data_root.rglob("*") if path.is_dir()]
    modes = {path: path.stat().st_mode for path in opened}
    try:
        for path in opened:
            path.chmod(0o755)
        assert reachable(with_suid).endswith("ran\n")
    finally:
        for path, mode in modes.items():
            path.chmod(mode & 0o7777)


LOOK_AROUND = """\
env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null
for p in /proc/[0-9]*; do ls $p/root$0 $p/cwd/ 2>/dev/null; done
true
"""


def sees_the_secret(engine: Engine, *flags: str) -> bool:
    """Whether a container finds the engine's environment anywhere."""
    said = engine.docker("run", "--rm", *flags, "busybox", "sh", "-c", LOOK_AROUND, "/etc")
    return SECRET in said


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--init",),
        ("--init", "--cap-add", "SYS_PTRACE"),
        ("--init", "--privileged"),
        ("--pid", "host"),
        ("-u", "nobody"),
    ],
    ids=str,
)
def test_environment_of_the_engine_stays_there(engine: Engine, flags: tuple[str, ...]) -> None:
    assert not sees_the_secret(engine, *flags)


def test_environment_that_is_kept_is_seen_in_the_first_process(weak: Engine) -> None:
    assert sees_the_secret(weak, "--init", "--cap-add", "SYS_PTRACE")


def test_environment_of_the_engine_is_seen_by_who_may_trace(engine: Engine) -> None:
    """Who is given the host's processes and the right to trace them was given the host."""
    assert sees_the_secret(engine, "--pid", "host", "--cap-add", "SYS_PTRACE")


def test_nothing_of_the_engine_is_in_what_it_tells(engine: Engine) -> None:
    id_ = engine.docker("run", "-d", "busybox", "true")
    for target in (f"/containers/{id_}/json", "/info", "/containers/json?all=1", "/images/json"):
        _, told = call(engine.socket, "GET", target)
        assert SECRET not in str(told)
    engine.docker("rm", "-f", id_)
    assert SECRET not in engine.log.read_text()


def descriptors_of_the_shim(id_: str) -> int:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            command = (process / "cmdline").read_bytes().rstrip(b"\0").decode()
            if command == f"barque-shim {id_}"[: len(command)] and id_[:12] in command:
                return len(list((process / "fd").iterdir()))
    raise AssertionError(f"no shim of {id_}")


def test_execs_that_fail_leave_nothing_in_the_shim(engine: Engine) -> None:
    id_ = engine.docker("run", "-d", "busybox", "sleep", "100")
    engine.cli("exec", id_, "nope")
    before = descriptors_of_the_shim(id_)
    for command in (["nope"], ["/etc/passwd"], ["/"], ["sh", "-c", "exit 3"]) * 3:
        assert engine.cli("exec", id_, *command).returncode in {3, 126, 127}
    assert engine.cli("exec", "-u", "nowhere", id_, "true").returncode != 0
    assert engine.cli("exec", "-w", "/nowhere", id_, "true").returncode != 0
    wait_until(lambda: descriptors_of_the_shim(id_) <= before, "the shim has closed them")
    engine.docker("rm", "-f", id_)


def test_exec_does_not_wait_for_a_passwd_that_is_a_pipe(engine: Engine) -> None:
    """Nor read a device, nor more than 4 MiB: the container has changed it under way.

    test_hostile_starts.py has a weakened build for the size; a pipe is neither opened to wait
    (O_NONBLOCK) nor read, each of which would do.
    """
    for make in ("mkfifo", "mkdir", "ln -s /dev/zero", "truncate -s 4G"):
        script = f"rm /etc/passwd; {make} /etc/passwd; echo done; sleep 100"
        id_ = engine.docker("run", "-d", "busybox", "sh", "-c", script)
        wait_until(lambda id_=id_: "done" in engine.docker("logs", id_), "it is made")  # type: ignore[misc]
        done = engine.cli("exec", id_, "true", timeout_s=10)
        assert done.returncode != 0
        assert "/etc/passwd" in done.stdout + done.stderr
        engine.docker("rm", "-f", id_)


FLOOD = "head -c 100000000 /dev/zero | tr '\\0' x"


def peak_bytes(pid: int) -> int:
    """The most memory that a process has ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_health_checks_do_not_flood_the_engine(engine: Engine) -> None:
    """100 MB from each; docker keeps 4096 bytes of it."""
    before = peak_bytes(engine.pid)
    flags = ("--health-interval", "1s", "--health-timeout", "20s", "--health-cmd", FLOOD)
    id_ = engine.docker("run", "-d", *flags, "busybox", "sleep", "100")
    form = "{{json .State.Health.Log}}"
    wait_until(lambda: "xxx" in engine.docker("inspect", "-f", form, id_), "it was checked", 60)
    said = engine.docker("inspect", "-f", form, id_)
    engine.docker("rm", "-f", id_)
    assert len(said) < 100_000
    assert peak_bytes(engine.pid) - before < 32 << 20


IMAGES = [
    "VOLUME /proc", "VOLUME /sys", "VOLUME /dev", "VOLUME /dev/shm", "VOLUME /proc/self/attr",
    "VOLUME /proc/1/root/etc", "VOLUME /proc/sys/kernel", "VOLUME /sys/fs/cgroup",
    "VOLUME /etc/../../../../outside", "WORKDIR /proc/self/fd/3", "WORKDIR /proc/self/fd/7",
    "WORKDIR /proc/self/cwd", "WORKDIR /../../..", "WORKDIR /proc/1/root", "USER -1",
    "USER 4294967295", "USER 4294967296", "USER 0:4294967295", "USER root\\nx", "USER ../../x",
    "ENV LD_PRELOAD=/evil.so", "ENV PYTHONPATH=/evil", "ENV PATH=",
]  # fmt: skip


@pytest.mark.parametrize("change", IMAGES)
def test_hostile_configurations_of_images(
    engine: Engine, busybox_tar: Path, tmp_path: Path, change: str
) -> None:
    """They run inside their container or not at all.

    Weakened builds of these are in test_hostile_starts.py: it is the runtime that stands.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    before = sentinels.look(outside)
    imported = engine.cli("import", "--change", change, str(busybox_tar), "hostile")
    if imported.returncode == 0:
        done = engine.cli(
            *("run", "--rm", "hostile", "/bin/sh", "-c"),
            "/bin/cat /proc/self/status; /bin/ls -a . ..; /bin/id",
        )
        assert done.returncode in {0, 125, 126, 127, 128}, done
        assert SECRET not in done.stdout + done.stderr
        assert str(engine.root) not in done.stdout
        engine.docker("rmi", "hostile")
    assert sentinels.look(outside).changed(before) == []
    assert not Path("/outside").exists()


LINKS = {
    "a directory outside": {"etc/hosts": "{outside}/hosts", "etc/resolv.conf": "{outside}/new"},
    "climbing": {"etc/hosts": "../../../../../../..{outside}/secret"},
    "devices": {"etc/hosts": "/dev/zero", "etc/resolv.conf": "/dev/full"},
    "procfs": {"etc/hosts": "/proc/self/mem", "etc/hostname": "/proc/sys/kernel/core_pattern"},
    "magic": {"etc/hosts": "/proc/self/cwd/x", "etc/resolv.conf": "/proc/1/root/etc/shadow"},
    "a loop": {"etc/hosts": "resolv.conf", "etc/resolv.conf": "hosts"},
    "each other": {"etc/hosts": "hostname"},
}


@pytest.mark.parametrize("links", LINKS)
def test_links_where_files_are_mounted(
    engine: Engine, busybox_tar: Path, tmp_path: Path, links: str
) -> None:
    """An image has links where barque mounts hosts, hostname and resolv.conf.

    The weakened build is "a mount behind a link" of test_hostile_starts.py.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    archive = tmp_path / "image.tar"
    shutil.copyfile(busybox_tar, archive)
    with tarfile.open(archive, "a") as tar:
        for name, target in LINKS[links].items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target.format(outside=outside)
            tar.addfile(entry)
    before = sentinels.look(outside)
    engine.docker("import", str(archive), "links")
    script = "head -c 4000 /etc/hosts; echo owned >> /etc/hosts; echo owned >> /etc/resolv.conf"
    done = engine.cli("run", "--rm", "links", "sh", "-c", script)
    engine.docker("rmi", "links")
    assert SECRET not in done.stdout
    assert sentinels.look(outside).changed(before) == []


def test_interpreter_of_the_engine_is_out_of_reach(engine: Engine) -> None:
    """With the host's processes in sight, those of barque are not opened."""
    script = "for p in /proc/[0-9]*; do (: >> $p/exe) 2>/dev/null && echo $p; done; true"
    before = sentinels.look()
    assert engine.docker("run", "--rm", "--pid", "host", "busybox", "sh", "-c", script) == ""
    assert sentinels.look().changed(before) == []


CONFIGS: dict[str, dict[str, Any]] = {
    "NUL in the environment": {"Env": ["A=x\0y"]},
    "no name in the environment": {"Env": ["=x", "A", "", "B=1"]},
    "surrogates in the environment": {"Env": ["A=\udcff"]},
    "many variables": {"Env": [f"V{n}={'x' * 1000}" for n in range(500)]},
    "a long variable": {"Env": [f"A={'x' * 200_000}"]},
    "NUL in the command": {"Cmd": ["echo", "x\0y"]},
    "an empty command": {"Cmd": [""]},
    "an empty entry point": {"Entrypoint": [""], "Cmd": None},
    "the runtime itself": {"Entrypoint": ["/proc/self/exe"]},
    "a directory to run": {"Entrypoint": ["/etc"]},
    "a relative directory": {"WorkingDir": "../../x"},
    "NUL in the directory": {"WorkingDir": "/x\0y"},
    "a line feed in the directory": {"WorkingDir": "/x\ny"},
    "a file as directory": {"WorkingDir": "/etc/passwd"},
    "a long directory": {"WorkingDir": "/" + "x" * 5000},
    "a deep directory": {"WorkingDir": "/x" * 1500},
    "NUL in the user": {"User": "root\0x"},
    "colons in the user": {"User": "0:0:0"},
    "a long user": {"User": "1" * 10_000},
    "an empty volume": {"Volumes": {"": {}}},
    "a relative volume": {"Volumes": {"x/../../y": {}}},
    "NUL in a volume": {"Volumes": {"/x\0y": {}}},
    "a volume at the root": {"Volumes": {"/": {}}},
    "a volume on a file": {"Volumes": {"/etc/passwd": {}}},
    "a volume on another": {"Volumes": {"/v": {}, "/v/w": {}, "/v/w/../w": {}}},
    "volumes on the kernel": {"Volumes": {"/proc/sys": {}, "/sys/kernel": {}, "/dev/pts": {}}},
    "many volumes": {"Volumes": {f"/v{n}": {} for n in range(50)}},
    "a port that is none": {"ExposedPorts": {"99999/tcp": {}, "x/y": {}, "": {}}},
    "a signal that is none": {"StopSignal": "SIGNOPE"},
    "a large signal": {"StopSignal": "99999999999"},
    "a health check without words": {"Healthcheck": {"Test": []}},
    "a health check of all the time": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1}},
    "a negative health check": {"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": -5}},
    "labels": {"Labels": {"a\nb": "c\0d", "com.docker.compose.project": "../x", "": ""}},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_hostile_documents_of_images(
    engine: Engine, busybox_tar: Path, tmp_path: Path, name: str
) -> None:
    """Loaded as they are: they never went through a client's checks.

    The image is refused, or the container, or it runs; the engine knows what it says no to.
    """
    layer = busybox_tar.read_bytes()
    config = make_config([layer], **{"Cmd": ["true"], **CONFIGS[name]})
    archive = tmp_path / "image.tar"
    archive.write_bytes(make_docker_archive([(["document:1"], [layer], config)]))
    before = sentinels.look(Path("/etc/hostname"))
    loaded = engine.cli("load", "-i", str(archive))
    if loaded.returncode == 0:
        status, said = call(engine.socket, "POST", "/containers/create", {"Image": "document:1"})
        if status == 201:
            id_ = said["Id"]
            status, said = call(engine.socket, "POST", f"/containers/{id_}/start")
            if status == 204:
                call(engine.socket, "POST", f"/containers/{id_}/stop?t=1")
            assert call(engine.socket, "DELETE", f"/containers/{id_}?force=1&v=1")[0] == 204
        for defect in ("internal error", "ValueError", "RecursionError", "ArgumentError"):
            assert defect not in str(said)
        assert engine.cli("rmi", "-f", "document:1").returncode == 0
    assert "internal error" not in loaded.stdout + loaded.stderr
    assert engine.docker("volume", "ls", "-q") == ""
    assert sentinels.look(Path("/etc/hostname")).changed(before) == []
