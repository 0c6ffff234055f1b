"""Twins of the restrictions with the real programs of Debian: su, sudo, ping, apt-get.

Each is copied from this machine into an image, set-user-ID bits and all.
"""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.debian import ACCOUNTS, PAM, PASSWORD, find_missing, write_debian_tar
from support.engine import Engine


def need(*paths: str) -> None:
    if missing := find_missing(paths):
        pytest.skip(f"this machine has no {', '.join(missing)}")


@pytest.fixture(scope="module")
def accounts(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The image ``accounts``: su, and sudo where the machine has it, with PAM."""
    need("/usr/bin/su", "/etc/pam.d/su")
    modules = [str(path) for path in Path("/lib").glob("*-linux-gnu*/security")]
    programs = ["/usr/bin/su", "/usr/sbin/unix_chkpwd", "/usr/bin/sudo"]
    target = write_debian_tar(
        tmp_path_factory.mktemp("accounts") / "root.tar",
        [path for path in programs if Path(path).exists()],
        [path for path in (*modules, *PAM, "/usr/libexec/sudo", "/usr/lib/sudo")
         if Path(path).exists()],
    )  # fmt: skip
    engine.docker("import", str(target), "accounts")
    yield engine
    engine.docker("rmi", "accounts")


def run(engine: Engine, user: str, command: str, *flags: str, stdin: str = "") -> tuple[int, str]:
    """The exit code, and what it prints on success, or else all that it says.

    Without AUDIT_WRITE sudo may say that it cannot send an audit message, and goes on.
    """
    done = engine.cli(
        *("run", "--rm", "-i", "-u", user, *flags, "accounts", "sh", "-c", command),
        stdin=stdin.encode(),
    )
    return done.returncode, (
        done.stdout if not done.returncode else done.stdout + done.stderr
    ).strip()


def test_su_of_root_needs_no_password(accounts: Engine) -> None:
    assert run(accounts, "root", "/usr/bin/su user -c 'id -u; id -g'") == (0, "1000\n1000")


def test_su_with_the_password_makes_root_of_a_user(accounts: Engine) -> None:
    code, said = run(accounts, "user", "/usr/bin/su root -c 'id -u'", stdin=f"{PASSWORD}\n")
    assert (code, said) == (0, "0"), said


def test_su_with_another_password_does_not(accounts: Engine) -> None:
    code, said = run(accounts, "user", "/usr/bin/su root -c 'id -u'", stdin="wrong\n")
    assert code == 1
    assert "Authentication failure" in said


def test_su_is_powerless_without_new_privileges(accounts: Engine) -> None:
    code, said = run(accounts, "user", "/usr/bin/su root -c 'id -u'",
                     "--security-opt", "no-new-privileges", stdin=f"{PASSWORD}\n")  # fmt: skip
    assert code
    assert "0" not in said.split()


@pytest.mark.parametrize("user", ["user", "root"])
def test_sudo(accounts: Engine, user: str) -> None:
    need("/usr/bin/sudo")
    code, said = run(accounts, user, "/usr/bin/sudo sh -c 'id -u; touch /root/x; chown 5 /root/x'")
    assert (code, said) == (0, "0"), said


def test_sudo_to_another_user(accounts: Engine) -> None:
    need("/usr/bin/sudo")
    code, said = run(accounts, "user", "/usr/bin/sudo -u guest id -u")
    assert (code, said) == (0, "1001"), said


def test_sudo_asks_who_may_not(accounts: Engine) -> None:
    need("/usr/bin/sudo")
    code, said = run(accounts, "guest", "/usr/bin/sudo -n id -u")
    assert code == 1
    assert "password is required" in said


def test_sudo_is_powerless_without_new_privileges(accounts: Engine) -> None:
    need("/usr/bin/sudo")
    flags = ("--security-opt", "no-new-privileges")
    code, said = run(accounts, "user", "/usr/bin/sudo id -u", *flags)
    assert code
    assert "no new privileges" in said


@pytest.fixture(scope="module")
def pinging(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The image ``pinging``: iputils' ping and, at /raw, the same with the capability NET_RAW."""
    need("/usr/bin/ping")
    if Path("/usr/bin/ping").resolve().name == "busybox":
        pytest.skip("this machine's ping is not that of iputils")
    target = write_debian_tar(tmp_path_factory.mktemp("ping") / "root.tar", ["/usr/bin/ping"])
    content = Path("/usr/bin/ping").read_bytes()
    with tarfile.open(target, "a", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("raw")
        entry.mode, entry.size = 0o755, len(content)
        entry.pax_headers = {"SCHILY.xattr.security.capability": FILE_CAPABILITY.decode()}
        archive.addfile(entry, io.BytesIO(content))
    engine.docker("import", str(target), "pinging")
    yield engine
    engine.docker("rmi", "pinging")


FILE_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
"""struct vfs_cap_data, version 2, effective: CAP_NET_RAW. What ``setcap cap_net_raw+ep`` writes."""
ONCE = ("-c", "1", "-W", "5", "127.0.0.1")


@pytest.mark.parametrize("user", ["root", "user", "12345:6789"])
def test_ping(pinging: Engine, user: str) -> None:
    said = pinging.docker("run", "--rm", "-u", user, "pinging", "/usr/bin/ping", *ONCE)
    assert "1 received" in said


@pytest.mark.parametrize("user", ["root", "user"])
def test_ping_with_a_file_capability_wants_that_capability(pinging: Engine, user: str) -> None:
    """Debian's package gives it one. The kernel runs no such file where it cannot give it all."""
    flags = ("--cap-add", "NET_RAW", "-u", user)
    assert "1 received" in pinging.docker("run", "--rm", *flags, "pinging", "/raw", *ONCE)
    done = pinging.cli("run", "--rm", "-u", user, "pinging", "/raw", *ONCE)
    assert done.returncode
    assert "operation not permitted" in done.stderr


CONTROL = """\
Package: greeting
Version: 1.0
Architecture: all
Maintainer: tests <tests@example.com>
Description: says hello
"""
POSTINST = """\
#!/bin/sh
set -e
chown user:guest /usr/share/greeting
chmod 2750 /usr/share/greeting
"""
APT = """\
apt-get update
apt-get install -y --no-install-recommends greeting
greeting; stat -c '%a %U %G' /usr/share/greeting
apt-get purge -y greeting
test ! -e /usr/bin/greeting
"""
APT_PROGRAMS = (
    *("/usr/bin/apt-get", "/usr/bin/apt-config", "/usr/bin/dpkg", "/usr/bin/dpkg-deb"),
    *("/usr/bin/dpkg-split", "/usr/bin/dpkg-query", "/bin/tar", "/bin/rm", "/sbin/ldconfig"),
    *("/sbin/start-stop-daemon", "/usr/bin/diff", "/usr/lib/apt/methods/file"),
    *("/usr/lib/apt/methods/store", "/usr/lib/apt/methods/copy", "/usr/lib/apt/methods/gpgv"),
)


def make_repository(folder: Path) -> Path:
    """A repository of one package, greeting, with a script that changes owners."""
    tree = folder / "greeting"
    for name in ("DEBIAN", "usr/bin", "usr/share/greeting"):
        (tree / name).mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL)
    for name, text in (
        ("DEBIAN/postinst", POSTINST),
        ("usr/bin/greeting", "#!/bin/sh\necho hello\n"),
    ):
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    repository = folder / "repository"
    repository.mkdir()
    package = repository / "greeting.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True,
                   capture_output=True)  # fmt: skip
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    (repository / "Packages").write_text(
        f"{CONTROL}Filename: ./greeting.deb\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
    )
    return repository


def test_apt_get_installs_a_package(engine: Engine, tmp_path: Path) -> None:
    """It becomes ``_apt`` to fetch, dpkg sets owners, runs scripts in a chroot, syncs and locks."""
    need("/usr/bin/dpkg-deb", *APT_PROGRAMS)
    files = ACCOUNTS | {
        "var/lib/dpkg/status": (0o644, ""),
        "etc/apt/sources.list": (0o644, "deb [trusted=yes] file:/repository ./\n"),
    }
    directories = (
        *("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"),
        *("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt"),
        *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d"),
    )
    target = write_debian_tar(tmp_path / "root.tar", APT_PROGRAMS, ("/usr/share/dpkg",), files,
                              directories)  # fmt: skip
    engine.docker("import", str(target), "apt")
    volume = f"{make_repository(tmp_path)}:/repository:ro"
    done = engine.cli("run", "--rm", "--network", "none", "-v", volume, "apt", "sh", "-ec", APT)
    engine.docker("rmi", "apt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"hello", "2750 user guest"} <= set(done.stdout.splitlines()), done.stdout
