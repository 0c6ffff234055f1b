"""The shim: a container's parent for as long as it runs.

It holds the streams, writes the log, makes exec'ed processes, passes signals on, and records
the exit. It needs no engine: engines come and go on its socket.

The life of a shim::

    forked by the spawner, waiting ─► a helper binds the socket and clones the init
        ─► Started (the helper says it) | StartFailed ─► asleep until anything happens
        ─► serve until the init ends ─► drain, log, remove the cgroup
        ─► exit record on disk ─► Exited ─► last clients served ─► gone
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, NoReturn

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import BarqueError, KernelError
from barque.kernel import process as kp
from barque.kernel.seqpacket import (
    MSG_DONTWAIT,
    Socket,
    accept,
    from_fd,
    listen,
    new,
    receive,
    send,
)
from barque.models.launch import ContainerLaunch, ExecLaunch, ExitRecord
from barque.runtime.execs import ExecIo, run_exec
from barque.runtime.init import InitIo, run_init
from barque.runtime.status import Reporter, describe
from barque.shim import protocol as p
from barque.shim.clients import Client
from barque.shim.external import (
    ExternalExec,
    delete,
    exec_external,
    reap_strays,
    start_external,
    watch_children,
)
from barque.shim.logfile import LogFile, timestamp
from barque.shim.loop import Loop
from barque.shim.mapped import is_mapped, start_mapped
from barque.shim.streams import ProcessStreams
from barque.shim.task import (
    START_TIMEOUT_S,
    Branching,
    Helper,
    Process,
    StartError,
    Starting,
    children,
    exit_status,
    follow,
    fork_helper,
    open_birthplace,
    received,
    run_helper,
)

_ACK_TIMEOUT_S = 1.0
_KILL_TIMEOUT_S = 2.0
_TICK_S = 1.0
_IN_ADVANCE = kp.CLONE_NEWUTS | kp.CLONE_NEWIPC | kp.CLONE_NEWNET

_decode_container = msgspec.json.Decoder(ContainerLaunch).decode
_decode_exec = msgspec.json.Decoder(ExecLaunch).decode


class _Exec:
    """An exec'ed process. ``pidfd`` is -1 once it has ended."""

    def __init__(self, process: Process, streams: ProcessStreams) -> None:
        self.pid = process.pid
        self.pidfd = process.pidfd
        self.streams = streams
        self.exit_code: int | None = None
        self.ended_at = 0.0
        self.acknowledged = False


class _StartingExec(NamedTuple):
    """An exec on its way, and whom to tell. ``deadline`` is monotonic seconds."""

    starting: Branching | ExternalExec
    request: p.Exec
    clients: list[int]
    engine: Socket
    deadline: float

    def advance(self) -> Process | None:
        """As ``starting.advance``, before the deadline. Raises StartError.

        And nothing else: a shim never ends because of a message.
        """
        try:
            return self._advance()
        except StartError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a report may do
            failure = describe("start", error)
            if isinstance(self.starting, Branching):
                raise self.starting.fail(failure) from None
            raise StartError(failure) from None

    def _advance(self) -> Process | None:
        if time.monotonic() > self.deadline:
            raise self.starting.time_out()
        return self.starting.advance()


def main(end: Socket, title: kp.Title) -> NoReturn:
    """The forked shim's program: wait for a container on ``end``, and be its parent. No return.

    A helper, which waits as well, takes the Launch and starts the container. Then, until
    something happens (output, an exit, a request, a client that types), only this much of the
    shim is ever run: what is not run is not written to, and stays shared with all other shims.
    """
    code = 1
    try:
        os.setsid()
        title.set("barque-shim")
        helper = fork_helper(lambda out: _start_container(end, out))
        end.close()
        data, locks = receive(helper.end)
        id_, _, launch = data.partition(b"\n")
        if id_.endswith(p.EXTERNAL):
            kp.become_subreaper()
            helper.end.send(b"go")  # and not before: what its runtime leaves is ours
        if locks:  # and held for as long as we live; see protocol.Launch
            title.set(f"barque-shim {id_.removesuffix(p.EXTERNAL).decode()}")
            outcome, kept = helper.take()
            reaped = _sleep(helper.pidfd, kept)
            Shim(p.decode_launch(launch), outcome, kept, None if reaped else helper).run()
        code = 0
    finally:
        os._exit(code)


def _sleep(helper: int, fds: list[int]) -> bool:
    """Sleep until one of ``fds`` is ready, and reap the helper, a pidfd, on the way.

    It takes a while to end, and a container may be faster: then False is returned, for the
    reaping to be done later.
    """
    if not fds:
        return False
    poll = select.poll()
    for fd in (helper, *fds):
        poll.register(fd, select.POLLIN)
    if [fd for fd, _ in poll.poll()] != [helper]:
        return False
    poll.unregister(helper)
    exit_status(helper)
    os.close(helper)
    poll.poll()
    return True


def _enter_namespaces() -> int:
    """Enter new namespaces; returns their flags. None where we may not: a start says why."""
    try:
        kp.unshare(_IN_ADVANCE)
    except KernelError:
        return 0
    return _IN_ADVANCE


def _start_container(end: Socket, out: Socket) -> NoReturn:
    """The helper: wait for a Launch on ``end``, pass it and its lock on, carry it out.

    While it waits it has entered the namespaces that most containers have: making them takes
    the kernel as long as all other system calls of a start. A container that does without is
    born into those of the shim, and so is one in a user namespace. The listener stays with the
    shim, and is of its network namespace.

    Its second message carries: control, listener, clients, the process's descriptors.
    """
    host_netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    outside = os.pidfd_open(os.getppid())
    listener = new()
    ready = _enter_namespaces()
    data, fds = receive(end)
    if not data:
        os._exit(0)  # the engine has gone, there will be no container
    end.close()
    lock, control, document, *rest = fds
    engine = from_fd(control)
    send(out, data, [lock])
    launch = p.decode_launch(data.partition(b"\n")[2])
    clients, join_fds = rest[: len(launch.clients)], rest[len(launch.clients) :]
    joins = {kind: join_fds[index] for kind, index in launch.joins.items()}
    listen(listener, launch.directory, p.SOCKET_NAME)
    mapped = is_mapped(launch)
    if without := ready if mapped or launch.runtime else ready & ~launch.clone_flags:
        kp.setns(outside, without)

    def make_io(reporter: Reporter, stdio: tuple[int, int, int] | None) -> InitIo:
        size = launch.streams.console_size
        return InitIo(reporter, stdio, host_netns, joins, launch.mount_point, size, {})

    def child(reporter: Reporter, stdio: tuple[int, int, int] | None) -> None:
        run_init(lambda: _decode_container(p.read_document(document)), make_io(reporter, stdio))

    def work() -> Process:
        if launch.runtime is not None:
            whole = _decode_container(p.read_document(document))
            return start_external(launch, whole, joins, host_netns, out)
        if mapped:
            whole = _decode_container(p.read_document(document))
            return start_mapped(launch, whole, joins, engine, make_io)
        if "pid" in joins:
            kp.setns(joins["pid"], kp.CLONE_NEWPID)
        group = open_birthplace(launch.cgroups_path, create=True)
        make = partial(kp.clone_sibling, launch.clone_flags & ~ready, group)
        return follow(Starting(launch.streams, make, child))

    def tell_engine(process: Process) -> None:
        send(engine, p.encode(p.Started(process.pid, process.warnings)))

    run_helper(out, [control, listener.fileno(), *clients], work, tell_engine)


class Shim:
    """One container's shim. Owns the descriptors that its helper handed over."""

    def __init__(
        self, launch: p.Launch, outcome: bytes, fds: list[int], helper: Helper | None
    ) -> None:
        """``helper`` is one that is still to be reaped."""
        self._launch = launch
        self._outcome = outcome
        self._directory = launch.directory
        self._loop = Loop()
        self._engines: dict[int, Socket] = {}
        self._execs: dict[str, _Exec] = {}
        self._starting: dict[int, _StartingExec] = {}
        self._preparers: dict[int, Branching] = {}
        self._strays = False
        self._pid = 0
        self._pidfd = -1
        self._exited = False
        self._fds = fds
        self._helper = helper
        self._leaving: dict[int, int] = {}
        """Pids by pidfds of children that end, and are only to be reaped."""

    def run(self) -> None:
        """Take over the container that the helper started, and serve it to its end."""
        if not self._fds:
            self._remove_traces()  # the helper was killed: what it had made goes too
            return
        control, listener, *rest = self._fds
        count = len(self._launch.clients)
        clients, process_fds = rest[:count], rest[count:]
        if self._helper is not None:
            self._await_end(self._helper.pidfd, self._helper.pid)
        self._add_engine(from_fd(control))
        self._listener = from_fd(listener)
        self._loop.watch(listener, select.EPOLLIN, self._on_engine_connects)
        log = LogFile(self._launch.log) if self._launch.log else None
        self._streams = ProcessStreams(
            self._loop, self._launch.streams, log, lambda: self._detached("")
        )
        for fd, spec in zip(clients, self._launch.clients, strict=True):
            self._streams.add_client(Client(fd, spec, self._directory))
        try:
            process = received(self._outcome, process_fds, self._launch.streams)
        except StartError as error:
            self._report_failure(error)
            return
        self._pid, self._pidfd = process.pid, process.pidfd
        if process.between:
            os.waitpid(process.between, 0)
        _connect(self._streams, process)
        self._loop.watch(process.pidfd, select.EPOLLIN, self._on_init_ended)
        if self._launch.runtime is not None:
            self._loop.watch(watch_children(), select.EPOLLIN, self._on_child_ended)
        self._serve()

    def _report_failure(self, error: StartError) -> None:
        failure = error.failure
        self._remove_cgroup()
        if error.pidfd >= 0:
            # Gone when the engine hears of it, unless it hangs in the kernel.
            select.select([error.pidfd], [], [], _KILL_TIMEOUT_S)
        self._tell(p.StartFailed(failure.stage, failure.errno, failure.message, failure.exit_code))
        self._streams.finish()
        self._serve_last_clients()

    def _serve(self) -> None:
        while not self._exited:
            waiting = self._busy_with_clients()
            self._loop.run_once(_TICK_S if waiting else -1)
            if waiting:
                self._tick()
            self._forget_execs()
        self._serve_last_clients()

    def _serve_last_clients(self) -> None:
        """After the end: clients get what is queued for them, as long as they read."""
        while not self._streams.served or any(not e.streams.served for e in self._execs.values()):
            self._loop.run_once(_TICK_S)
            self._tick()

    def _busy_with_clients(self) -> bool:
        """Whether something may have to be given up after a time."""
        return (
            bool(self._starting)
            or any(e.exit_code is not None and not e.streams.ended for e in self._execs.values())
            or (not self._streams.served or any(not e.streams.served for e in self._execs.values()))
        )

    def _tick(self) -> None:
        self._streams.drop_stalled()
        now = time.monotonic()
        for fd, start in list(self._starting.items()):
            if now > start.deadline:
                self._on_exec_report(fd, 0)
        for exec_ in self._execs.values():
            exec_.streams.drop_stalled()
            ended = exec_.exit_code is not None
            if ended and not exec_.streams.ended and now - exec_.ended_at > _ACK_TIMEOUT_S:
                exec_.streams.finish()

    def _forget_execs(self) -> None:
        """Drop the execs that the engine knows to have ended and that have no client left."""
        for exec_id, exec_ in list(self._execs.items()):
            if exec_.acknowledged and exec_.streams.served:
                del self._execs[exec_id]

    # The end of the container

    def _on_init_ended(self, fd: int, _events: int) -> None:
        code = exit_status(fd)
        exited_at = timestamp(time.time_ns())
        self._loop.forget(fd)
        for exec_ in self._execs.values():
            self._end_exec_with_container(exec_)
        oom_killed = self._remove_traces()
        self._streams.drain()
        record = ExitRecord(code=code, exited_at=exited_at, oom_killed=oom_killed)
        self._streams.finish()
        self._exited = True
        self._write_exit_record(record)
        self._tell(p.Exited(record))
        self._close_listener()

    def _end_exec_with_container(self, exec_: _Exec) -> None:
        """The kernel has killed it with its PID namespace; without one of its own, we do."""
        if exec_.exit_code is not None:
            return
        try:
            signal.pidfd_send_signal(exec_.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            ended, _, _ = select.select([exec_.pidfd], [], [], _KILL_TIMEOUT_S)
            if ended:
                self._on_exec_ended(exec_.pidfd, 0)
            exec_.streams.finish()

    def _remove_traces(self) -> bool:
        """Remove what a container leaves in the kernel; returns whether memory ran out in it."""
        out_of_memory = self._remove_cgroup()
        if self._launch.runtime is not None:
            delete(self._launch)
        return out_of_memory

    def _remove_cgroup(self) -> bool:
        """Kill what is left, remove the group; returns whether memory ran out in it."""
        path = self._launch.cgroups_path
        if not path:
            return False
        cgroup = open_cgroup(path)
        if not cgroup.exists():
            return False
        try:
            out_of_memory = cgroup.oom_kills() > 0
            try:
                cgroup.remove(timeout_s=0)
            except KernelError:  # some are left that were not killed with a PID namespace
                cgroup.kill()
                cgroup.remove()
        except BarqueError:
            # A process in uninterruptible sleep keeps the group; the engine removes groups
            # without a container when it starts and when it removes the container.
            return False
        return out_of_memory

    def _write_exit_record(self, record: ExitRecord) -> None:
        """Write it for engines to come; without room for it those that listen are told still."""
        path = f"{self._directory}/{p.EXIT_RECORD}"
        partial = f"{path}.part"
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, p.encode(record))
            finally:
                os.close(fd)
            os.rename(partial, path)
        except OSError:
            return

    def _close_listener(self) -> None:
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    # Engines

    def _on_engine_connects(self, _fd: int, _events: int) -> None:
        try:
            engine = accept(self._listener)
        except OSError:  # it has gone again, or all our descriptors are in use
            return
        self._add_engine(engine)

    def _add_engine(self, end: Socket) -> None:
        self._engines[end.fileno()] = end
        self._loop.watch(end.fileno(), select.EPOLLIN, self._on_engine)

    def _on_engine(self, fd: int, _events: int) -> None:
        engine = self._engines[fd]
        try:
            data, fds = receive(engine)
        except OSError:
            data, fds = b"", []
        if not data:
            self._loop.forget(fd)
            del self._engines[fd]
            engine.close()
            return
        try:
            request = p.decode_request(data)
        except msgspec.DecodeError:
            # A newer engine may ask what this shim does not know: it learns so from silence
            # and its deadline; a shim never ends because of a message.
            for passed in fds:
                os.close(passed)
            return
        self._handle(engine, request, fds)

    def _handle(self, engine: Socket, request: p.Request, fds: list[int]) -> None:
        if isinstance(request, p.Acknowledge):
            self._acknowledge(request.exec_id)
            return
        try:
            match request:
                case p.Attach():
                    self._streams.add_client(Client(fds[0], request.client, self._directory))
                    reply: p.Reply | p.Running = p.Reply(request.seq)
                case p.Exec():
                    self._start_exec(engine, request, fds)
                    return
                case p.Signal():
                    self._signal(request)
                    reply = p.Reply(request.seq)
                case p.Resize():
                    streams = self._find_streams(request.exec_id)
                    streams.resize(request.height, request.width)
                    reply = p.Reply(request.seq)
                case p.Namespaces():
                    self._send_namespaces(engine, request)
                    return
                case p.State():
                    reply = self._state(request.seq)
        except OSError as error:
            reply = _failed(request.seq, os.strerror(error.errno or 0).lower(), error.errno or 0)
        except Exception as error:  # noqa: BLE001 - a shim never ends because of a message
            reply = _failed(request.seq, f"{type(error).__name__}: {error}", 0)
        self._send(engine, reply)

    def _send(self, engine: Socket, notice: p.Notice) -> None:
        """An engine that has gone, or that lets its queue fill, is told by the next State."""
        try:
            send(engine, p.encode(notice), flags=MSG_DONTWAIT)
        except OSError:
            return

    def _tell(self, notice: p.Notice) -> None:
        for engine in self._engines.values():
            self._send(engine, notice)

    def _detached(self, exec_id: str) -> None:
        self._tell(p.Detached(exec_id))

    # Requests

    def _find_streams(self, exec_id: str) -> ProcessStreams:
        if not exec_id:
            return self._streams
        exec_ = self._execs.get(exec_id)
        if exec_ is None:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        return exec_.streams

    def _signal(self, request: p.Signal) -> None:
        if request.exec_id:
            exec_ = self._execs.get(request.exec_id)
            pidfd = exec_.pidfd if exec_ else -1
        else:
            pidfd = self._pidfd
        if pidfd < 0 or (not request.exec_id and self._exited):
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        signal.pidfd_send_signal(pidfd, request.number)

    def _send_namespaces(self, engine: Socket, request: p.Namespaces) -> None:
        fds: list[int] = []
        try:
            fds.extend(kp.open_namespace(self._pid, kind) for kind in request.types)
            reply = p.encode(p.Reply(request.seq, types=request.types))
            send(engine, reply, fds, MSG_DONTWAIT)
        except OSError as error:
            self._send(engine, _failed(request.seq, str(error), error.errno or 0))
        finally:
            for fd in fds:
                os.close(fd)

    def _state(self, seq: int) -> p.Running:
        execs = {key: p.ExecState(e.pid, e.exit_code) for key, e in self._execs.items()}
        return p.Running(seq, self._pid, execs)

    # Execs

    def _start_exec(self, engine: Socket, request: p.Exec, fds: list[int]) -> None:
        """Make the process. What hangs on its way (stopped or frozen by the container, a dead
        disk) hangs without us: the reply comes when it tells how it went.
        """
        document, clients = fds[0], fds[1:]
        make = self._make_exec if self._launch.runtime is None else self._make_external_exec
        try:
            starting = make(request, lambda: _decode_exec(p.read_document(document)))
        except (OSError, BarqueError) as error:
            failed = StartError(describe("start", error))
            self._send(engine, self._refuse_exec(request, failed, clients))
            return
        finally:
            os.close(document)
        fd = starting.fileno()
        deadline = time.monotonic() + START_TIMEOUT_S
        self._starting[fd] = _StartingExec(starting, request, clients, engine, deadline)
        if isinstance(starting, Branching):
            preparer = starting.preparer_pidfd
            self._preparers[preparer] = starting
            self._loop.watch(preparer, select.EPOLLIN, self._on_preparer_ended)
        self._loop.watch(fd, select.EPOLLIN, self._on_exec_report)

    def _make_exec(self, request: p.Exec, read: Callable[[], ExecLaunch]) -> Branching:
        init_pidfd = self._pidfd

        def child(reporter: Reporter, stdio: tuple[int, int, int] | None) -> None:
            size = request.streams.console_size
            run_exec(read, ExecIo(reporter, stdio, init_pidfd, size))

        group = open_birthplace(self._launch.cgroups_path, create=False)
        try:
            make = partial(kp.clone_child, 0, group)
            owner = self._launch.owner
            return Branching(request.streams, make, child, owner, lambda pid: pid in self._known())
        finally:
            if group >= 0:
                os.close(group)

    def _make_external_exec(self, request: p.Exec, read: Callable[[], ExecLaunch]) -> ExternalExec:
        def program(end: Socket) -> NoReturn:
            exec_external(self._launch, request, read, self._pid, end)

        return ExternalExec(fork_helper(program), request.streams)

    def _on_exec_report(self, fd: int, _events: int) -> None:
        start = self._starting[fd]
        request, clients = start.request, start.clients
        self._loop.forget(fd)  # it is closed with the last report
        try:
            process = start.advance()
            if process is None:
                self._loop.watch(fd, select.EPOLLIN, self._on_exec_report)
                return
        except StartError as error:
            reply = self._refuse_exec(request, error, clients)
            self._strays |= error.strays
        else:
            reply = self._take_exec(request, process, clients)
        del self._starting[fd]
        self._send(start.engine, reply)
        if self._launch.runtime is not None:
            self._reap_strays()
        if self._strays and not self._starting:
            self._end_strays()

    def _refuse_exec(self, request: p.Exec, error: StartError, clients: list[int]) -> p.Reply:
        for fd in clients:
            os.close(fd)  # not shut down: the engine tells this client what went wrong
        if error.pidfd >= 0:
            self._await_end(error.pidfd, error.pid)
        reply = _failed(request.seq, error.failure.message, error.failure.errno)
        reply.exit_code = error.failure.exit_code
        return reply

    def _take_exec(self, request: p.Exec, process: Process, clients: list[int]) -> p.Reply:
        exec_id = request.exec_id
        streams = ProcessStreams(self._loop, request.streams, None, lambda: self._detached(exec_id))
        if request.client is not None:
            streams.add_client(Client(clients[0], request.client, self._directory))
        _connect(streams, process)
        exec_ = self._execs[exec_id] = _Exec(process, streams)
        self._loop.watch(process.pidfd, select.EPOLLIN, self._on_exec_ended)
        if self._exited:
            self._end_exec_with_container(exec_)
        return p.Reply(request.seq, pid=process.pid)

    def _await_end(self, pidfd: int, pid: int) -> None:
        """Have the child reaped when it has ended. Takes the pidfd."""
        self._leaving[pidfd] = pid
        self._loop.watch(pidfd, select.EPOLLIN, self._reap)

    def _reap(self, pidfd: int, _events: int) -> None:
        """Reap a process whose end tells nothing: it did not become its program, or never would."""
        self._loop.forget(pidfd)
        self._leaving.pop(pidfd, None)
        with suppress(ChildProcessError):  # a stray, too
            exit_status(pidfd)
        os.close(pidfd)

    def _on_preparer_ended(self, pidfd: int, events: int) -> None:
        self._reap(pidfd, events)
        self._preparers.pop(pidfd).preparer_ended()

    def _on_child_ended(self, fd: int, _events: int) -> None:
        os.read(fd, 4096)
        self._reap_strays()

    def _reap_strays(self) -> None:
        """Reap what a runtime left to us that is no process we know of; a PID namespace does not
        end before. One that is starting may be among them, so that has to be known first.
        """
        if not self._starting:
            reap_strays(self._known())

    def _end_strays(self) -> None:
        """End the children that are no process we know of: a preparer that was killed at the wrong
        moment leaves one, and so does a container that keeps one from saying that it is there. A
        PID namespace does not end before. None is starting: it would not be known yet.
        """
        try:
            for pid in children() - self._known():
                pidfd = os.pidfd_open(pid)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                self._await_end(pidfd, pid)
        except OSError:  # all our descriptors are in use: after the next exec
            return
        self._strays = False

    def _known(self) -> set[int]:
        """The children that are something, be it on its way in or out."""
        starting = (s.starting for s in self._starting.values())
        return {
            self._pid,
            *(e.pid for e in self._execs.values() if e.pidfd >= 0),
            *(s.pid for s in starting if isinstance(s, Branching)),
            *self._leaving.values(),
        }

    def _on_exec_ended(self, fd: int, _events: int) -> None:
        exec_id, exec_ = next((k, e) for k, e in self._execs.items() if e.pidfd == fd)
        exec_.exit_code = exit_status(fd)
        exec_.ended_at = time.monotonic()
        self._loop.forget(fd)
        os.close(fd)
        exec_.pidfd = -1
        exec_.streams.drain()
        self._tell(p.ExecExited(exec_id, exec_.exit_code))
        if not self._engines:
            exec_.streams.finish()

    def _acknowledge(self, exec_id: str) -> None:
        """The engine has the exit code: clients may see the end, and the exec is forgotten."""
        exec_ = self._execs.get(exec_id)
        if exec_ is None or exec_.exit_code is None:
            return
        exec_.acknowledged = True
        if not exec_.streams.ended:
            exec_.streams.finish()


def _failed(seq: int, message: str, number: int) -> p.Reply:
    return p.Reply(seq, error=message or "failed", errno=number)


def _connect(streams: ProcessStreams, process: Process) -> None:
    if process.master >= 0:
        streams.set_terminal(process.master)
    else:
        streams.set_pipes(process.stdin, process.stdout, process.stderr)
