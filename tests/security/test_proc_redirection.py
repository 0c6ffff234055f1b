"""Writes to procfs that something else is put in the way of: labels, sysctls.

This machine need not have AppArmor or SELinux: what is looked at is where the write lands. A
container puts the decoys there by a volume over /proc, by links in an image, or by a mount on a
file of a procfs that it can reach; here they are made directly, in a mount namespace of the test.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from barque.errors import FailedPrecondition, KernelError
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.kernel.procfs import write_proc
from barque.runtime.attributes import Attributes

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="mounts: needs root")

LABELS = {
    "selinux": (Attributes(selinux_label="label"), "attr/exec"),
    "apparmor": (Attributes(apparmor_profile="profile"), "attr/apparmor/exec"),
}


REFUSED = "(?i)invalid argument|no such file|permission denied"


def apart(body: Callable[[], None]) -> None:
    """Run ``body`` in a process with a mount namespace of its own; fail with what it raises."""
    report, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kp.unshare(kp.CLONE_NEWNS)
            km.mount("", "/", "", km.MS_SLAVE | km.MS_REC, "")
            body()
        except BaseException:  # noqa: BLE001 - shown by the parent
            os.write(tell, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(report) as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert said == ""


def decoy(directory: Path) -> Path:
    """A tree like procfs, whose files take what is written; its place of the label."""
    for name in ("attr/exec", "attr/apparmor/exec", "sys/kernel/domainname"):
        for top in (directory, directory / "thread-self"):
            file = top / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
    return directory


def written(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob("*") if path.is_file() and path.read_text()]


@pytest.mark.parametrize("name", LABELS)
def test_a_label_is_not_written_to_what_covers_proc(tmp_path: Path, name: str) -> None:
    """CVE-2019-16884: a volume at /proc. Ours is another mount, so the kernel has the label."""
    attributes, _ = LABELS[name]
    fake = decoy(tmp_path / "fake")

    def body() -> None:
        os.system(f"mount --bind {fake} /proc")
        assert Path("/proc/thread-self/attr/exec").is_file()
        with pytest.raises((OSError, KernelError), match=REFUSED):  # by a kernel without that LSM
            attributes.apply_labels(km.new_filesystem("proc"))

    apart(body)
    assert written(fake) == []


@pytest.mark.parametrize("name", LABELS)
def test_what_is_no_procfs_is_not_written(tmp_path: Path, name: str) -> None:
    attributes, _ = LABELS[name]
    fake = decoy(tmp_path / "fake")
    fd = os.open(fake, os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(FailedPrecondition, match="no file of procfs"):
        attributes.apply_labels(fd)
    os.close(fd)
    assert written(fake) == []


@pytest.mark.parametrize("target", ["/proc/sys/vm/swappiness", "decoy"])
def test_a_mount_upon_the_file_is_not_written(tmp_path: Path, target: str) -> None:
    """CVE-2025-52881: the write is led to another file, of procfs as well, that matters more."""
    fake = tmp_path / "decoy"
    fake.write_text("")
    before = Path("/proc/sys/vm/swappiness").read_text()

    def body() -> None:
        os.mkdir(tmp_path / "proc")
        os.system(f"mount -t proc proc {tmp_path}/proc")
        source = fake if target == "decoy" else target
        for name in ("sys/kernel/domainname", f"{os.getpid()}/task/{os.getpid()}/attr/exec"):
            assert os.system(f"mount --bind {source} {tmp_path}/proc/{name}") == 0
        proc = os.open(tmp_path / "proc", os.O_RDONLY | os.O_DIRECTORY)
        for path in ("sys/kernel/domainname", "thread-self/attr/exec"):
            with pytest.raises(KernelError) as refused:
                write_proc(proc, path, "1")
            assert refused.value.errno == errno.EXDEV
            with open(os.open(path, os.O_WRONLY, dir_fd=proc), "w", encoding="ascii") as file:
                file.write(before)  # as any other program would: it reaches the other file

    apart(body)
    assert Path("/proc/sys/vm/swappiness").read_text() == before
    assert fake.read_text() == ("" if target != "decoy" else before)


@pytest.mark.parametrize("path", ["self/fd/{}", "self/cwd/file", "../file", "/etc/file"])
def test_magic_links_lead_nowhere(tmp_path: Path, path: str) -> None:
    """``/proc/self/attr`` as a link to a descriptor of the host's, and other ways out."""
    victim = tmp_path / "file"
    victim.write_text("untouched")

    def body() -> None:
        os.chdir(tmp_path)
        fd = os.open(victim, os.O_RDONLY)
        with pytest.raises(KernelError) as refused:
            write_proc(km.new_filesystem("proc"), path.format(fd), "x")
        assert refused.value.errno in {errno.ELOOP, errno.EXDEV, errno.ENOENT}

    apart(body)
    assert victim.read_text() == "untouched"


def test_what_is_ours_is_written() -> None:
    """The twin: the comm of the calling thread, by the same way as its label."""

    def body() -> None:
        proc = km.new_filesystem("proc")
        write_proc(proc, "thread-self/comm", "written")
        assert Path("/proc/self/comm").read_text() == "written\n"

    apart(body)
