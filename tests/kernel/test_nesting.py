"""Engines, and whole operating systems, in containers. Needs root and the docker command line.

The machine's own programs are bound into busybox containers, so nothing is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import census, nesting, rootfs
from support.engine import Engine, dockerd_is_here
from support.nesting import Inner, machine_binds
from support.waiting import wait_until

HYBRID = "/sys/fs/cgroup/unified"

UNPRIVILEGED = (
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--cap-add=MKNOD",
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--security-opt=writable-cgroups=true",
)

Start = Callable[..., Inner]


@pytest.fixture(scope="module")
def archive(barqued: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "busybox.tar"
    barqued.docker("save", "-o", str(path), "busybox")
    return path


@pytest.fixture(autouse=True)
def no_leaks(barqued: Engine, archive: Path) -> Iterator[None]:
    """After every test all containers go, and nothing of them or of what was in them stays."""
    barqued.docker("run", "--rm", "busybox", "true")  # what the first one makes is no leak
    before = census.take_at_rest(barqued)
    yield
    barqued.remove_containers()
    assert census.settle(before, barqued) == []


@pytest.fixture
def start(barqued: Engine, archive: Path) -> Start:
    def started(*more: str, volume: bool = True) -> Inner:
        return nesting.start(barqued, "level1", archive, *more, volume=volume)

    return started


def _use_networks(inner: Inner) -> None:
    """Reach the engine from its default network, and one container from another by its name."""
    inner.run("sh", "-c", "mkdir -p /srv && echo outside >/srv/index.html")
    inner.run("httpd", "-p", "8099", "-h", "/srv")
    gateway = inner.run("sh", "-c", "ip -4 -o address show barque0 | awk '{print $4}'")
    address = gateway.partition("/")[0]
    get = ("wget", "-qO-")
    assert inner.docker("run", "--rm", "busybox", *get, f"http://{address}:8099/") == "outside"
    inner.docker("network", "create", "net1")
    page = "echo hello >/tmp/index.html; exec httpd -f -h /tmp"
    run = ("run", "-d", "--name", "web", "--network", "net1", "-p", "8080:80", "--stop-signal=9")
    inner.docker(*run, "busybox", "sh", "-c", page)
    fetched = inner.docker("run", "--rm", "--network", "net1", "busybox", *get, "http://web/")
    assert fetched == "hello"
    assert inner.run(*get, "http://127.0.0.1:8080/") == "hello"


def test_three_levels_each_with_networks(start: Start) -> None:
    first = start()
    second = first.nest("level2")
    third = second.nest("level3")
    for inner in (first, second, third):
        _use_networks(inner)
    # each avoids the routes that it sees: those of its own container
    assert len({second.subnet(), first.subnet()}) == 2
    assert len({third.subnet(), second.subnet()}) == 2


def test_limits_and_control_in_a_container(start: Start) -> None:
    inner = start()
    inner.docker("run", "-d", "--name", "c1", "-m", "64m", "busybox", "sleep", "1000")
    inner.docker("pause", "c1")
    inner.docker("unpause", "c1")
    inner.docker("update", "--memory", "32m", "--memory-swap", "32m", "c1")
    assert "32MiB" in inner.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "c1")
    assert "sleep 1000" in inner.docker("top", "c1")
    assert inner.docker("exec", "c1", "id", "-u") == "0"
    hungry = ("run", "--name", "c2", "-m", "16m", "busybox", "sh", "-c", "tail /dev/zero")
    inner.fails(*hungry)
    state = inner.docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "c2")
    assert state == "true 137"
    limits = ("run", "--rm", "--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -Hn")
    assert inner.docker(*limits) == "200"
    # more than the outer container may have is given as far as it goes
    inner.docker("run", "--rm", "--ulimit", "nofile=100000000:100000000", "busybox", "true")


def test_whole_copies_where_overlay_does_not_work(barqued: Engine, start: Start) -> None:
    inner = start(volume=False)
    assert inner.docker("info", "-f", "{{.Driver}}") == "vfs"
    assert inner.docker("run", "--rm", "busybox", "echo", "works") == "works"
    said = barqued.cli("logs", "level1").stderr
    assert "overlayfs does not work in /var/lib/barque" in said
    assert "docker run -v NAME:/var/lib/barque" in said


def test_overlay_on_a_volume(start: Start) -> None:
    assert start().docker("info", "-f", "{{.Driver}}") == "overlay"


def test_asked_for_overlay_says_why_not(barqued: Engine, archive: Path) -> None:
    arguments = nesting.engine_container("level1", str(archive), volume=False)
    barqued.docker(*arguments, "--storage-driver=overlay")
    assert barqued.docker("wait", "level1") == "1"
    said = barqued.cli("logs", "level1").stderr
    assert "put a volume there" in said
    assert "--storage-driver vfs" in said


def test_an_ordinary_container_is_told_what_it_lacks(barqued: Engine, archive: Path) -> None:
    barqued.docker(*nesting.engine_container("level1", str(archive), privileged=False))
    assert barqued.docker("wait", "level1") == "1"
    said = barqued.cli("logs", "level1").stderr
    assert "CAP_SYS_ADMIN" in said
    assert "--privileged" in said
    for flag in UNPRIVILEGED:
        assert flag.replace("=", " ", 1) in said


def test_the_flags_that_are_named_suffice(barqued: Engine, archive: Path) -> None:
    arguments = nesting.engine_container(
        "level1", str(archive), *UNPRIVILEGED, "busybox", privileged=False
    )
    barqued.docker(*arguments)
    inner = Inner(barqued, ("level1",))
    inner.wait()
    inner.docker("load", "-i", "/busybox.tar")
    _use_networks(inner)
    assert inner.docker("run", "--rm", "-m", "32m", "busybox", "echo", "works") == "works"
    # an inner privileged container gets what there is: not the machine's devices
    devices = inner.docker("run", "--rm", "--privileged", "busybox", "ls", "/dev")
    assert "null" in devices.split()
    assert "vda" not in devices.split()


def test_one_missing_thing_is_named_alone(barqued: Engine, archive: Path) -> None:
    flags = UNPRIVILEGED[:-1]
    arguments = nesting.engine_container(
        "level1", str(archive), *flags, "busybox", privileged=False
    )
    barqued.docker(*arguments)
    barqued.docker("wait", "level1")
    said = barqued.cli("logs", "level1").stderr
    assert "control groups that can be written to" in said
    assert said.strip().endswith("--privileged, or with --security-opt writable-cgroups=true")


def test_containers_end_in_order_with_the_container_around_them(
    barqued: Engine, start: Start
) -> None:
    inner = start()
    inner.docker("run", "-d", "--name", "once", "--init", "busybox", "sleep", "1000")
    again = ("run", "-d", "--name", "again", "--init", "--restart", "unless-stopped")
    inner.docker(*again, "busybox", "sleep", "1000")
    barqued.docker("restart", "level1")
    inner.wait()
    state = inner.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "once")
    assert state == "exited 143"
    wait_until(
        lambda: inner.docker("inspect", "-f", "{{.State.Running}}", "again") == "true",
        "the restart policy is obeyed",
    )
    barqued.docker("kill", "level1")
    barqued.docker("start", "level1")
    inner.wait()
    wait_until(
        lambda: inner.docker("inspect", "-f", "{{.State.Running}}", "again") == "true",
        "the restart policy is obeyed after a crash",
    )
    _use_networks(inner)


def test_orphans_are_reaped(barqued: Engine, start: Start) -> None:
    inner = start()
    for _ in range(5):
        inner.run("sh", "-c", "sleep 0.1 & exit 0")
    wait_until(lambda: "sleep" not in inner.run("ps", "-ef"), "the orphans have ended, are reaped")


def test_names_of_the_network_around(barqued: Engine, start: Start) -> None:
    barqued.docker("network", "create", "outside")
    try:
        serve = ("run", "-d", "--name", "web", "--network", "outside", "busybox", "httpd", "-f")
        barqued.docker(*serve)
        inner = start("--network=outside", "busybox")
        inner.docker("network", "create", "inside")
        lookup = ("run", "--rm", "--network", "inside", "busybox", "nslookup", "web")
        assert "Name:\tweb" in inner.docker(*lookup)
        own = inner.docker("run", "--rm", "busybox", "cat", "/etc/resolv.conf")
        assert "127.0.0.11" not in own
        around = inner.run("cat", "/etc/resolv.conf")
        servers = around.partition("ExtServers: [")[2].partition("]")[0]
        for server in servers.replace("host(", "").replace(")", "").split():
            assert f"nameserver {server}" in own
    finally:
        barqued.remove_containers()
        barqued.docker("network", "rm", "outside")


@pytest.mark.skipif(not dockerd_is_here(), reason="needs dockerd: install docker.io")
def test_dockerd_in_a_container(barqued: Engine, archive: Path) -> None:
    barqued.docker(
        *("run", "-d", "--name", "level1", "--privileged", *machine_binds()),
        *("-v=/etc/alternatives:/etc/alternatives:ro", "--tmpfs=/run"),
        *(f"-v={archive}:/busybox.tar:ro", "-v=/var/lib/docker"),
        *("busybox", "dockerd", "--host=unix:///run/barque.sock"),
    )
    inner = Inner(barqued, ("level1",))
    inner.wait()
    inner.docker("load", "-i", "/busybox.tar")
    assert inner.docker("info", "-f", "{{.Driver}}") == "overlay2"
    address = inner.run("sh", "-c", "ip -4 -o address show docker0 | awk '{print $4}'")
    gateway = address.partition("/")[0]
    inner.docker("run", "--rm", "busybox", "ping", "-c1", "-W5", gateway)
    serve = "echo hello >/tmp/index.html; exec httpd -f -h /tmp"
    inner.docker("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", serve)
    get = ("wget", "-qO-", "http://127.0.0.1:8080/")
    assert inner.run(*get) == "hello"
    assert inner.docker("run", "--rm", "-m", "32m", "busybox", "echo", "works") == "works"


@pytest.fixture(scope="module")
def systemd_image(barqued: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    if not rootfs.systemd_is_here():
        pytest.skip("needs systemd and busybox-static on the machine, to make an image of")
    tar = rootfs.write_systemd_tar(tmp_path_factory.mktemp("systemd") / "rootfs.tar")
    barqued.docker("import", str(tar), "systemd")
    return "systemd"


def _boot(engine: Engine, image: str, *flags: str) -> None:
    engine.docker("run", "-d", "--name", "vm", *flags, image, "/sbin/init", "--unit=basic.target")
    up = {"running", "degraded"}
    state = ("exec", "vm", "systemctl", "is-system-running")
    wait_until(lambda: engine.cli(*state).stdout.strip() in up, "systemd has started", 60)


def _stop_in_order(engine: Engine) -> None:
    """Stop the container: systemd takes its services down and is not killed."""
    engine.docker("stop", "--time", "60", "vm", timeout_s=90)
    # 130: a systemd that thinks itself on a machine of its own has switched it off
    assert engine.docker("inspect", "-f", "{{.State.ExitCode}}", "vm") in {"0", "130"}


@pytest.mark.parametrize("privileged", [False, True])
def test_systemd_as_the_first_process(
    barqued: Engine, systemd_image: str, *, privileged: bool
) -> None:
    flags = ["--privileged"] if privileged else []
    _boot(barqued, systemd_image, *flags, "--security-opt", "systemd=true")
    unit = "[Service]\nExecStart=/bin/sleep 1000\n"
    barqued.docker("exec", "vm", "sh", "-c", f"printf '{unit}' >/run/systemd/system/job.service")
    barqued.docker("exec", "vm", "systemctl", "start", "job")
    assert barqued.docker("exec", "vm", "systemctl", "is-active", "job") == "active"
    # a service has a control group of its own, and the limits stay out of reach
    job = barqued.docker("exec", "vm", "systemctl", "show", "-P", "ControlGroup", "job")
    assert job.endswith("/system.slice/job.service")
    lift = ("exec", "vm", "sh", "-c", "echo max >/sys/fs/cgroup/pids/pids.max")
    if not privileged:
        assert barqued.cli(*lift).returncode
    _stop_in_order(barqued)
    barqued.docker("start", "vm")
    state = ("exec", "vm", "systemctl", "is-system-running")
    up = {"running", "degraded"}
    wait_until(lambda: barqued.cli(*state).stdout.strip() in up, "systemd has started again", 60)
    barqued.cli("exec", "vm", "systemctl", "poweroff")
    barqued.docker("wait", "vm")


@pytest.mark.skipif(not Path(HYBRID).is_dir(), reason="needs version 2 beside version 1")
def test_systemd_makes_its_groups_of_version_2_below_the_containers_own(
    barqued: Engine, systemd_image: str
) -> None:
    """It may mount them all: what it sees of them begins with its container."""
    before = {path.name for path in Path(HYBRID).iterdir()}
    _boot(barqued, systemd_image, "--privileged", "--cgroupns", "private")
    barqued.docker("exec", "vm", "true")
    there = {path.name for path in Path(HYBRID).iterdir()}
    inside = barqued.docker("exec", "vm", "sh", "-c", "ls -d /sys/fs/cgroup/unified/*.scope")
    _stop_in_order(barqued)
    barqued.docker("rm", "vm")
    assert "init.scope" in inside
    assert not {"init.scope", "system.slice", "user.slice"} & (there - before)
    assert {path.name for path in Path(HYBRID).iterdir()} == before


def test_systemd_is_stopped_by_its_signal_without_any_option(
    barqued: Engine, systemd_image: str
) -> None:
    _boot(barqued, systemd_image, "--privileged")
    assert barqued.docker("inspect", "-f", "{{.Config.StopSignal}}", "vm") in {"", "<no value>"}
    _stop_in_order(barqued)
