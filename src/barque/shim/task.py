"""Starting a process of a container, in a helper that is forked for this alone.

The helper makes the process, waits until it has become the program, hands it over to the shim
(pid, pidfd, our ends of its streams) in one message and leaves. The process is the shim's own
child (CLONE_PARENT). What is touched on the way is the helper's memory: a shim that did it
itself would keep it for the container's whole life.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import msgspec

from barque.cgroups import cgroup_version, open_cgroup
from barque.kernel import process as kp
from barque.kernel.seqpacket import Socket, pair, receive, send
from barque.runtime.status import Failure, Message, Pty, Reporter, Warning_, decode, describe
from barque.shim.protocol import Streams

_START_TIMEOUT_MS = 120_000
"""A start waits for disks (mounts, copying into a volume), never for another process."""

Child = Callable[[Reporter, tuple[int, int, int] | None], None]
"""What the new process runs. Gets its ends of the pipes, None with a terminal. No return."""


class StartError(Exception):
    """The process did not start; ``failure`` says where and why.

    ``pidfd`` is what was made of it, for its parent to reap, or -1.
    """

    def __init__(self, failure: Failure, pidfd: int = -1) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.pidfd = pidfd


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

    def descriptors(self) -> list[int]:
        """Those that are there, as ``received`` takes them."""
        return [fd for fd in self[2:] if fd >= 0]


class _Started(msgspec.Struct, tag="started"):
    pid: int
    warnings: list[str]


_encode = msgspec.json.Encoder().encode
_decode_outcome = msgspec.json.Decoder(_Started | Failure).decode


def start(
    streams: Streams, clone_flags: int, pid_namespace: int, cgroup: int, child: Child
) -> Process:
    """Make the process; returns when it has become its program. For the helper.

    ``pid_namespace`` is a descriptor (namespace or pidfd) to be born into, or -1; so is
    ``cgroup``, of a version 2 group, which is closed here. Raises StartError when the program
    did not start.
    """
    kp.assert_single_thread()
    # Inherited: the process is never seen by those of its PID namespace in another state.
    kp.set_dumpable(dumpable=False)
    pipes = None if streams.tty else _make_pipes(streams)
    ours, theirs = pair()
    if pid_namespace >= 0:
        kp.setns(pid_namespace, kp.CLONE_NEWPID)
    pid, pidfd = kp.clone_sibling(clone_flags, cgroup)
    if cgroup >= 0:
        os.close(cgroup)
    if pid == 0:
        try:
            ours.close()
            child(Reporter(theirs), pipes.child if pipes else None)
        finally:
            os._exit(255)
    theirs.close()
    if pipes:
        for fd in pipes.child:
            os.close(fd)
    try:
        master, warnings = _follow(ours, with_terminal=streams.tty)
    except StartError as error:
        error.pidfd = pidfd
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        raise
    if pipes is None:
        return Process(pid, warnings, pidfd, master)
    return Process(pid, warnings, pidfd, -1, pipes.stdout, pipes.stderr, pipes.stdin)


def _follow(status: Socket, *, with_terminal: bool) -> tuple[int, list[str]]:
    """Follow the child's reports to execve: the terminal's master (or -1) and warnings.

    Raises StartError when it fails, dies or takes too long on the way.
    """
    master, warnings = -1, []
    failure: Failure | None = None
    while message := _next_message(status):
        match message[0]:
            case Pty():
                master = message[1][0]
            case Warning_(message=text):
                warnings.append(text)
            case Failure() as failed:
                failure = failed
    if failure is None and with_terminal and master < 0:
        failure = Failure("start", 0, "the process was killed before it ran the program", 128)
    if failure is not None:
        raise StartError(failure)
    return master, warnings


class _Pipes(NamedTuple):
    child: tuple[int, int, int]
    stdin: int
    stdout: int
    stderr: int


def _make_pipes(streams: Streams) -> _Pipes:
    """Three pipes, or two and /dev/null where nobody will write."""
    if streams.open_stdin:
        child_in, stdin = os.pipe2(os.O_CLOEXEC)
    else:
        child_in, stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
    stdout, child_out = os.pipe2(os.O_CLOEXEC)
    stderr, child_err = os.pipe2(os.O_CLOEXEC)
    return _Pipes((child_in, child_out, child_err), stdin, stdout, stderr)


def _next_message(end: Socket) -> tuple[Message, list[int]] | None:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    if not poll.poll(_START_TIMEOUT_MS):
        waited_s = _START_TIMEOUT_MS // 1000
        text = f"the process did not get to its program within {waited_s} s"
        raise StartError(Failure("start", 0, text, 128))
    data, fds = receive(end)
    return (decode(data), fds) if data else None


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
            started = _encode(_Started(process.pid, process.warnings))
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
        return Process(outcome.pid, outcome.warnings, *fds)
    pidfd, *pipes = fds
    return Process(outcome.pid, outcome.warnings, pidfd, -1, *pipes)


def open_birthplace(cgroups_path: str, *, create: bool) -> int:
    """The group that a process is made in, or -1 where it joins by itself; see docs/adr/0012."""
    if not cgroups_path or cgroup_version() == 1:
        return -1
    cgroup = open_cgroup(cgroups_path)
    if create:
        cgroup.create()
    return cgroup.open()


class Helper(NamedTuple):
    """A forked helper at work; ``end`` becomes readable when it has something to tell."""

    pid: int
    end: Socket

    def take(self) -> tuple[bytes, list[int]]:
        """Wait for the message, of which the descriptors are ours, and for the helper's end."""
        message = receive(self.end)
        self.end.close()
        os.waitpid(self.pid, 0)
        return message


def fork_helper(program: Callable[[Socket], NoReturn], borrowed: list[int]) -> Helper:
    """Fork a helper that runs ``program``.

    ``borrowed`` are descriptors that only the helper uses; they are closed here.
    """
    ours, theirs = pair()
    helper = os.fork()
    if helper == 0:
        try:
            ours.close()
            program(theirs)
        finally:
            os._exit(255)
    theirs.close()
    for fd in borrowed:
        os.close(fd)
    return Helper(helper, ours)


def exit_status(pidfd: int) -> int:
    """Reap the ended process: its code, or 128 and the signal that killed it."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if result is None:
        raise ChildProcessError
    if result.si_code == os.CLD_EXITED:
        return result.si_status
    return 128 + result.si_status
