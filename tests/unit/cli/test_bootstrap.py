from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from barque.cli.bootstrap.busybox import build_archive, is_static
from barque.cli.bootstrap.debian import Debian, host_suite, parse_archives, stream_output
from barque.cli.command import CommandError


def test_busybox_archive() -> None:
    archive = build_archive(b"\x7fELF", ["sh", "ls", "busybox", "["])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: member for member in tar}
    assert members["bin/busybox"].size == 4
    assert members["bin/busybox"].mode == 0o755
    assert members["bin/sh"].islnk()
    assert members["bin/sh"].linkname == "bin/busybox"
    assert members["tmp"].mode == 0o1777
    assert members["root"].mode == 0o700
    assert {"etc/passwd", "etc/group", "bin/[", "usr/bin/env", "proc", "sys", "dev"} <= set(members)
    assert list(members).index("bin/busybox") < list(members).index("bin/sh")


def test_busybox_archive_is_the_same_every_time() -> None:
    assert build_archive(b"x", ["a", "b"]) == build_archive(b"x", ["b", "a"])


def test_is_static(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert not is_static(script)
    assert not is_static(Path("/bin/ls").resolve())


ARCHIVES = """\
http://deb.debian.org/debian/ bookworm
http://deb.debian.org/debian/ bookworm-updates
http://security.debian.org/debian-security/ bookworm-security
https://example.org/other nodistro
"""


def test_the_mirror_is_the_machines() -> None:
    assert parse_archives(ARCHIVES, "bookworm") == {
        "": "http://deb.debian.org/debian",
        "-updates": "http://deb.debian.org/debian",
        "-security": "http://security.debian.org/debian-security",
    }
    assert parse_archives(ARCHIVES, "trixie") == {}


def test_host_suite(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    assert host_suite(file) == "trixie"
    file.write_text("ID=ubuntu\nVERSION_CODENAME=noble\n")
    assert host_suite(file) == ""
    assert host_suite(tmp_path / "none") == ""


def test_sources() -> None:
    debian = Debian("sid", "http://mirror/debian")
    assert debian.sources() == ["deb http://mirror/debian sid main"]
    debian = Debian("trixie", "http://mirror/debian")
    assert debian.sources() == ["deb http://mirror/debian trixie main"]
    debian = Debian("bookworm")
    assert [line.split()[2] for line in debian.sources()] == [
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]


@pytest.mark.parametrize("suite", ["../x", "a b", "--help"])
def test_what_is_no_suite_is_refused(suite: str) -> None:
    with pytest.raises(CommandError, match="not a Debian suite"):
        Debian(suite, "http://mirror")


def test_output_is_streamed_and_failure_tells_the_last_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert b"".join(stream_output(["sh", "-c", "printf abc; echo working >&2"])) == b"abc"
    assert "working" in capfd.readouterr().err
    with pytest.raises(CommandError, match=r"sh failed with exit code 3:\nno such suite"):
        list(stream_output(["sh", "-c", "echo no such suite >&2; exit 3"]))
