"""Reports of a process in whose name others speak."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from barque.errors import BarqueError
from barque.kernel.seqpacket import Socket, pair_with_senders, send
from barque.runtime.reports import Question, Reports
from barque.runtime.status import Created, Failure, Reporter


class Ends:
    """Both ends, and what was asked."""

    def __init__(self, *, terminal: bool = True) -> None:
        ours, self.theirs = pair_with_senders()
        self.asked: list[Question] = []
        self.reports = Reports(ours, self.asked.append, terminal=terminal)
        self.reporter = Reporter(self.theirs)

    def close(self) -> None:
        self.reports.close()
        self.theirs.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    before = len(os.listdir("/proc/self/fd"))
    made = Ends()
    yield made
    made.close()
    if made.reports.master >= 0:
        os.close(made.reports.master)
    assert len(os.listdir("/proc/self/fd")) == before


def send_with_descriptor(end: Socket, data: bytes) -> None:
    """Where the kernel refuses the descriptor, the message goes without."""
    reads, writes = os.pipe()
    try:
        send(end, data, (reads, writes))
    except PermissionError:
        os.write(end.fileno(), data)
    os.close(reads)
    os.close(writes)


def fork_who_waits(ends: Ends) -> int:
    """Fork who branches off and ends with 7 when that was answered."""
    pid = os.fork()
    if pid == 0:
        ends.reports.close()
        ends.reporter.branched(waits=True)
        os._exit(7)
    assert ends.reports.take()
    return pid


def test_the_kernel_says_who_branched_off(ends: Ends) -> None:
    pid = os.fork()
    if pid == 0:
        ends.reporter.branched(waits=False)
        os._exit(0)
    os.waitpid(pid, 0)
    assert ends.reports.take()
    assert ends.reports.branched == pid
    assert not ends.reports.waits


def test_what_waits_is_answered_when_it_is_let_go(ends: Ends) -> None:
    pid = fork_who_waits(ends)
    assert ends.reports.waits
    ends.reports.go()
    assert not ends.reports.waits
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_what_waits_leaves_when_nobody_answers(ends: Ends) -> None:
    pid = fork_who_waits(ends)
    ends.reports.close()
    assert not ends.reports.waits
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"{}",
        b'{"type":"branched"}',
        b'{"type":"nonsense"}',
        b"[" * 5000,
        b"[" * 60000,
        b"\xff",
    ],
)
def test_what_is_no_report_ends_it(ends: Ends, data: bytes) -> None:
    send_with_descriptor(ends.theirs, data)
    assert not ends.reports.take()
    assert ends.reports.failure is not None


@pytest.mark.parametrize("data", [b'{"type":"pty"}', b'{"type":"branched","waits":false}'])
def test_who_has_branched_off_has_no_terminal_and_no_branch(ends: Ends, data: bytes) -> None:
    ends.reporter.branched(waits=False)
    assert ends.reports.take()
    send_with_descriptor(ends.theirs, data)
    assert not ends.reports.take()
    assert ends.reports.failure is not None
    assert ends.reports.master < 0


def test_one_terminal_is_kept(ends: Ends) -> None:
    for _ in range(2):
        send_with_descriptor(ends.theirs, b'{"type":"pty"}')
    assert ends.reports.take()
    assert ends.reports.master >= 0
    assert not ends.reports.take()


def test_without_a_terminal_no_descriptor_is_taken() -> None:
    before = len(os.listdir("/proc/self/fd"))
    ends = Ends(terminal=False)
    send_with_descriptor(ends.theirs, b'{"type":"warning","message":"x"}')
    assert ends.reports.take(), "it is heard all the same"
    send_with_descriptor(ends.theirs, b'{"type":"pty"}')
    assert not ends.reports.take()
    assert ends.reports.failure is not None
    assert ends.reports.master < 0
    ends.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (6, 16), reason="needs Linux 6.16"
)
def test_the_kernel_refuses_descriptors_that_nobody_wants() -> None:
    ends = Ends(terminal=False)
    with pytest.raises(PermissionError):
        send(ends.theirs, b"x", (0,))
    ends.close()


def test_a_terminal_that_does_not_come_along_ends_it(ends: Ends) -> None:
    os.write(ends.theirs.fileno(), b'{"type":"pty"}')
    assert not ends.reports.take()


def test_descriptors_that_nobody_wants_are_closed(ends: Ends) -> None:
    """The fixture counts."""
    for _ in range(20):
        send_with_descriptor(ends.theirs, b'{"type":"warning","message":"x"}')
        assert ends.reports.take()


def test_there_is_an_end_to_what_can_be_said(ends: Ends) -> None:
    taken = 0
    ends.reporter.warn("x")
    while ends.reports.take():
        taken += 1
        ends.reporter.warn("x")
    assert taken < 1000
    assert ends.reports.failure is not None


def test_questions_are_answered(ends: Ends) -> None:
    pid = os.fork()
    if pid == 0:
        ends.reports.close()
        ends.reporter.ask(Created())
        os._exit(7)
    assert ends.reports.take()
    assert ends.asked == [Created()]
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_failures_and_ends(ends: Ends) -> None:
    pid = os.fork()
    if pid == 0:
        ends.reporter.stage = "limits"
        ends.reporter.fail(BarqueError("too many"))
    os.waitpid(pid, 0)
    assert not ends.reports.take()
    assert ends.reports.failure == Failure("limits", 22, "too many")


def test_what_is_told_is_bounded(ends: Ends) -> None:
    for _ in range(100):
        ends.reporter.warn("\1" * 5000)
        assert ends.reports.take()
    assert len(str(ends.reports.warnings)) < 65536
    forged = b'{"type":"failure","stage":"x","errno":%d,"exit_code":0,"message":"%s"}'
    os.write(ends.theirs.fileno(), forged % (2**70, b"m" * 60000))
    assert not ends.reports.take()
    assert ends.reports.failure == Failure("x", 0, "m" * 4096, 128)


def test_descriptors_are_closed_with_the_end(ends: Ends) -> None:
    """The fixture counts."""
    send_with_descriptor(ends.theirs, b"")
    assert not ends.reports.take()


def test_who_has_died_needs_no_answer(ends: Ends) -> None:
    ends.theirs.close()
    ends.reports.go()
    assert not ends.reports.take()
