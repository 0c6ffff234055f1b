"""Starting a process of a container.

The init is started by a helper that is forked for this alone. It makes the process, waits
until it has become the program, hands it over to the shim (pid, pidfd, our ends of its streams)
in one message and leaves. The process is the shim's own child (CLONE_PARENT). What is touched
on the way is the helper's memory: a shim that did it itself would keep it for the container's
whole life. An exec'ed process is made by the shim itself: ``Branching``.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple, NoReturn

import msgspec

from barque.cgroups import cgroup_version, open_cgroup
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, pair, pair_with_senders, receive, send
from barque.runtime.reports import Question, Reports
from barque.runtime.status import Failure, Reporter, Unmapped, describe
from barque.shim.protocol import Streams

START_TIMEOUT_S = 120.0
"""A start waits for disks (mounts, copying into a volume), never for another process."""

Child = Callable[[Reporter, tuple[int, int, int] | None], None]
"""What the new process runs. Gets its ends of the pipes, None with a terminal. No return."""


class StartError(Exception):
    """The process did not start; ``failure`` says where and why.

    ``pidfd`` is what was made of it, for its parent to reap, or -1, and ``pid`` whose it is, or 0
    where nobody else asks. With ``strays`` there may be
    a child that its parent does not know.
    """

    def __init__(
        self, failure: Failure, pidfd: int = -1, pid: int = 0, *, strays: bool = False
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.pidfd = pidfd
        self.pid = pid
        self.strays = strays


class Process(NamedTuple):
    """A started process and our ends of its streams.

    With a terminal ``master`` is set and the pipes are -1; without, the other way round.
    ``stdin`` is -1 where nobody can write to it.
    """

    pid: int
    warnings: list[str]
    pidfd: int
    master: int = -1
    stdout: int = -1
    stderr: int = -1
    stdin: int = -1
    between: int = 0
    """Pid of another child of the shim, to be reaped, or 0; see ``clone_inside``."""

    def descriptors(self) -> list[int]:
        """Those that are there, as ``received`` takes them."""
        return [fd for fd in self[2:-1] if fd >= 0]


class _Started(msgspec.Struct, tag="started"):
    pid: int
    warnings: list[str]
    between: int = 0


KILLED = Failure("start", 0, "the process was killed before it ran the program", 128)
"""What is said of a process that ended without a word."""

_encode = msgspec.json.Encoder().encode
_decode_outcome = msgspec.json.Decoder(_Started | Failure).decode


class Starting:
    """A process on its way to its program, as its maker sees it."""

    def __init__(
        self,
        streams: Streams,
        make: Callable[[], tuple[int, int]],
        child: Child,
        owner: tuple[int, int] = (0, 0),
        settle: Callable[[int], list[str]] | None = None,
    ) -> None:
        """``make`` forks the process, which runs ``child``: (pid, pidfd), or (0, -1) in it.

        ``owner`` gets its pipes. ``settle`` is called with its pid if it asks for its ids, and
        returns warnings. Raises OSError and KernelError if there is no such process.
        """
        kp.assert_single_thread()
        self._settle = settle
        self._pipes = None if streams.tty else make_pipes(streams, owner)
        ours, theirs = pair_with_senders()
        self._reports = Reports(ours, self._answer, terminal=streams.tty)
        # Inherited: the process is never seen by those of its PID namespace in another state.
        kp.set_dumpable(dumpable=False)
        try:
            self._pid, self._pidfd = make()
        except BaseException:
            theirs.close()
            self._close(self._pipes.child if self._pipes else ())
            raise
        if self._pid == 0:
            try:
                self._reports.close()
                child(Reporter(theirs), self._pipes.child if self._pipes else None)
            finally:
                os._exit(255)
        kp.set_dumpable(dumpable=True)
        theirs.close()
        if self._pipes:
            for fd in self._pipes.child:
                os.close(fd)

    def fileno(self) -> int:
        """The descriptor that is readable when ``advance`` has something to do."""
        return self._reports.fileno()

    @property
    def pid(self) -> int:
        """The process, or 0 where it is not known yet."""
        return self._pid

    def advance(self) -> Process | None:
        """Take the next report: the process once it has become its program, None before that.

        Raises StartError when it has failed; nothing but its pidfd is left of it then.
        """
        return None if self._reports.take() else self._finish()

    def _answer(self, question: Question) -> None:
        """Give an init in a user namespace its ids; another question ours never ask.

        Raises StartError.
        """
        if self._settle is None or not isinstance(question, Unmapped):
            text = f"the process asked for {type(question).__name__}, which is nothing for it"
            raise self.fail(Failure("start", 0, text, 128))
        try:
            self._reports.warnings += self._settle(self._pid)
        except Exception as error:  # noqa: BLE001 - reported, and the process ends
            raise self.fail(describe("user namespace", error)) from None

    def _finish(self) -> Process:
        told = self._reports
        if told.failure is None and (self._pipes is None) != (told.master >= 0):
            told.failure = KILLED
        if told.failure is not None:
            raise self.fail(told.failure)
        told.close()
        if self._pipes is None:
            return Process(self._pid, told.warnings, self._pidfd, told.master)
        _, stdin, stdout, stderr = self._pipes
        return Process(self._pid, told.warnings, self._pidfd, -1, stdout, stderr, stdin)

    def fail(self, failure: Failure) -> StartError:
        """End the process, and what we hold of it but the pidfd."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._close((self._reports.master,))
        return StartError(failure, self._pidfd, self._pid)

    def time_out(self) -> StartError:
        """As ``fail``, after START_TIMEOUT_S."""
        text = f"the process did not get to its program within {START_TIMEOUT_S:.0f} s"
        return self.fail(Failure("start", 0, text, 128))

    def _close(self, more: Iterable[int]) -> None:
        self._reports.close()
        for fd in (*(self._pipes[1:] if self._pipes else ()), *more):
            if fd >= 0:
                os.close(fd)


class Branching(Starting):
    """An exec'ed process on its way: a preparer makes it, see ``runtime.branch``.

    The preparer is to be reaped apart from the process; who does says so (``preparer_ended``).
    """

    def __init__(
        self,
        streams: Streams,
        make: Callable[[], tuple[int, int]],
        child: Child,
        owner: tuple[int, int],
        is_known: Callable[[int], bool],
    ) -> None:
        """As ``Starting``; ``make`` forks the preparer. A pid that ``is_known`` is another's."""
        super().__init__(streams, make, child, owner)
        self.preparer_pidfd = self._pidfd
        """The preparer, its parent's to be reaped and closed."""
        self._preparer_ended = False
        self._is_known = is_known
        self._pid, self._pidfd = 0, -1

    def advance(self) -> Process | None:
        """As ``Starting.advance``: with the process that was branched off."""
        if not self._reports.take():
            return self._finish()
        if self._reports.branched and not self._pid:
            self._take_branch(self._reports.branched)
        return None

    def _take_branch(self, pid: int) -> None:
        if self._is_known(pid):  # somebody else spoke in its name
            raise self.fail(KILLED)
        try:
            self._pidfd = kp.open_child(pid)
        except ChildProcessError:  # the same
            raise self.fail(KILLED) from None
        except OSError as error:  # all our descriptors are in use
            raise self.fail(describe("start", error)) from None
        self._pid = pid
        self._let_go()

    def preparer_ended(self) -> None:
        """It is no more, nor does any limit count it."""
        self._preparer_ended = True
        self._let_go()

    def _let_go(self) -> None:
        if self._preparer_ended and self._reports.waits and self._pid:
            self._reports.go()

    def _finish(self) -> Process:
        if self._reports.failure is None and not self._pid:
            self._reports.failure = KILLED
        return super()._finish()

    def fail(self, failure: Failure) -> StartError:
        """End both, and what we hold of them but pidfds."""
        if not self._preparer_ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.preparer_pidfd, signal.SIGKILL)
        if self._pid:
            return super().fail(failure)
        self._close((self._reports.master,))
        return StartError(failure, strays=True)


def follow(starting: Starting) -> Process:
    """Wait until the process has become its program. For the helper. Raises StartError."""
    poll = select.poll()
    poll.register(starting, select.POLLIN)
    process = None
    while process is None:
        if not poll.poll(1000 * START_TIMEOUT_S):
            raise starting.time_out()
        process = starting.advance()
    return process


class Pipes(NamedTuple):
    """A process's ends of its streams, and ours."""

    child: tuple[int, int, int]
    stdin: int
    stdout: int
    stderr: int


def make_pipes(streams: Streams, owner: tuple[int, int] = (0, 0)) -> Pipes:
    """Three pipes of ``owner``'s, or two and /dev/null where nobody will write."""
    if streams.open_stdin:
        child_in, stdin = os.pipe2(os.O_CLOEXEC)
    else:
        child_in, stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
    stdout, child_out = os.pipe2(os.O_CLOEXEC)
    stderr, child_err = os.pipe2(os.O_CLOEXEC)
    if owner != (0, 0):
        for fd in (stdin, stdout, stderr):
            if fd >= 0:
                os.fchown(fd, *owner)
    return Pipes((child_in, child_out, child_err), stdin, stdout, stderr)


def run_helper(
    end: Socket,
    carried: list[int],
    work: Callable[[], Process],
    afterwards: Callable[[Process], None] = lambda _: None,
) -> NoReturn:
    """Do ``work``, tell the outcome on ``end``, and on success do ``afterwards``; then leave.

    The message's descriptors are ``carried`` and then the process's: all of them when it
    started, the pidfd when it was made and failed, nothing when it was not made.
    """
    try:
        try:
            process = work()
        except StartError as error:
            made = [error.pidfd] if error.pidfd >= 0 else []
            send(end, _encode(error.failure), carried + made)
        except BaseException as error:  # noqa: BLE001 - reported to the shim
            send(end, _encode(describe("start", error)), carried)
        else:
            started = _encode(_Started(process.pid, process.warnings, process.between))
            send(end, started, carried + process.descriptors())
            afterwards(process)
    finally:
        os._exit(0)


def received(data: bytes, fds: list[int], streams: Streams) -> Process:
    """The process that a helper handed over. Raises StartError; its pidfd is the caller's."""
    if not data:
        raise StartError(Failure("start", 0, "the helper was killed", 128))
    outcome = _decode_outcome(data)
    if isinstance(outcome, Failure):
        raise StartError(outcome, fds[0] if fds else -1)
    if streams.tty:
        pidfd, master = fds
        return Process(outcome.pid, outcome.warnings, pidfd, master, between=outcome.between)
    pidfd, stdout, stderr, *stdin = fds
    return Process(
        outcome.pid,
        outcome.warnings,
        pidfd,
        stdout=stdout,
        stderr=stderr,
        stdin=stdin[0] if stdin else -1,
        between=outcome.between,
    )


def open_birthplace(cgroups_path: str, *, create: bool) -> int:
    """The group that a process is made in, or -1 where it joins by itself; see docs/adr/0012."""
    if not cgroups_path or cgroup_version() == 1:
        return -1
    cgroup = open_cgroup(cgroups_path)
    if create:
        cgroup.create()
    if not create and cgroup.children():
        return -1  # it may hold no process for them: see runtime.execs
    return cgroup.open()


class Helper(NamedTuple):
    """A forked helper at work; ``end`` becomes readable when it has something to tell.

    ``pidfd`` becomes readable when it has ended, which takes longer than what it does.
    """

    pidfd: int
    end: Socket
    pid: int

    def take(self) -> tuple[bytes, list[int]]:
        """Wait for the last message, of which the descriptors are ours."""
        message = receive(self.end)
        self.end.close()
        return message


def fork_helper(program: Callable[[Socket], NoReturn]) -> Helper:
    """Fork a helper that runs ``program``."""
    ours, theirs = pair()
    pid = kp.fork()
    if pid == 0:
        try:
            ours.close()
            program(theirs)
        finally:
            os._exit(255)
    theirs.close()
    return Helper(os.pidfd_open(pid), ours, pid)


def children() -> set[int]:
    """The pids of the caller's children, also of those that have ended."""
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return {int(word) for word in file.read().split()}


def exit_status(pidfd: int) -> int:
    """Reap the ended process: its code, or 128 and the signal that killed it."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if result is None:
        raise ChildProcessError
    if result.si_code == os.CLD_EXITED:
        return result.si_status
    return 128 + result.si_status
