"""AppArmor profiles and SELinux labels, on kernels that have them.

``make test-cgroup2`` runs these on a kernel with AppArmor;
``KERNEL_ARGUMENTS=security=selinux scripts/test-cgroup2 tests/kernel/test_labels.py`` with SELinux.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.runtime.attributes import apparmor_enabled
from support.bundle import Runtime
from support.engine import Engine

PROFILE = "barque-test"
APPARMOR_POLICY = f"""
profile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  signal,
  mount,
  umount,
  deny /secret r,
}}
"""
CONFINED = f"{PROFILE} (enforce)"
ASK = "cat /proc/self/attr/current; echo x > /secret && cat /secret"

SELINUX_POLICY = Path(__file__).parent.parent / "support/selinux.conf"
PROCESS = "system_u:system_r:container_t:s0:c1,c2"
FILES = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture(scope="module")
def apparmor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A kernel with the profile ``PROFILE``."""
    if not apparmor_enabled() or shutil.which("apparmor_parser") is None:
        pytest.skip("needs a kernel with AppArmor, and apparmor_parser")
    file = tmp_path_factory.mktemp("apparmor") / "policy"
    file.write_text(APPARMOR_POLICY)
    load = ["apparmor_parser", "--skip-cache"]
    subprocess.run([*load, "--replace", file], check=True)
    yield
    subprocess.run([*load, "--remove", file], check=True)


@pytest.mark.usefixtures("apparmor")
class TestAppArmor:
    def test_a_container_is_under_its_profile(self, barqued: Engine) -> None:
        option = ("--security-opt", f"apparmor={PROFILE}")
        confined = barqued.cli("run", "--rm", *option, "busybox", "sh", "-c", ASK)
        assert confined.stdout.strip() == CONFINED, confined.stderr
        assert "can't open '/secret': Permission denied" in confined.stderr
        plain = barqued.docker("run", "--rm", "busybox", "sh", "-c", ASK)
        assert plain.split() == ["unconfined", "x"]

    def test_execs_are_under_it_too(self, barqued: Engine) -> None:
        option = ("--security-opt", f"apparmor={PROFILE}")
        id_ = barqued.docker("run", "-d", *option, "busybox", "sleep", "600")
        try:
            assert barqued.docker("exec", id_, "cat", "/proc/self/attr/current") == CONFINED
            assert barqued.cli("exec", id_, "sh", "-c", ASK).returncode
        finally:
            barqued.docker("rm", "-f", id_)

    def test_a_profile_that_is_not_loaded(self, barqued: Engine) -> None:
        done = barqued.cli("run", "--rm", "--security-opt", "apparmor=nonesuch", "busybox", "true")
        assert done.returncode
        assert 'AppArmor profile "nonesuch" is not loaded on this host' in done.stderr

    def test_a_bundle_is_under_its_profile(self, runtime: Runtime, tmp_path: Path) -> None:
        runtime.spec["process"]["apparmorProfile"] = PROFILE
        code, lines = runtime.run(ASK)
        assert code
        assert lines[0] == CONFINED, lines
        (runtime.rootfs / "secret").unlink()
        runtime.create("exec sleep 100", tmp_path / "log")
        runtime.call("start", "c1")
        assert runtime.call("exec", "c1", "cat", "/proc/self/attr/current").strip() == CONFINED


@pytest.fixture(scope="module")
def selinux(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A kernel with ``SELINUX_POLICY``, enforced from here on: only for a machine of its own."""
    if not Path("/sys/fs/selinux/load").exists() or shutil.which("checkpolicy") is None:
        pytest.skip("needs a kernel with SELinux and without a policy, and checkpolicy")
    if Path("/proc/self/attr/current").read_text().strip("\0\n") != "kernel":
        pytest.skip("this host has a policy of its own")
    policy = tmp_path_factory.mktemp("selinux") / "policy"
    compile_ = [
        "checkpolicy",
        "-M",
        "-U",
        "allow",
        "-c",
        "31",
        "-o",
        str(policy),
        str(SELINUX_POLICY),
    ]
    subprocess.run(compile_, check=True)
    Path("/sys/fs/selinux/load").write_bytes(policy.read_bytes())
    Path("/sys/fs/selinux/enforce").write_text("1")


@pytest.mark.usefixtures("selinux")
class TestSelinux:
    """barque-runtime applies labels; the engine says that it does not."""

    def test_processes_and_mounts_have_their_labels(self, runtime: Runtime, tmp_path: Path) -> None:
        runtime.spec["process"]["selinuxLabel"] = PROCESS
        runtime.linux["mountLabel"] = FILES
        script = "cat /proc/self/attr/current; echo; grep ' /dev/shm ' /proc/self/mountinfo"
        code, lines = runtime.run(script)
        assert code == 0, lines
        assert lines[0].strip("\0") == PROCESS
        assert f'context="{FILES}"' in lines[1]
        runtime.create("exec sleep 100", tmp_path / "log")
        runtime.call("start", "c1")
        said = runtime.call("exec", "c1", "cat", "/proc/self/attr/current")
        assert said.strip("\0\n") == PROCESS
        other = PROCESS.replace("c1,c2", "c0")
        said = runtime.call(
            "exec", "--process-label", other, "c1", "cat", "/proc/self/attr/current"
        )
        assert said.strip("\0\n") == other

    def test_they_confine(self, runtime: Runtime) -> None:
        """What has no label of the container's is not written to."""
        runtime.linux["mountLabel"] = FILES
        assert runtime.run("echo x > /dev/shm/x && echo x > /tmp/x && echo both")[1] == ["both"]
        runtime.spec["process"]["selinuxLabel"] = PROCESS
        code, lines = runtime.run("echo x > /dev/shm/x && echo shm; echo x > /tmp/x")
        assert code
        assert lines[0] == "shm"
        assert "Permission denied" in lines[1]

    def test_a_label_that_the_policy_has_not(self, runtime: Runtime) -> None:
        runtime.spec["process"]["selinuxLabel"] = "system_u:system_r:nonesuch_t:s0"
        code, lines = runtime.run("true")
        assert code
        assert "no such SELinux label" in lines[0]

    def test_the_engine_runs_containers_without_labels(self, barqued: Engine) -> None:
        label = barqued.docker("run", "--rm", "busybox", "cat", "/proc/self/attr/current")
        assert label.strip("\0") == "system_u:system_r:base_t:s0"
        flag = ("--security-opt", "label=type:container_t")
        done = barqued.cli("run", "--rm", *flag, "busybox", "true")
        assert "barque does not apply SELinux labels yet" in done.stderr
