"""Other engines that run their containers by barque-runtime: podman, containerd's ctr, dockerd.

Each does with it what it does with runc: run, exec, kill, rm. What is not installed is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bundle import PROGRAM
from support.engine import Engine, dockerd_is_here, open_dockerd
from support.scale import patient
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="runs containers: needs root")

Client = Callable[..., "subprocess.CompletedProcess[str]"]


def make_client(*command: str) -> Client:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )

    return run


def need(*programs: str) -> None:
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Client]:
    need("podman")
    root = tmp_path_factory.mktemp("podman")
    client = make_client(
        *("podman", "--root", str(root / "storage"), "--runroot", str(root / "run")),
        *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        *("--runtime", PROGRAM),
    )
    imported = client("import", str(busybox_tar), "busybox")
    assert imported.returncode == 0, imported.stderr
    yield client
    client("rm", "--all", "--force", "--time", "0")
    client("rmi", "--all", "--force")


LIMITS = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""Podman's own are more than a machine without CAP_SYS_RESOURCE may give."""


def test_podman(podman: Client) -> None:
    ran = podman("run", "--rm", *LIMITS, "busybox", "sh", "-c", "echo $$; exit 7")
    assert (ran.returncode, ran.stdout) == (7, "1\n"), ran.stderr
    begun = podman("run", "-d", "--name", "c1", *LIMITS, "busybox", "sleep", "600")
    assert begun.returncode == 0, begun.stderr
    execed = podman("exec", "-e", "A=b", "c1", "sh", "-c", "echo $A; exit 3")
    assert (execed.returncode, execed.stdout) == (3, "b\n"), execed.stderr
    shown = podman("inspect", "--format", "{{.OCIRuntime}} {{.State.Status}}", "c1")
    assert shown.stdout.split() == [PROGRAM, "running"]
    for verb, status in (("pause", "paused"), ("unpause", "running")):
        assert podman(verb, "c1").returncode == 0
        assert podman("inspect", "--format", "{{.State.Status}}", "c1").stdout.strip() == status
    assert podman("kill", "c1").returncode == 0
    assert podman("wait", "c1").stdout == "137\n"
    assert podman("rm", "c1").returncode == 0
    assert podman("ps", "-aq").stdout == ""


def test_podman_in_a_user_namespace(podman: Client) -> None:
    ids = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    ran = podman("run", "--rm", *LIMITS, *ids, "busybox", "cat", "/proc/self/uid_map")
    if "cannot unmount /sys" in ran.stderr:
        pytest.skip(f"podman needs a /sys that covers no other one: {ran.stderr.strip()}")
    assert ran.stdout.split() == ["0", "100000", "65536"], ran.stderr


def test_podman_does_not_take_it_for_able_to_save_containers(podman: Client) -> None:
    assert podman("run", "-d", "--name", "kept", *LIMITS, "busybox", "sleep", "600").returncode == 0
    saved = podman("container", "checkpoint", "kept")
    assert saved.returncode
    assert podman("exec", "kept", "echo", "runs on").stdout == "runs on\n"
    assert podman("rm", "--force", "--time", "0", "kept").returncode == 0


@pytest.fixture
def ctr(barqued: Engine, tmp_path: Path) -> Iterator[Client]:
    """containerd with the image ``busybox:latest``."""
    need("containerd", "ctr")
    socket = tmp_path / "socket"
    config = tmp_path / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{tmp_path}/ttrpc"\n'
    )
    with (tmp_path / "log").open("w") as log:
        daemon = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
    try:
        client = make_client("ctr", "--address", str(socket))
        wait_until(lambda: client("version").returncode == 0, "containerd answers")
        barqued.docker("save", "-o", f"{tmp_path}/image.tar", "busybox")
        plain = ("--snapshotter", "native")
        imported = client("image", "import", *plain, f"{tmp_path}/image.tar")
        assert imported.returncode == 0, imported.stderr
        yield client
    finally:
        daemon.terminate()
        daemon.wait(patient(20))


def test_ctr(ctr: Client) -> None:
    image = "docker.io/library/busybox:latest"
    run = ("run", "--snapshotter", "native", "--runc-binary", PROGRAM)
    ran = ctr(*run, "--rm", image, "c1", "sh", "-c", "echo $$; exit 7")
    assert (ran.returncode, ran.stdout) == (7, "1\n"), ran.stderr
    begun = ctr(*run, "--detach", image, "c2", "sleep", "600")
    assert begun.returncode == 0, begun.stderr
    execed = ctr("task", "exec", "--exec-id", "e1", "c2", "sh", "-c", "echo there; exit 3")
    assert (execed.returncode, execed.stdout) == (3, "there\n"), execed.stderr
    assert ctr("task", "kill", "--signal", "KILL", "c2").returncode == 0
    wait_until(lambda: "STOPPED" in ctr("task", "ls").stdout, "it has ended")
    assert ctr("task", "rm", "c2").returncode in {0, 137}
    assert ctr("container", "rm", "c2").returncode == 0
    assert ctr("container", "ls", "-q").stdout == ""


@pytest.fixture(scope="module")
def dockerd_on_barque(may_run_engines: None, busybox_tar: Path) -> Iterator[Engine]:
    if not dockerd_is_here():
        pytest.skip("needs dockerd: install docker.io")
    runtime = ("--add-runtime", f"barque={PROGRAM}", "--default-runtime", "barque")
    with open_dockerd(*runtime) as engine:
        engine.docker("import", str(busybox_tar), "busybox")
        yield engine


def test_dockerd(dockerd_on_barque: Engine) -> None:
    engine = dockerd_on_barque
    ran = engine.cli("run", "--rm", "busybox", "sh", "-c", "echo $$; exit 7")
    assert (ran.returncode, ran.stdout) == (7, "1\n"), ran.stderr
    engine.docker("run", "-d", "--name", "c1", "busybox", "sleep", "600")
    assert engine.docker("inspect", "-f", "{{.HostConfig.Runtime}}", "c1") == "barque"
    execed = engine.cli("exec", "c1", "sh", "-c", "echo there; exit 3")
    assert (execed.returncode, execed.stdout) == (3, "there\n"), execed.stderr
    assert engine.cli("exec", "c1", "nonesuch").returncode in {126, 127}
    engine.docker("pause", "c1")
    engine.docker("unpause", "c1")
    engine.docker("update", "-m", "64m", "--memory-swap", "64m", "c1")
    shown = engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "c1")
    assert shown.endswith("/ 64MiB")
    engine.docker("kill", "c1")
    assert engine.docker("wait", "c1") == "137"
    engine.docker("rm", "c1")
    assert engine.cli("run", "--rm", "busybox", "nonesuch").returncode == 127
