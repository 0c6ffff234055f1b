"""barque-runtime: namespaces that are joined, mounts inside them, signals to all."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from barque.kernel import mount as km
from support.bundle import Runtime
from support.namespaces import holder, is_refused_without_own_mounts, release
from support.waiting import wait_until


def test_a_joined_mount_namespace_hides_nothing_of_the_host(
    runtime: Runtime, tmp_path: Path
) -> None:
    """In which the container's root, its binds and its clocks cannot be found."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("of the host\n")
    runtime.spec["mounts"].append(
        {"destination": "/shared", "source": str(shared), "options": ["bind"]}
    )
    runtime.linux["maskedPaths"] = runtime.linux["readonlyPaths"] = []
    runtime.linux["namespaces"].append({"type": "time"})
    runtime.linux["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
    hide = (
        f"mount -t tmpfs x {runtime.rootfs.parent.parent}; "
        "while umount -l /proc 2>/dev/null; do :; done; exec sleep 100"
    )
    with holder("unshare", "--mount", "sh", "-c", hide, kind="mnt") as path:
        runtime.join("mount", path)
        mounts = Path(f"{os.path.dirname(os.path.dirname(path))}/mountinfo")
        wait_until(lambda: " /proc " not in mounts.read_text(), "it is hidden")
        before = mounts.read_text()
        script = "cat /shared/file; readlink /proc/self/ns/mnt; cut -d. -f1 /proc/uptime"
        code, lines = runtime.run(script)
        if is_refused_without_own_mounts(code, lines):
            return
        assert (code, lines[:2]) == (0, ["of the host", os.readlink(path)])
        assert int(lines[2]) > 10_000_000
        assert mounts.read_text() == before


@pytest.mark.parametrize(
    ("kind", "name", "sysctl"),
    [
        ("network", "net", "net.ipv4.ip_default_ttl"),
        ("ipc", "ipc", "kernel.msgmax"),
        ("uts", "uts", "kernel.domainname"),
    ],
)
def test_sysctls_of_the_host_by_a_join(runtime: Runtime, kind: str, name: str, sysctl: str) -> None:
    file = Path("/proc/sys", *sysctl.split("."))
    before = file.read_text()
    runtime.spec["hostname"] = ""
    runtime.linux["sysctl"] = {sysctl: "77"}
    runtime.join(kind, f"/proc/{os.getpid()}/ns/{name}")
    code, lines = runtime.run("true")
    assert code == 1
    assert f'sysctl "{sysctl}" is not in a separate kernel namespace' in lines[0]
    assert file.read_text() == before
    with holder("unshare", f"--{name}", "sleep", "100", kind=name) as path:
        runtime.join(kind, path)
        assert runtime.run(f"cat {file}") == (0, ["77"])


@pytest.mark.parametrize("everybody", [False, True])
def test_signals_in_a_joined_pid_namespace(
    runtime: Runtime, tmp_path: Path, everybody: bool
) -> None:
    """Its first process is none of ours, and takes nobody along."""
    command = ("unshare", "--pid", "--fork", "--kill-child", "sleep", "100")
    with holder(*command, kind="pid_for_children") as path:
        runtime.join("pid", path)
        log = tmp_path / "log"
        runtime.create("sleep 100 & echo both; exec sleep 100", log)
        runtime.call("start", "c1")
        wait_until(lambda: len(runtime.processes()) == 2, "both are there")
        runtime.call("kill", *(("--all", "c1", "TERM") if everybody else ("c1", "KILL")))
        wait_until(lambda: runtime.processes() == [], "both have ended")
        runtime.call("delete", "c1")


def test_a_signal_to_all_leaves_others_alone(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo first' USR1; sh -c \"trap 'echo second; exit' USR1; while :; do sleep 0.05; done\" &"
    runtime.create(f"{script} echo ready; while :; do sleep 0.05; done", log)
    runtime.call("start", "c1")
    wait_until(lambda: "ready" in log.read_text(), "it runs")
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    try:
        wait_until(lambda: len(runtime.processes()) >= 2, "both are there")
        runtime.try_call("exec", "c1", "sleep", "0.2")  # both have set their traps
        runtime.call("kill", "--all", "c1", "USR1")
        wait_until(lambda: {"first", "second"} <= set(log.read_text().split()), "both have it")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught == []


@pytest.mark.parametrize("propagation", ["rprivate", "shared"])
def test_an_id_mapped_bind_keeps_its_mapping(
    runtime: Runtime, tmp_path: Path, propagation: str
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").touch()
    os.chown(shared / "file", 1000, 1000)
    mapping = [{"containerID": 1000, "hostID": 2000, "size": 1}]
    bind = {"destination": "/shared", "source": str(shared)}
    mapped = {"uidMappings": mapping, "gidMappings": mapping}
    runtime.spec["mounts"] += [
        {**bind, "options": ["bind", "idmap", propagation], **mapped},
        {**bind, "options": ["bind", propagation]},
        {**bind, "options": ["bind", "idmap", propagation], **mapped},
    ]
    script = "stat -c %u /shared/file; umount /shared; stat -c %u /shared/file"
    for kind in ("bounding", "effective", "permitted"):
        runtime.spec["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    assert runtime.run(script) == (0, ["2000", "1000"])


@pytest.mark.parametrize(
    ("words", "owners"),
    [
        (["bind", "idmap"], ["2000"]),
        (["bind", "ridmap"], ["2000"]),
        (["rbind", "idmap"], ["2000", "1000"]),
        (["rbind", "ridmap"], ["2000", "2000"]),
    ],
)
def test_how_far_a_mapping_reaches(
    runtime: Runtime, tmp_path: Path, words: list[str], owners: list[str]
) -> None:
    """The bind says which mounts come along, the mapping which of them are mapped."""
    below = tmp_path / "shared/below"
    below.mkdir(parents=True)
    km.mount("inner", str(below), "tmpfs", 0, "")
    try:
        for directory in (below, below.parent):
            (directory / "file").touch()
            os.chown(directory / "file", 1000, 1000)
        mapping = [{"containerID": 1000, "hostID": 2000, "size": 1}]
        runtime.spec["mounts"].append(
            {
                "destination": "/shared",
                "source": str(below.parent),
                "options": words,
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        )
        script = (
            "stat -c %u /shared/file; test ! -e /shared/below/file || stat -c %u /shared/below/file"
        )
        code, lines = runtime.run(script)
        if words == ["rbind", "ridmap"] and release() < (6, 3):
            assert code == 1
            assert "userns=host" in lines[0], "tmpfs is not mapped there, and that is said"
        else:
            assert (code, lines) == (0, owners)
    finally:
        km.umount(str(below), km.MNT_DETACH)


def test_a_destination_may_be_relative_to_the_root(runtime: Runtime) -> None:
    runtime.spec["mounts"].append(
        {"destination": "some/where", "type": "tmpfs", "options": ["iversion"]}
    )
    assert runtime.run("grep -c ' /some/where ' /proc/self/mountinfo") == (0, ["1"])


def test_a_mount_that_a_link_leads_into_proc(runtime: Runtime) -> None:
    link = runtime.rootfs / "into"
    for target, bad in (("/proc/sys", True), ("/proc/self", True), ("/tmp", False)):
        link.symlink_to(target)
        try:
            runtime.spec["mounts"] = runtime.spec["mounts"][:7]
            runtime.spec["mounts"].append({"destination": "/into", "type": "tmpfs"})
            code, lines = runtime.run("true")
        finally:
            link.unlink()
        assert (code, "is inside /proc" in "".join(lines)) == (int(bad), bad), lines


@pytest.mark.parametrize(
    "destination", ["/proc/sys", "//proc/sys", "/sys/../proc/sys", "/proc/./fs/"]
)
def test_a_mount_inside_proc_however_it_is_written(runtime: Runtime, destination: str) -> None:
    runtime.spec["mounts"].append({"destination": destination, "type": "tmpfs"})
    code, lines = runtime.run("true")
    assert code == 1
    assert "is inside /proc" in lines[0]


def test_a_file_of_proc_may_be_replaced(runtime: Runtime, tmp_path: Path) -> None:
    mine = tmp_path / "meminfo"
    mine.write_text("MemTotal: 1 kB\n")
    runtime.spec["mounts"].append(
        {"destination": "/proc/meminfo", "source": str(mine), "options": ["bind"]}
    )
    assert runtime.run("cat /proc/meminfo") == (0, ["MemTotal: 1 kB"])


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "cgroup"])
def test_recursive_words_hold_for_every_kind_of_mount(
    runtime: Runtime, tmp_path: Path, kind: str
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mount = {
        "tmpfs": {"type": "tmpfs", "options": ["rro", "rnoexec"]},
        "bind": {"source": str(shared), "options": ["bind", "rro", "rnoexec"]},
        "cgroup": {"type": "cgroup", "options": ["rro", "rnoexec"]},
    }[kind]
    runtime.spec["mounts"].append({"destination": "/mnt", **mount})
    _, lines = runtime.run("grep ' /mnt ' /proc/self/mountinfo; mkdir /mnt/x 2>&1")
    options = lines[0].split()[5].split(",")
    assert {"ro", "noexec"} <= set(options)
    assert "Read-only file system" in lines[-1]
