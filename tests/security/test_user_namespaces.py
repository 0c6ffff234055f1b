"""What a user namespace keeps a container from, even with all capabilities in it.

Each attempt is shown to succeed where there is no user namespace, so that it would be noticed if
it failed for another reason.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from barque.cgroups import cgroup_version
from support.engine import Engine, docker_cli_is_here, open_barqued

BARQUE = str(Path(sys.executable).with_name("barque"))
ID_MAP = "map:0:4000000:65536"
ALL = (
    *("--cap-add", "ALL"),
    *("--security-opt", "seccomp=unconfined"),
    *("--security-opt", "systempaths=unconfined"),
    *("--security-opt", "writable-cgroups=true"),
)
CGROUP = "/sys/fs/cgroup/pids" if cgroup_version() == 1 else "/sys/fs/cgroup"

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="starts an engine: needs root"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]


@pytest.fixture(scope="module")
def engine(busybox_tar: Path) -> Iterator[Engine]:
    with open_barqued("--userns-auto-pool", "4100000:1000000") as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        yield engine
        engine.remove_containers()


def attempt(engine: Engine, mode: str, script: str, *flags: str) -> tuple[bool, str]:
    """Run a script as root in a container; return whether it succeeds, and what it says."""
    done = engine.cli(
        "run", "--rm", "--userns", mode, *flags, "busybox", "sh", "-c", script, program=BARQUE
    )
    assert done.returncode < 125, done.stderr
    return not done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "mknod /node c 1 3 && test -c /node",
        "cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness",
        f"mkdir {CGROUP}/made",
        f"echo 100 > {CGROUP}/pids.max",
    ],
)
def test_capabilities_do_not_reach_the_host(engine: Engine, script: str) -> None:
    assert attempt(engine, "host", script, *ALL) == (True, "")
    assert not attempt(engine, ID_MAP, script, *ALL)[0]
    assert not attempt(engine, "auto", script, *ALL)[0]


def test_roots_files_are_roots(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    tmp_path.chmod(0o755)
    flags = ("-v", f"{tmp_path}:/b", *ALL)
    for script in ("cat /b/secret", "chmod 644 /b/secret", "chown 0 /b/secret", "touch /b/new"):
        assert not attempt(engine, ID_MAP, script, *flags)[0]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert attempt(engine, "host", "cat /b/secret", *flags) == (True, "secret")


def test_set_user_id_leads_to_nobody(engine: Engine, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    script = "cp /bin/busybox /b/x && chmod 4755 /b/x"
    assert attempt(engine, ID_MAP, script, "-v", f"{tmp_path}:/b")[0]
    assert (tmp_path / "x").stat().st_uid == 4_000_000
    (tmp_path / "x").unlink()
    assert attempt(engine, "host", script, "-v", f"{tmp_path}:/b")[0]
    assert (tmp_path / "x").stat().st_uid == 0


def test_containers_with_ranges_of_their_own_are_strangers(engine: Engine, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    flags = ("-v", f"{tmp_path}:/b", *ALL)
    done = engine.cli("run", "-d", "--userns", "auto", *flags, "busybox", "sh", "-c",
                      "umask 077; echo x > /b/mine; mkdir /b/ours; sleep 1000",
                      program=BARQUE)  # fmt: skip
    assert not done.returncode, done.stderr
    for script in (
        "cat /b/mine",
        "rm /b/mine",
        "chmod 644 /b/mine",
        "chown 0 /b/mine",
        "ls /b/ours",
    ):
        assert not attempt(engine, "auto", script, *flags)[0]
        assert attempt(engine, "host", script.replace("rm", "ls"), *flags)[0]
    engine.docker("rm", "-f", done.stdout.strip())


def test_who_comes_in_cannot_be_looked_into(engine: Engine) -> None:
    """Root inside may trace all that was born inside, not what joins from the host."""
    look = (
        "while :; do for p in /proc/[0-9]*; do readlink $p/exe; done; done 2>/dev/null | grep memfd"
    )
    done = engine.cli(
        "run", "-d", "--userns", ID_MAP, *ALL, "busybox", "sh", "-c", look, program=BARQUE
    )
    id_ = done.stdout.strip()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: engine.docker("exec", id_, "true"), range(40))) == [""] * 40
    assert engine.docker("exec", id_, "readlink", "/proc/1/exe") == "/bin/busybox"
    assert engine.docker("logs", id_) == ""
    engine.docker("rm", "-f", id_)
