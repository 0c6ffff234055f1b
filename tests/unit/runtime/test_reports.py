"""Reports of a process in whose name others speak."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from barque.errors import BarqueError
from barque.kernel import seqpacket
from barque.kernel.seqpacket import Socket, pair_with_senders, send
from barque.runtime.reports import Question, Reports
from barque.runtime.status import Created, Failure, Reporter

PTY = b'{"type":"pty"}'
WARNING = b'{"type":"warning","message":"x"}'

needs_passrights = pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 16),
    reason="needs SO_PASSRIGHTS (Linux 6.16)",
)


class Ends:
    """Both ends, and what was asked."""

    def __init__(self, *, terminal: bool) -> None:
        ours, self.theirs = pair_with_senders(descriptors=terminal)
        self.asked: list[Question] = []
        self.reports = Reports(ours, self.asked.append, terminal=terminal)
        self.reporter = Reporter(self.theirs)

    def close(self) -> None:
        self.reports.close()
        self.theirs.close()


@contextmanager
def counted(*, terminal: bool) -> Iterator[Ends]:
    """Both ends; no descriptor is left of them."""
    before = len(os.listdir("/proc/self/fd"))
    made = Ends(terminal=terminal)
    yield made
    made.close()
    if made.reports.master >= 0:
        os.close(made.reports.master)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def ends() -> Iterator[Ends]:
    with counted(terminal=False) as made:
        yield made


@pytest.fixture
def awaiting() -> Iterator[Ends]:
    """Ends of a process that makes a terminal."""
    with counted(terminal=True) as made:
        yield made


def send_with_descriptor(end: Socket, data: bytes) -> None:
    reads, writes = os.pipe()
    try:
        send(end, data, (reads, writes))
    finally:
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
def test_what_is_no_report_ends_it(awaiting: Ends, data: bytes) -> None:
    send_with_descriptor(awaiting.theirs, data)
    assert not awaiting.reports.take()
    assert awaiting.reports.failure is not None


@pytest.mark.parametrize("data", [b'{"type":"pty"}', b'{"type":"branched","waits":false}'])
def test_who_has_branched_off_has_no_terminal_and_no_branch(ends: Ends, data: bytes) -> None:
    ends.reporter.branched(waits=False)
    assert ends.reports.take()
    os.write(ends.theirs.fileno(), data)
    assert not ends.reports.take()
    assert ends.reports.failure is not None
    assert ends.reports.master < 0


def test_one_terminal_is_kept(awaiting: Ends) -> None:
    send_with_descriptor(awaiting.theirs, PTY)
    assert awaiting.reports.take()
    assert awaiting.reports.master >= 0
    os.write(awaiting.theirs.fileno(), PTY)
    assert not awaiting.reports.take()


def test_a_terminal_that_does_not_come_along_ends_it(awaiting: Ends) -> None:
    os.write(awaiting.theirs.fileno(), PTY)
    assert not awaiting.reports.take()


def test_who_hands_over_a_terminal_waits_until_it_was_taken(awaiting: Ends) -> None:
    pid = os.fork()
    if pid == 0:
        awaiting.reports.close()
        awaiting.reporter.pty(0)
        os._exit(7)
    assert awaiting.reports.take()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_descriptors_beside_a_terminal_are_closed(awaiting: Ends) -> None:
    """The fixture counts."""
    for _ in range(20):
        send_with_descriptor(awaiting.theirs, WARNING)
        assert awaiting.reports.take()


@needs_passrights
def test_nobody_sends_a_descriptor_where_none_is_awaited(ends: Ends) -> None:
    with pytest.raises(PermissionError):
        send_with_descriptor(ends.theirs, WARNING)
    ends.reporter.warn("x")
    assert ends.reports.take()


@needs_passrights
def test_nobody_sends_a_descriptor_after_the_terminal(awaiting: Ends) -> None:
    send_with_descriptor(awaiting.theirs, PTY)
    assert awaiting.reports.take()
    with pytest.raises(PermissionError):
        send_with_descriptor(awaiting.theirs, WARNING)


def test_descriptors_that_could_be_sent_are_not_received(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Linux 6.16. The fixture counts, too."""
    ends.reports.close()
    monkeypatch.setattr(seqpacket, "refuse_descriptors", lambda _: None)
    older = Ends(terminal=False)
    send_with_descriptor(older.theirs, WARNING)
    data, fds, sender = seqpacket.receive_from(older.reports._end, descriptors=False)
    assert (data, fds, sender) == (WARNING, [], os.getpid())
    older.close()


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


def test_descriptors_are_closed_with_the_end(awaiting: Ends) -> None:
    """The fixture counts."""
    send_with_descriptor(awaiting.theirs, b"")
    assert not awaiting.reports.take()


def test_who_has_died_needs_no_answer(ends: Ends) -> None:
    ends.theirs.close()
    ends.reports.go()
    assert not ends.reports.take()
