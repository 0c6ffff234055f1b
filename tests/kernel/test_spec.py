"""What containers are told, and what becomes of it: docker's options on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barque.engine.defaults import ContainerDefaults, own_ulimits
from barque.engine.facts import HostFacts
from barque.engine.mounts import resolve_mounts
from barque.engine.seccomp import SeccompProfiles
from barque.engine.spec import build_launch
from barque.engine.validate import fill_defaults, validate
from barque.models.api import ContainerConfig, DeviceMapping, HostConfig, Mount, Ulimit
from barque.models.container import MountPoint
from support.rootfs import busybox_is_here, write_busybox_tar
from support.shims import CGROUP_PARENT, Harness, client, make_root, read_all
from support.shims import run as run_with
from support.spec import make_record

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]


class NoVolumes:
    """A lookup for containers without volumes."""

    def volume_path(self, name: str, /) -> str:
        raise AssertionError(name)

    def mounts_of(self, ref: str, /) -> list[MountPoint]:
        raise AssertionError(ref)


class Options:
    """Runs a script in a container of given options and returns its output."""

    def __init__(self, directory: Path, lower: Path) -> None:
        self.directory = directory
        self.lower = lower
        self.facts = HostFacts.gather()
        self.defaults = ContainerDefaults(ulimits=own_ulimits(self.facts.max_open_files))

    def run(
        self,
        script: str,
        config: dict[str, Any] | None = None,
        host: dict[str, Any] | None = None,
    ) -> list[str]:
        asked = ContainerConfig(hostname="box", **(config or {}))
        filled = HostConfig(network_mode="none", **(host or {}))
        validate(asked, filled, self.facts)
        fill_defaults(filled, self.facts, self.defaults)
        points = resolve_mounts(asked, filled, NoVolumes()).points
        made = make_record(asked, filled, mounts=points)
        record = type(made)(
            id=made.id,
            name=made.name,
            created=made.created,
            image_id=made.image_id,
            config=asked,
            host_config=filled,
            path="sh",
            args=["-c", script],
            mounts=points,
        )
        for name in ("hosts", "hostname", "resolv.conf"):
            (self.directory / name).write_text(f"{name} of the container\n")
        output: list[str] = []

        async def body(h: Harness) -> None:
            profiles = SeccompProfiles(self.directory / "seccomp", self.facts, self.defaults)
            launch = build_launch(
                record,
                rootfs=h.launch("spec", ["true"]).rootfs,
                files=self.directory,
                interfaces=[],
                joins={},
                propagation="",
                seccomp_path=await profiles.path_for(record),
                facts=self.facts,
                defaults=self.defaults,
                cgroups_path=f"{CGROUP_PARENT}/spec",
            )
            ours, theirs = client()
            await h.start("spec", launch, theirs)
            output.extend((await read_all(ours)).decode().splitlines())
            await h.exit("spec")

        run_with(body, self.directory, self.lower)
        return output


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("busybox")
    return make_root(directory / "root", write_busybox_tar(directory / "root.tar"))


@pytest.fixture
def options(tmp_path: Path, lower: Path) -> Iterator[Options]:
    yield Options(tmp_path, lower)
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        assert str(tmp_path) not in table.read()


STATUS = "grep -E '^(Cap(Eff|Bnd|Prm)|NoNewPrivs|Seccomp):' /proc/self/status"


def test_a_container_without_options(options: Options) -> None:
    output = options.run(f"{STATUS}; hostname; pwd; env | sort; cat /etc/hosts; df -k /dev/shm")
    assert output[:5] == [
        "CapPrm:\t00000000800405fb",
        "CapEff:\t00000000800405fb",
        "CapBnd:\t00000000800405fb",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
    ]
    assert output[5:7] == ["box", "/"]
    assert "HOSTNAME=box" in output
    assert "HOME=/root" in output
    assert "hosts of the container" in output
    assert any(line.split()[1] == "65536" for line in output if line.startswith("shm "))


def test_docker_refuses_the_same_calls(options: Options) -> None:
    output = options.run(
        "exec 2>&1; unshare -U true; mkdir -p /mnt; mount -t tmpfs none /mnt; "
        "echo 1 > /proc/sys/kernel/panic; touch /sys/x; cat /proc/timer_list | wc -c"
    )
    assert output[0] == "unshare: unshare(0x10000000): Operation not permitted"
    assert "permission denied" in output[1].lower() or "not permitted" in output[1].lower()
    assert "Read-only file system" in output[2]
    assert "Read-only file system" in output[3]
    assert output[4] == "0"


def test_capabilities_and_privileges(options: Options) -> None:
    output = options.run(
        STATUS,
        host={
            "cap_drop": ["ALL"],
            "cap_add": ["chown", "kill"],
            "security_opt": ["no-new-privileges", "seccomp=unconfined"],
        },
    )
    assert output == [
        "CapPrm:\t0000000000000021",
        "CapEff:\t0000000000000021",
        "CapBnd:\t0000000000000021",
        "NoNewPrivs:\t1",
        "Seccomp:\t0",
    ]


def test_limits_and_settings(options: Options) -> None:
    output = options.run(
        "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax "
        "/proc/self/oom_score_adj; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        host={
            "ulimits": [Ulimit(name="nofile", soft=100, hard=200)],
            "sysctls": {"net.ipv4.ip_default_ttl": "77", "kernel/msgmax": "4096"},
            "oom_score_adj": 300,
        },
    )
    assert output == ["100", "200", "77", "4096", "300", "0"]


def test_a_user_and_a_directory(options: Options) -> None:
    output = options.run(
        f"id -u; id -g; pwd; {STATUS}",
        {"user": "1234:99", "working_dir": "/made/for/it", "env": ["A=b c"]},
    )
    assert output[:5] == [
        "1234",
        "99",
        "/made/for/it",
        "CapPrm:\t" + "0" * 16,
        "CapEff:\t" + "0" * 16,
    ]


def test_a_read_only_root_with_places_to_write(options: Options, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("from the host\n")
    made = tmp_path / "made"
    made.mkdir()
    output = options.run(
        "touch /x; touch /run/x && echo run; touch /w/x && echo w; cat /r/file; touch /r/x; "
        "grep -E ' (/run|/t) ' /proc/mounts; echo x > /dev/null && echo null",
        host={
            "readonly_rootfs": True,
            "tmpfs": {"/run": "size=1m,exec"},
            "binds": [f"{source}:/r:ro", f"{made}:/w"],
            "mounts": [Mount(type="tmpfs", target="/t")],
        },
    )
    text = "\n".join(output)
    assert output.count("touch: /x: Read-only file system") == 1, text
    assert "touch: /r/x: Read-only file system" in output, text
    assert {"run", "w", "from the host", "null"} <= set(output), text
    assert (made / "x").exists()
    (run_mount,) = [line for line in output if " /run " in line]
    assert "noexec" not in run_mount
    assert "size=1024k" in run_mount
    assert "noexec" in next(line for line in output if " /t " in line)


def test_a_device(options: Options) -> None:
    script = (
        "exec 2>&1; head -c 3 /dev/nothing | wc -c; mknod /own b 1 0; cat /own; ls -l /dev/nothing"
    )
    mapping = DeviceMapping(path_on_host="/dev/zero", path_in_container="/dev/nothing")
    output = options.run(script, host={"devices": [mapping], "cap_add": ["MKNOD"]})
    assert output[0] == "3"
    assert "not permitted" in output[1], "the control group forbids other devices"
    assert "1,   5" in output[2]


def test_a_privileged_container(options: Options) -> None:
    output = options.run(
        f"{STATUS}; mkdir -p /mnt; mount -t tmpfs none /mnt && echo mounted; ls /dev; "
        "test -w /sys/fs/cgroup/pids && echo writable",
        host={"privileged": True},
    )
    assert "Seccomp:\t0" in output
    assert "mounted" in output
    assert "mem" in output or "kmsg" in output


def test_namespaces_of_the_host(options: Options) -> None:
    output = options.run(
        "for kind in uts ipc pid; do readlink /proc/self/ns/$kind; done",
        host={"ipc_mode": "host", "pid_mode": "host"},
    )
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("uts", "ipc", "pid")]
    assert output[0] != ours[0]
    assert output[1:] == ours[1:]
