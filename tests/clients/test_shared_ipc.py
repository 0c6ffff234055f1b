"""Containers that share the IPC namespace and /dev/shm of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine
from support.waiting import wait_until

READY = "touch /dev/ready; exec sleep 1000"


@pytest.fixture
def barque(barqued: Engine) -> Iterator[Engine]:
    yield barqued
    barqued.remove_containers()


def donate(engine: Engine, script: str = "", *options: str) -> str:
    id_ = engine.docker(
        "run", "-d", "--ipc", "shareable", *options, "busybox", "sh", "-c", f"{script}{READY}"
    )
    wait_until(lambda: engine.cli("exec", id_, "ls", "/dev/ready").returncode == 0, "it is ready")
    return id_


def test_both_see_what_the_other_writes(barque: Engine) -> None:
    donor = donate(barque, "echo one > /dev/shm/a; ", "--shm-size", "2m")
    joint = ("run", "-d", "--ipc", f"container:{donor}", "busybox", "sleep", "1000")
    guest = barque.docker(*joint)
    assert barque.docker("exec", guest, "cat", "/dev/shm/a") == "one"
    barque.docker("exec", guest, "sh", "-c", "echo two > /dev/shm/b")
    assert barque.docker("exec", donor, "cat", "/dev/shm/b") == "two"
    (mount,) = barque.docker("exec", guest, "grep", " /dev/shm ", "/proc/mounts").splitlines()
    assert {"nosuid", "nodev", "noexec", "size=2048k"} <= set(mount.split()[3].split(","))
    namespaces = [
        barque.docker("exec", id_, "readlink", "/proc/self/ns/ipc") for id_ in (donor, guest)
    ]
    assert namespaces[0] == namespaces[1]
    assert str(barque.root) not in Path("/proc/self/mountinfo").read_text()
    barque.docker("rm", "-f", donor)
    assert barque.docker("exec", guest, "cat", "/dev/shm/a") == "one", "it goes with the last"
    again = barque.cli("restart", "-t", "0", guest)
    assert "No such container" in again.stderr


def test_only_who_shares_is_joined(barque: Engine) -> None:
    private = barque.docker("run", "-d", "busybox", "sleep", "1000")
    refused = barque.cli("run", "--rm", "--ipc", f"container:{private}", "busybox", "true")
    assert "non-shareable IPC (hint: use IpcMode:shareable" in refused.stderr
    donor = donate(barque)
    barque.docker("stop", "-t", "0", donor)
    refused = barque.cli("run", "--rm", "--ipc", f"container:{donor}", "busybox", "true")
    assert "cannot join ipc namespace of a non running container" in refused.stderr


@pytest.mark.parametrize(
    "instead",
    [
        "rmdir /dev/shm; ln -s /etc /dev/shm; ",
        "rmdir /dev/shm; ln -s / /dev/shm; ",
        "mount -t proc proc /dev/shm; ",
        "rmdir /dev/shm; ",
    ],
)
def test_a_donor_cannot_lead_elsewhere(barque: Engine, instead: str) -> None:
    donor = donate(barque, f"umount /dev/shm; {instead}", "--privileged")
    guest = ("run", "--rm", "--ipc", f"container:{donor}", "busybox", "ls", "/dev/shm")
    done = barque.cli(*guest)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "unable to start container process" in done.stderr
