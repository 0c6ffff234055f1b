"""User namespaces by the stock command line: ids inside and outside, and all else as ever."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from support import census
from support.engine import Engine, docker_cli_is_here, open_barqued
from support.terminal import Terminal
from support.waiting import wait_until

FIRST = 3_000_000
SIZE = 65536
AUTO = FIRST + SIZE
USER = "65534"
CAPABILITY = "security.capability"
BIND_SERVICE = 1 << 10
BIND_SERVICE_OF_FILE = struct.pack("<5I", 0x02000001, BIND_SERVICE, 0, 0, 0)
PING = ("--cap-add", "NET_RAW")
BARQUE = str(Path(sys.executable).with_name("barque"))
DEVICES = ("/dev/net/tun", "/dev/fuse", "/dev/loop-control", "/dev/kmsg", "/dev/console")
# su waits for a password as it was started; most other applets give up privileges at once.
SHOW_PRIVILEGES = """
sleep 1 | /tmp/busybox-suid su 2>/dev/null >&2 &
sleep 0.5; grep Uid /proc/$!/status; /tmp/busybox-cap grep CapEff /proc/self/status
"""
PRIVILEGES = ["Uid:\t1000\t0\t0\t0", f"CapEff:\t{BIND_SERVICE:016x}"]
SLEEP = ("busybox", "sleep", "1000")

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="starts an engine: needs root"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]


@pytest.fixture(scope="module")
def remapped(busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with userns-remap, in a mount namespace with subordinate ids of its own."""
    subids = tmp_path_factory.mktemp("etc") / "subids"
    subids.write_text(f"{USER}:{FIRST}:{SIZE}\n")
    with open_barqued("--userns-auto-pool", f"{AUTO}:{10 * SIZE}") as engine:
        engine.stop()
        files = "/etc/subuid", "/etc/subgid"
        binds = " && ".join(f"touch {file} && mount --bind {subids} {file}" for file in files)
        script = f'{binds} && exec "$@"'
        own = ["unshare", "--mount", "sh", "-c", script, "sh"]
        engine.command = [*own, *engine.command, "--userns-remap", USER]
        engine.start()
        engine.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")
        yield engine


@pytest.fixture
def engine(remapped: Engine) -> Iterator[Engine]:
    yield remapped
    remapped.remove_containers()
    remapped.docker("volume", "prune", "-af")


def run(engine: Engine, script: str, *flags: str) -> list[str]:
    """Run a script in a container that is removed, and return the lines that it writes."""
    return engine.docker("run", "--rm", *flags, "busybox", "sh", "-c", script).splitlines()


def own(engine: Engine, script: str, *flags: str) -> list[str]:
    """As ``run``, by barque's own command line, which knows more modes."""
    command = ("run", "--rm", *flags, "busybox", "sh", "-c", script)
    done = engine.cli(*command, program=BARQUE)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def start(engine: Engine, *flags: str, command: tuple[str, ...] = SLEEP) -> str:
    return engine.docker("run", "-d", *flags, *command)


def execute(engine: Engine, container: str, script: str, *flags: str) -> list[str]:
    return engine.docker("exec", *flags, container, "sh", "-c", script).splitlines()


def inspect(engine: Engine, container: str, template: str) -> str:
    return engine.docker("inspect", "-f", template, container)


def owner_of(pid: int | str) -> tuple[int, int]:
    status = os.stat(f"/proc/{pid}")
    return status.st_uid, status.st_gid


def pid_of(engine: Engine, container: str) -> int:
    return int(inspect(engine, container, "{{.State.Pid}}"))


def layer_of(engine: Engine, name: str) -> Path:
    """Return where on the disk the file ``name`` of a writable layer is."""
    (found,) = (engine.data_root / "snapshots").rglob(name)
    return found


def owners(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def first_id(lines: list[str]) -> int:
    """Return the host's id of root in a uid_map."""
    inside, outside, _ = map(int, lines[0].split())
    assert inside == 0
    return outside


class TestIds:
    def test_root_inside_is_nobody_of_importance_outside(self, engine: Engine) -> None:
        id_ = start(engine)
        assert owner_of(pid_of(engine, id_)) == (FIRST, FIRST)
        assert execute(engine, id_, "id -u; id -g; cat /proc/self/uid_map")[:2] == ["0", "0"]
        assert execute(engine, id_, "cat /proc/self/gid_map")[0].split() == [
            "0",
            str(FIRST),
            "65536",
        ]
        assert engine.docker("top", id_, "-o", "pid,uid").splitlines()[1].split()[1] == str(FIRST)
        assert "name=userns" in json.loads(engine.docker("info", "-f", "{{json .SecurityOptions}}"))
        assert inspect(engine, id_, "{{.HostConfig.UsernsMode}}") == ""

    def test_the_host_on_request(self, engine: Engine) -> None:
        id_ = start(engine, "--userns", "host", "--privileged")
        assert owner_of(pid_of(engine, id_)) == (0, 0)
        assert inspect(engine, id_, "{{.HostConfig.UsernsMode}}") == "host"

    def test_other_users(self, engine: Engine) -> None:
        id_ = start(engine, "--user", "1000:1001", "--group-add", "7")
        assert owner_of(pid_of(engine, id_)) == (FIRST + 1000, FIRST + 1001)
        assert execute(engine, id_, "id")[0].startswith("uid=1000 gid=1001 groups=7")
        named = execute(engine, id_, "id -u; echo to stdout > /dev/stdout", "-u", "daemon")
        assert named == ["1", "to stdout"]

    def test_files_belong_to_whom_they_did(self, engine: Engine) -> None:
        seen = run(engine, "stat -c '%u %g %a %n' / /bin /root /etc/passwd /etc/hosts /dev/mqueue")
        assert seen == [
            "0 0 755 /",
            "0 0 755 /bin",
            "0 0 700 /root",
            "0 0 644 /etc/passwd",
            "0 0 644 /etc/hosts",
            "0 0 1777 /dev/mqueue",
        ]
        assert run(engine, "echo 127.0.0.9 x >> /etc/hosts && tail -1 /etc/hosts") == [
            "127.0.0.9 x"
        ]

    def test_layers_keep_the_containers_ids_on_the_disk(self, engine: Engine) -> None:
        script = (
            "touch /mine1; touch /theirs1; chown 5:6 /theirs1; chmod 600 /etc/passwd; sleep 1000"
        )
        id_ = start(engine, command=("busybox", "sh", "-c", script))
        wait_until(lambda: "/etc/passwd" in engine.docker("diff", id_), "the script has run")
        assert owners(layer_of(engine, "mine1")) == (0, 0)
        assert owners(layer_of(engine, "theirs1")) == (5, 6)
        assert execute(engine, id_, "stat -c '%u %g' /mine1 /theirs1") == ["0 0", "5 6"]

    def test_a_committed_layer_is_the_same_as_without(self, engine: Engine) -> None:
        script = (
            "mkdir -p /a/b; echo x > /a/b/c; chown 7:8 /a/b/c; chmod 4755 /a/b/c; ln -s c /a/b/d; "
            "chown -h 9 /a/b/d; rm /etc/os-release; touch -h -d '2020-01-01 10:00:00' /a/b/c /a/b/d /a/b /a /etc"
        )
        layers = []
        for mode in ("", "host"):
            id_ = engine.docker("create", "--userns", mode, "busybox", "sh", "-c", script)
            engine.docker("start", "-a", id_)
            image = engine.docker("commit", id_)
            layers.append(engine.docker("inspect", "-f", "{{json .RootFS.Layers}}", image))
            engine.docker("rmi", image)
        assert layers[0] == layers[1]

    def test_nothing_is_copied(self, engine: Engine) -> None:
        size = "{{.SizeRw}} {{.SizeRootFs}}"
        mapped, plain = start(engine), start(engine, "--userns", "host")
        shown = [engine.docker("inspect", "-s", "-f", size, id_) for id_ in (mapped, plain)]
        assert shown[0] == shown[1]
        assert shown[0].split()[0] in ("0", "4096") or int(shown[0].split()[0]) < 65536

    def test_set_user_id_and_capabilities_of_files(self, engine: Engine, tmp_path: Path) -> None:
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, mode, xattrs in (
                ("busybox-suid", 0o4755, {}),
                ("busybox-cap", 0o755, {CAPABILITY: BIND_SERVICE_OF_FILE}),
            ):
                entry = tarfile.TarInfo(name)
                entry.mode = mode
                content = Path("/bin/busybox").read_bytes()
                entry.size = len(content)
                entry.pax_headers = {
                    f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
                    for key, value in xattrs.items()
                }
                tar.addfile(entry, BytesIO(content))
        name = "programs"
        for where in ("stopped", "running"):
            id_ = engine.docker("create", "--user", "1000", *SLEEP)
            if where == "running":
                engine.docker("start", id_)
            done = engine.cli("cp", "-", f"{id_}:/tmp", stdin=archive.getvalue())
            assert not done.returncode, done.stderr
            if where == "stopped":
                engine.docker("start", id_)
            assert execute(engine, id_, SHOW_PRIVILEGES) == PRIVILEGES
            engine.docker("commit", id_, name)
            flags = ("--userns", "host", "-u", "1000")
            again = engine.docker("run", "--rm", *flags, name, "sh", "-c", SHOW_PRIVILEGES)
            assert again.splitlines() == PRIVILEGES
            engine.docker("rmi", name)


class TestFilesFromOutside:
    def test_a_volume_has_the_same_owners_on_both_sides(self, engine: Engine) -> None:
        script = "touch /v/{}; chown {}:{} /v/{}; stat -c '%u:%g %n' /v/*"
        inside = run(engine, script.format("a", 5, 6, "a"), "-v", "vol:/v")
        assert inside == ["5:6 /v/a"]
        host = run(engine, script.format("b", 0, 9, "b"), "-v", "vol:/v", "--userns", "host")
        assert host == ["5:6 /v/a", "0:9 /v/b"]
        assert run(engine, "stat -c '%u:%g %n' /v/*", "-v", "vol:/v") == host
        assert own(engine, "stat -c '%u:%g %n' /v/*", "--userns", "auto", "-v", "vol:/v") == host

    def test_a_volume_is_filled_with_the_images_owners(self, engine: Engine) -> None:
        run(engine, "true", "-v", "etc:/etc")
        data = engine.data_root / "volumes" / "etc" / "_data"
        assert owners(data / "passwd") == (0, 0)
        assert run(engine, "stat -c %u /etc/passwd /etc", "-v", "etc:/etc") == ["0", "0"]

    def test_a_bind_shows_the_hosts_owners(self, engine: Engine, tmp_path: Path) -> None:
        for name, uid in (("theirs", FIRST + 7), ("roots", 0)):
            (tmp_path / name).touch()
            os.chown(tmp_path / name, uid, uid)
        tmp_path.chmod(0o755)
        bind = f"{tmp_path}:/b"
        assert run(engine, "stat -c '%u %n' /b/*", "-v", bind) == ["65534 /b/roots", "7 /b/theirs"]
        refused = engine.cli("run", "--rm", "-v", bind, "busybox", "touch", "/b/new")
        assert "Permission denied" in refused.stderr

    def test_a_mapped_bind_shows_the_containers(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "roots").touch()
        script = "stat -c '%u %n' /b/roots; touch /b/new; chown 5 /b/new"
        assert run(engine, script, "-v", f"{tmp_path}:/b:idmap") == ["0 /b/roots"]
        assert owners(tmp_path / "new") == (5, 0)

    def test_a_file_system_without_id_mapped_mounts(self, engine: Engine) -> None:
        done = engine.cli("run", "--rm", "-v", "/proc/sys:/b:idmap", "busybox", "true")
        assert done.returncode == 125
        assert (
            "/proc/sys cannot be shown to a user namespace: its file system, proc," in done.stderr
        )
        assert "--userns=host" in done.stderr

    def test_copies_keep_owners(self, engine: Engine) -> None:
        id_ = start(engine)
        execute(engine, id_, "mkdir /d; touch /d/f; chown 5:6 /d/f; mkfifo /d/p; ln /d/f /d/g")
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, kind in (("in", tarfile.REGTYPE), ("dir", tarfile.DIRTYPE)):
                entry = tarfile.TarInfo(name)
                entry.type, entry.uid, entry.gid = kind, 11, 12
                tar.addfile(entry)
        done = engine.cli("cp", "-", f"{id_}:/d", stdin=archive.getvalue())
        assert not done.returncode, done.stderr
        assert execute(engine, id_, "stat -c '%u:%g' /d/in /d/dir /d/f") == [
            "11:12",
            "11:12",
            "5:6",
        ]
        expected = {"d": (0, 0), "d/f": (5, 6), "d/g": (5, 6), "d/p": (0, 0), "d/in": (11, 12),
                    "d/dir": (11, 12)}  # fmt: skip
        running = self.listed(engine, "cp", f"{id_}:/d", "-")
        engine.docker("stop", "-t", "0", id_)
        stopped = self.listed(engine, "cp", f"{id_}:/d", "-")
        assert running == stopped == expected
        exported = self.listed(engine, "export", id_)
        assert {key: value for key, value in exported.items() if key.startswith("d/")} == {
            key: value for key, value in expected.items() if key != "d"
        }

    @staticmethod
    def listed(engine: Engine, *arguments: str) -> dict[str, tuple[int, int]]:
        archive = engine.root / "listed.tar"
        with archive.open("wb") as file:
            subprocess.run(
                ["docker", *arguments], check=True, stdout=file, env=engine.client_environment()
            )
        with tarfile.open(archive) as tar:
            found = {entry.name.rstrip("/"): (entry.uid, entry.gid) for entry in tar}
        archive.unlink()
        return found


class TestLife:
    def test_execs_are_inside_too(self, engine: Engine) -> None:
        id_ = start(engine)
        assert first_id(execute(engine, id_, "cat /proc/self/uid_map")) == FIRST
        engine.docker("exec", "-d", id_, "sleep", "999")
        wait_until(lambda: len(engine.docker("top", id_).splitlines()) == 3, "two run")
        for line in engine.docker("top", id_, "-o", "pid").splitlines()[1:]:
            assert owner_of(line.strip()) == (FIRST, FIRST)

    @pytest.mark.parametrize("user", ["0", "1000"])
    def test_terminals_belong_to_their_user(self, engine: Engine, user: str) -> None:
        script = "stat -c '%u %g' $(tty); echo typed > $(tty)"
        command = ["docker", "run", "--rm", "-it", "-u", user, "busybox", "sh", "-c", script]
        with Terminal(command, engine.client_environment()) as terminal:
            terminal.expect(rf"{user} 5\r\ntyped\r\n")
            assert terminal.wait() == 0
        id_ = start(engine)
        command = ["docker", "exec", "-it", "-u", user, id_, "sh", "-c", script]
        with Terminal(command, engine.client_environment()) as terminal:
            terminal.expect(rf"{user} 5\r\ntyped\r\n")
            assert terminal.wait() == 0

    def test_streams_can_be_opened_again(self, engine: Engine) -> None:
        script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"
        for user in ("0", "1000"):
            done = engine.cli(
                "run", "--rm", "-i", "-u", user, "busybox", "sh", "-c", script, stdin=b"in"
            )
            assert (done.stdout, done.stderr) == ("out\nin", "err\n")

    def test_limits_signals_and_pauses(self, engine: Engine) -> None:
        id_ = start(engine, "-m", "64m", "--memory-swap", "64m", "--pids-limit", "20",
                    "--ulimit", "nofile=77:88", "--init")  # fmt: skip
        assert execute(engine, id_, "ulimit -n; ulimit -Hn") == ["77", "88"]
        fork = "for i in $(seq 30); do sleep 5 & done"
        assert "can't fork" in engine.cli("exec", id_, "sh", "-c", fork).stderr
        wait_until(lambda: engine.cli("exec", id_, "true").returncode == 0, "there is room again")
        engine.docker("update", "-m", "32m", "--memory-swap", "32m", id_)
        assert engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", id_).endswith(
            "32MiB"
        )
        engine.docker("pause", id_)
        assert inspect(engine, id_, "{{.State.Status}}") == "paused"
        engine.docker("unpause", id_)
        dd = ("dd", "if=/dev/zero", "of=/dev/null", f"bs={100 << 20}", "count=1")
        assert engine.cli("exec", id_, *dd).returncode == 137
        engine.docker("kill", "-s", "TERM", id_)
        assert engine.docker("wait", id_) == "143"
        engine.docker("start", id_)
        engine.docker("restart", "-t", "0", id_)
        engine.docker("stop", "-t", "0", id_)
        assert inspect(engine, id_, "{{.State.ExitCode}}") in ("137", "143")

    def test_device_and_shared_memory_and_tmpfs(self, engine: Engine) -> None:
        device = next(path for path in DEVICES if Path(path).exists())
        script = (
            f"stat -c '%u %g' /dev/shm /t {device}; echo x > /dev/shm/x; echo x > /t/x; "
            "head -c 3 /dev/zero | wc -c; echo x > /dev/null"
        )
        flags = (
            "--tmpfs",
            "/t:mode=750,uid=3",
            "--device",
            device,
            "--shm-size",
            "1m",
        )
        assert run(engine, script, *flags) == ["0 0", "3 0", "65534 65534", "3"]

    def test_host_ipc_and_uts(self, engine: Engine) -> None:
        script = "test -d /dev/mqueue && echo queues; hostname"
        queues = ["queues"] if Path("/dev/mqueue").is_dir() else []
        seen = run(engine, script, "--ipc", "host", "--uts", "host")
        assert seen == [*queues, os.uname().nodename]

    def test_what_dockerd_refuses(self, engine: Engine) -> None:
        for flags, said in (
            (("--privileged",), "privileged mode is incompatible with user namespaces."),
            (("--network", "host"), "cannot share the host's network namespace when user"),
            (("--pid", "host"), "cannot share PID namespace when user namespaces are enabled"),
        ):
            done = engine.cli("create", *flags, "busybox")
            assert done.returncode
            assert said in done.stderr
            engine.docker("rm", engine.docker("create", "--userns", "host", *flags, "busybox"))


class TestNetworks:
    def test_a_published_port(self, engine: Engine) -> None:
        script = "echo hello > /index.html; exec httpd -f -p 80"
        id_ = start(engine, "-p", "127.0.0.1::80", command=("busybox", "sh", "-c", script))
        address = engine.docker("port", id_, "80")

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://{address}/", timeout=2) as reply:
                    return bool(reply.read() == b"hello\n")
            except OSError:
                return False

        wait_until(answers, "the server answers")

    def test_names_on_a_network_of_ones_own(self, engine: Engine) -> None:
        engine.docker("network", "create", "names")
        try:
            start(engine, "--name", "server", "--network", "names", "--network-alias", "alias")
            seen = run(engine, "ping -c 1 -q alias && id -u", "--network", "names", *PING)
            assert "1 packets transmitted, 1 packets received" in "\n".join(seen)
            late = start(engine, *PING)
            engine.docker("network", "connect", "names", late)
            execute(engine, late, "ping -c 1 server && nslookup server 127.0.0.11")
            engine.docker("network", "disconnect", "names", late)
            assert engine.cli("exec", late, "ping", "-c", "1", "-W", "1", "server").returncode
            # The program does not run before there is somebody to answer it.
            for _ in range(5):
                run(engine, "nslookup server", "--network", "names")
        finally:
            engine.remove_containers()
            engine.docker("network", "rm", "names")

    def test_sysctls_and_ping_without_privileges(self, engine: Engine) -> None:
        assert run(
            engine, "cat /proc/sys/net/ipv4/ip_forward", "--sysctl", "net.ipv4.ip_forward=0"
        ) == ["0"]
        assert run(engine, "cat /proc/sys/net/ipv4/ping_group_range") == ["0\t65535"]

    def test_who_shares_a_network_shares_the_users(self, engine: Engine) -> None:
        target = start(engine, "--hostname", "shared")
        script = "cat /proc/self/uid_map; hostname; readlink /proc/self/ns/user; ip address add 10.99.9.9/32 dev lo"
        flags = ("--network", f"container:{target}", "--cap-add", "NET_ADMIN")
        uid_map, hostname, namespace = run(engine, script, *flags)
        assert first_id([uid_map]) == FIRST
        assert hostname == "shared"
        assert namespace == execute(engine, target, "readlink /proc/self/ns/user")[0]
        assert "10.99.9.9" in "".join(execute(engine, target, "ip address show lo"))
        plain = start(engine, "--userns", "host")
        assert (
            first_id(run(engine, "cat /proc/self/uid_map", "--network", f"container:{plain}")) == 0
        )
        mixed = ("--userns", "host", "--network", f"container:{target}")
        assert (
            first_id(run(engine, "cat /proc/self/uid_map; ip address | grep -q 10.99.9.9", *mixed))
            == 0
        )

    def test_who_shares_memory_shares_the_users(self, engine: Engine) -> None:
        target = start(engine, "--ipc", "shareable")
        execute(engine, target, "echo told > /dev/shm/x")
        script = "cat /dev/shm/x; stat -c %u /dev/shm/x; cat /proc/self/uid_map"
        told, owner, uid_map = run(engine, script, "--ipc", f"container:{target}")
        assert (told, owner, first_id([uid_map])) == ("told", "0", FIRST)

    def test_who_shares_pids_shares_the_users(self, engine: Engine) -> None:
        target = start(engine)
        id_ = start(engine, "--pid", f"container:{target}", command=("busybox", "sleep", "2000"))
        assert "sleep 1000" in "\n".join(execute(engine, id_, "ps"))
        execute(engine, id_, "kill -0 1")
        # What helped it into the namespaces has been reaped.
        children = Path(f"/proc/{parent_of(pid_of(engine, id_))}/task").glob("*/children")
        assert [path.read_text().split() for path in children] == [[str(pid_of(engine, id_))]]
        engine.docker("rm", "-f", target)
        assert engine.docker("wait", id_) == "137"


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[1])


class TestModes:
    def test_automatic_ranges(self, engine: Engine) -> None:
        made = [
            self.create(engine, "--userns", mode) for mode in ("auto", "auto:size=1000", "auto")
        ]
        for id_ in made:
            engine.docker("start", id_)
        first = [first_id(execute(engine, id_, "cat /proc/self/uid_map")) for id_ in made]
        assert first == [AUTO, AUTO + SIZE, AUTO + SIZE + 1000]
        assert execute(engine, made[1], "cat /proc/self/gid_map")[0].split()[2] == "1000"
        engine.docker("restart", "-t", "0", made[2])
        engine.docker("rm", "-f", made[0])
        engine.restart()
        assert first_id(execute(engine, made[2], "cat /proc/self/uid_map")) == first[2]
        assert first_id(own(engine, "cat /proc/self/uid_map", "--userns", "auto")) == AUTO, "freed"
        assert inspect(engine, made[1], "{{.HostConfig.UsernsMode}}") == "auto:size=1000"

    def test_given_maps(self, engine: Engine) -> None:
        script = "awk '{print $1,$2,$3}' /proc/self/uid_map /proc/self/gid_map"
        both = own(engine, script, "--uidmap", "0:500000:10", "--uidmap", "10:600000:5")
        assert both == ["0 500000 10", "10 600000 5"] * 2
        other = own(engine, script, "--uidmap", "0:500000:10", "--gidmap", "0:700000:20")
        assert other == ["0 500000 10", "0 700000 20"]
        assert own(engine, script, "--userns", "map:0:500000:1/0:5:11") == [
            "0 500000 1",
            "0 5 11",
        ]
        few = engine.cli("run", "--rm", "--userns", "map:0:5:1", "busybox", program=BARQUE)
        assert "has not all of the user 0 and the groups 0, 10" in few.stderr
        assert own(engine, script, "--userns", "private")[0] == f"0 {FIRST} {SIZE}"

    def test_what_is_no_mode(self, engine: Engine) -> None:
        done = engine.cli("run", "--rm", "--userns", "map:5:1:1", "busybox", program=BARQUE)
        assert "uid 0, the root inside, is not mapped" in done.stderr

    @staticmethod
    def create(engine: Engine, *flags: str) -> str:
        done = engine.cli("create", *flags, *SLEEP, program=BARQUE)
        assert not done.returncode, done.stderr
        return done.stdout.strip()


class TestEngine:
    def test_containers_outlive_it(self, engine: Engine) -> None:
        engine.docker("network", "create", "outlive")
        try:
            id_ = start(engine, "--network", "outlive", "--name", "lasting")
            engine.kill()
            time.sleep(0.2)
            engine.start()
            assert first_id(execute(engine, id_, "cat /proc/self/uid_map")) == FIRST
            run(engine, "ping -c 1 lasting", "--network", "outlive", *PING)
            execute(engine, id_, "nslookup lasting")
            engine.docker("restart", "-t", "0", id_)
            assert first_id(execute(engine, id_, "cat /proc/self/uid_map")) == FIRST
        finally:
            engine.remove_containers()
            engine.docker("network", "rm", "outlive")

    def test_nothing_is_left(self, engine: Engine) -> None:
        engine.docker("network", "create", "census")
        run(engine, "true", "--network", "census")
        before = census.take_at_rest(engine)
        for flags in (("--network", "census"), ("--network", "none"), ("-v", "/data"), ("-it",)):
            if flags != ("-it",):
                run(engine, "true", *flags)
        for _ in range(3):
            target = start(engine)
            run(engine, "true", "--network", f"container:{target}")
            assert engine.cli("run", "--rm", "busybox", "nonesuch").returncode == 127
            broken = ("-v", "/proc/sys:/b:idmap")
            assert engine.cli("run", "--rm", *broken, "busybox", "true").returncode == 125
            execute(engine, target, "true")
            engine.docker("rm", "-f", target)
        assert census.settle(before, engine) == []
        engine.docker("network", "rm", "census")
