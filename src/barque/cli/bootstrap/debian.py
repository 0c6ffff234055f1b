"""A minimal Debian, installed by mmdebstrap (or debootstrap) into a tar stream."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path

from barque.cli.command import CommandError
from barque.cli.progress import fit
from barque.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_PIECE = 1 << 18
_MIRROR = "http://deb.debian.org/debian"
_SECURITY = "http://deb.debian.org/debian-security"
_FALLBACK_SUITE = "bookworm"
_ROLLING = ("sid", "unstable", "experimental", "rc-buggy")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LAST_WORDS = 15
_QUESTION_S = 30


class Debian:
    """Which Debian to install, and from where.

    ``suite`` "" is this machine's own suite if it is a Debian, else bookworm. ``mirror`` ""
    is the one that this machine's apt uses. Raises :class:`CommandError` if a tool is
    missing, saying which package has it.
    """

    def __init__(self, suite: str = "", mirror: str = "") -> None:
        if suite and not (suite[0].isalnum() and suite.replace("-", "").isalnum()):
            raise CommandError(f"{suite} is not a Debian suite such as bookworm, trixie or sid")
        if mirror and not mirror.startswith(("http://", "https://", "file:/")):
            raise CommandError(f"{mirror} is not a mirror such as http://deb.debian.org/debian")
        host = host_suite()
        self.suite = suite or host or _FALLBACK_SUITE
        known = {} if mirror else host_archives(host)
        self.mirror = mirror or known.get("", _MIRROR)
        self.security = "" if mirror else known.get("-security", _SECURITY)
        self.updates = not mirror or self.mirror == _MIRROR

    def sources(self) -> list[str]:
        """The lines of the image's sources.list."""
        lines = [f"deb {self.mirror} {self.suite} main"]
        if self.suite in _ROLLING:
            return lines
        if self.updates:
            lines.append(f"deb {self.mirror} {self.suite}-updates main")
        if self.security:
            lines.append(f"deb {self.security} {self.suite}-security main")
        return lines

    def archive(self) -> Iterator[bytes]:
        """The tar archive, as it is made; progress goes to stderr.

        Raises :class:`CommandError` with the tool's last words if it fails.
        """
        if not _KEYRING.exists():
            raise CommandError(
                f"{_KEYRING} is missing, by which packages are verified: install it with: "
                "apt-get install debian-archive-keyring"
            )
        if shutil.which("mmdebstrap"):
            return self._by_mmdebstrap()
        if shutil.which("debootstrap"):
            if os.geteuid():
                raise CommandError(
                    "debootstrap works for root only: run this as root, or install mmdebstrap "
                    "with: apt-get install mmdebstrap"
                )
            return self._by_debootstrap()
        raise CommandError(
            "neither mmdebstrap nor debootstrap is installed: install one with: "
            "apt-get install mmdebstrap"
        )

    def _by_mmdebstrap(self) -> Iterator[bytes]:
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--format=tar",
            f"--keyring={_KEYRING}",
            "--skip=output/dev",  # the engine gives every container its own /dev
            self.suite,
            "-",
            *self.sources(),
        ]
        yield from stream_output(command)

    def _by_debootstrap(self) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory(prefix="barque-debian-") as name:
            root = Path(name) / "root"
            command = ["debootstrap", "--variant=minbase", f"--keyring={_KEYRING}"]
            for _ in stream_output([*command, self.suite, str(root), self.mirror]):
                pass  # what it says on stdout is progress
            sources = "".join(f"{line}\n" for line in self.sources())
            (root / "etc/apt/sources.list").write_text(sources)
            for package in (root / "var/cache/apt/archives").glob("*.deb"):
                package.unlink()
            yield from stream_output(
                ["tar", "-C", str(root), "--numeric-owner", "--exclude=./dev/*", "-c", "."]
            )


def host_suite(os_release: Path = Path("/etc/os-release")) -> str:
    """The code name of this machine's Debian; "" if it is none."""
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        return ""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if pairs.get("ID", "").strip('"') != "debian":
        return ""
    return pairs.get("VERSION_CODENAME", "").strip('"')


def host_archives(suite: str) -> dict[str, str]:
    """URLs of this machine's Debian archives by what follows the suite: "", "-security"."""
    if not suite or shutil.which("apt-get") is None:
        return {}
    listing = _ask(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    )
    return parse_archives(listing, suite)


def parse_archives(listing: str, suite: str) -> dict[str, str]:
    """Lines ``URL RELEASE`` of apt as URLs by the release's ending after the suite."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        url, _, release = line.partition(" ")
        if release == suite or release.startswith(f"{suite}-"):
            found.setdefault(release.removeprefix(suite), url.rstrip("/"))
    return found


def _ask(command: list[str]) -> str:
    """What a query program prints; "" if it fails: there are defaults for all answers."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_QUESTION_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _environment() -> dict[str, str]:
    """Ours, in plain English, with the proxies that apt is configured to use.

    The proxies are in the environment and not in the image: they are this machine's.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    for scheme in ("http", "https"):
        if f"{scheme}_proxy" not in environment and shutil.which("apt-config"):
            said = _ask(["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"])
            proxy = said.partition("'")[2].rpartition("'")[0]
            if proxy and proxy != "DIRECT":
                environment[f"{scheme}_proxy"] = proxy
    return environment


def stream_output(command: list[str]) -> Iterator[bytes]:
    """What a program writes to stdout; what it says on stderr is shown as progress.

    Raises :class:`CommandError` with its last words if it fails. The program is ended if
    the reader gives up.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        report = _Report(process.stderr)
        sent = 0
        try:
            # read1: a piece as soon as there is one.
            while piece := process.stdout.read1(_PIECE):  # type: ignore[attr-defined]
                sent += len(piece)
                report.count(sent)
                yield piece
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
            report.close()
        if code:
            said = "\n".join(report.last)
            raise CommandError(f"{command[0]} failed with exit code {code}:\n{said}")


class _Report:
    """Shows a program's messages: on a terminal in one line that changes, else each."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.last: deque[str] = deque(maxlen=_LAST_WORDS)
        self._stream = stream
        self._terminal = sys.stderr.isatty()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            line = raw.decode("utf-8", "replace").replace("\r", "\n").strip().rpartition("\n")[2]
            if not line:
                continue
            self.last.append(line)
            self._show(line)

    def count(self, sent: int) -> None:
        """So many bytes of the archive have gone to the engine."""
        if self._terminal:
            self._show(f"sending the root file system: {human_size(sent, 3)}")

    def _show(self, line: str) -> None:
        if not self._terminal:
            sys.stderr.write(f"{line}\n")
            return
        columns = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r{fit(line, columns - 1)}\x1b[K")
        sys.stderr.flush()

    def close(self) -> None:
        """Waits for the last message and leaves the line."""
        self._thread.join(timeout=5)
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
