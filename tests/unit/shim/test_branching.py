"""Execs in whose name others speak, to the shim that makes them."""

from __future__ import annotations

import os
import signal
from typing import cast

import pytest

from barque.kernel import process as kp
from barque.kernel.seqpacket import pair, receive
from barque.runtime.status import Reporter
from barque.shim import protocol as p
from barque.shim import shim as shims
from barque.shim.shim import Shim
from barque.shim.task import KILLED, Branching, StartError
from support.children import run_in_child


def claim(reporter: Reporter, _stdio: object) -> None:
    """Say that the caller is the process, and wait to be killed."""
    reporter.branched(waits=False)
    signal.pause()


def branching(*, known: bool) -> Branching:
    return Branching(p.Streams(), lambda: kp.clone_child(0), claim, (0, 0), lambda _: known)


def test_who_is_known_is_not_taken_and_not_killed_as_the_process() -> None:
    starting = branching(known=True)
    with pytest.raises(StartError) as raised:
        starting.advance()
    assert raised.value.failure == KILLED
    assert raised.value.pidfd < 0  # nothing to kill or to reap
    assert raised.value.strays
    assert starting.pid == 0
    os.waitid(os.P_PIDFD, starting.preparer_pidfd, os.WEXITED)
    os.close(starting.preparer_pidfd)


def test_what_was_reaped_by_another_fails_all_the_same() -> None:
    starting = branching(known=False)
    assert starting.advance() is None
    pid = starting.pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    error = starting.fail(KILLED)
    assert error.pid == pid
    for fd in (error.pidfd, starting.preparer_pidfd):
        os.close(fd)


def refuse_an_exec() -> None:

    def breaks(_pid: int) -> bool:
        raise RuntimeError("unforeseen")

    starting = Branching(p.Streams(), lambda: kp.clone_child(0), claim, (0, 0), breaks)
    launch = p.Launch("c", "", "", 0, "", p.Streams(), None, [], {})
    shim = Shim(launch, b"", [], None)
    ours, theirs = pair()
    request = p.Exec(7, "e", p.Streams(), None)
    fd = starting.fileno()
    shim._starting[fd] = shims._StartingExec(starting, request, [], theirs, float("inf"))
    shim._on_exec_report(fd, 0)
    reply = cast("p.Reply", p.decode_notice(receive(ours)[0]))
    assert (reply.seq, reply.exit_code) == (7, 128)
    assert "unforeseen" in reply.error
    assert not shim._starting
    os.close(starting.preparer_pidfd)
    ours.close()
    theirs.close()
    shim._loop.close()


def test_no_report_ends_a_shim() -> None:
    """What is raised for whatever reason refuses the exec.

    The shim then ends children that it does not know: none of ours.
    """
    run_in_child(refuse_an_exec)
