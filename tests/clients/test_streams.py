"""Bytes through a container: all of them, and nobody held up by somebody who does not read."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time

from support.engine import Engine
from support.waiting import wait_until

BLOCK = bytes(range(256)) * 4096
BLOCKS = 1_000_000_000 // len(BLOCK) + 1


def test_a_gigabyte_arrives_intact(barqued: Engine) -> None:
    sent, received = hashlib.sha256(), hashlib.sha256()
    with subprocess.Popen(
        ["docker", "run", "-i", "--rm", "busybox", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=barqued.client_environment(),
        bufsize=0,
    ) as process:
        assert process.stdin
        assert process.stdout

        def write() -> None:
            assert process.stdin
            for number in range(BLOCKS):
                block = number.to_bytes(8, "big") + BLOCK[8:]
                sent.update(block)
                view = memoryview(block)
                while view:
                    view = view[process.stdin.write(view) :]
            process.stdin.close()

        writer = threading.Thread(target=write)
        writer.start()
        while data := process.stdout.read(1 << 20):
            received.update(data)
        writer.join()
        assert process.wait(15) == 0
    assert received.digest() == sent.digest()


def test_who_does_not_read_holds_up_nobody(barqued: Engine) -> None:
    with subprocess.Popen(
        ["docker", "run", "--name", "c1", "busybox", "head", "-c", "50000000", "/dev/zero"],
        stdout=subprocess.PIPE,
        env=barqued.client_environment(),
    ) as lazy:
        try:
            wait_until(
                lambda: (
                    barqued.cli("inspect", "-f", "{{.State.Status}}", "c1").stdout == "exited\n"
                ),
                "the container exits though its client reads nothing",
            )
        finally:
            lazy.kill()
    barqued.remove_containers()


def test_logs_are_followed_to_the_end(engine: Engine) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; sleep .3; echo end"
    engine.docker("run", "-d", "--name", "c1", "busybox", "sh", "-c", script)
    followed = engine.docker("logs", "-f", "c1").split()
    assert followed == [*map(str, range(2000)), "end"]


def test_a_follower_that_leaves_is_forgotten(barqued: Engine) -> None:
    barqued.docker("run", "-d", "--name", "c1", "busybox", "sh", "-c", "while :; do echo x; done")
    with subprocess.Popen(
        ["docker", "logs", "-f", "c1"], stdout=subprocess.PIPE, env=barqued.client_environment()
    ) as follower:
        assert follower.stdout
        assert follower.stdout.read(2) == b"x\n", "it follows"
        follower.kill()
    begin = time.monotonic()
    barqued.docker("rm", "-f", "c1")
    assert time.monotonic() - begin < 10
