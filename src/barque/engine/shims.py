"""The engine's side of spawner and shims: starting containers, talking to them, finding them.

Every shim has a control socket. Requests carry a sequence number and wait for their reply with
a deadline; notices (a container or exec has ended, a client has detached) go to the listener.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from barque.engine.spawning import REPLY_TIMEOUT_S, WaitingShims, resolve
from barque.errors import BarqueError, Conflict, FailedPrecondition, Internal, KernelError
from barque.kernel import seqpacket
from barque.models.idmap import IdMap
from barque.models.ids import ContainerId, ExecId
from barque.models.launch import ContainerLaunch, ExecLaunch, ExitRecord, LogTarget
from barque.runtime.init import clone_flags
from barque.shim import protocol as p
from barque.shim.launcher import Spawner

_START_TIMEOUT_S = 125.0
_LOOK_AGAIN_S = 0.02

_log = logging.getLogger("barque.engine")

_encode = msgspec.json.Encoder().encode
_decode_exit = msgspec.json.Decoder(ExitRecord).decode


class Client(msgspec.Struct, kw_only=True):
    """An attached client's socket and what it wants. Ownership of ``fd`` passes with it."""

    fd: int
    stdin: bool
    stdout: bool
    stderr: bool
    multiplexed: bool
    detach_keys: bytes = b""

    def spec(self) -> p.ClientSpec:
        """The part that is told to the shim."""
        return p.ClientSpec(
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            multiplexed=self.multiplexed,
            detach_keys=self.detach_keys,
        )


class StartFailure(BarqueError):
    """A program did not start. ``exit_code`` is docker's: 126, 127 or 128."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


Wiring = Callable[[int], Awaitable[None]]
"""Wires a container's network namespace, and takes the descriptor."""


def _root_of(launch: ContainerLaunch) -> tuple[int, int]:
    """The host's ids of the container's root."""
    linux = launch.spec.linux
    if not linux.uid_mappings:
        return 0, 0
    return IdMap(uids=linux.uid_mappings, gids=linux.gid_mappings).root


class ShimListener(Protocol):
    """Who wants to know. Called on the loop's thread."""

    def container_exited(self, id_: ContainerId, record: ExitRecord, /) -> None:
        """The container has ended. Once for each run."""

    def exec_exited(self, id_: ContainerId, exec_id: ExecId, code: int, /) -> None:
        """An exec has ended; its clients see the end of the stream after this returns."""

    def client_detached(self, id_: ContainerId, exec_id: ExecId | None, /) -> None:
        """A client typed its detach keys."""


class ShimState(msgspec.Struct):
    """What a shim that was found again has running."""

    pid: int
    execs: dict[str, p.ExecState]


class _Shim:
    """One shim's control connection."""

    def __init__(self, id_: ContainerId, end: seqpacket.Socket) -> None:
        self.id = id_
        self.end = end
        self.started: asyncio.Future[p.Started | p.StartFailed] | None = None
        self.unwired: asyncio.Future[int] | None = None
        """The network namespace that waits for ``Wired``."""
        self.replies: dict[int, asyncio.Future[tuple[p.Reply | p.Running, list[int]]]] = {}
        self.exited = False


class ShimHost:
    """All shims of this engine. Use on the loop's thread."""

    def __init__(self, spawner: Spawner, exec_root: Path, listener: ShimListener | None) -> None:
        self._waiting = WaitingShims(spawner)
        self._directory = exec_root / "shims"
        self._mount_point = exec_root / "rootfs"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mount_point.mkdir(mode=0o700, exist_ok=True)
        self.listener = listener
        self._shims: dict[ContainerId, _Shim] = {}
        self._seq = 0

    def directory(self, id_: ContainerId) -> Path:
        """The directory of the container's shim: socket, exit record, spill files."""
        return self._directory / id_

    def known(self) -> list[ContainerId]:
        """Containers that have a shim directory, running or not."""
        return [ContainerId(entry.name) for entry in self._directory.iterdir()]

    async def start(
        self,
        id_: ContainerId,
        launch: ContainerLaunch,
        *,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        console_size: tuple[int, int] | None,
        log: LogTarget | None,
        clients: list[Client],
        namespace_fds: list[int],
        wire: Wiring | None = None,
    ) -> p.Started:
        """Start the container; returns when its program runs.

        ``wire`` is called before with the network namespace that the container has made. Takes
        ownership of the clients' descriptors, not of ``namespace_fds``. Raises StartFailure when
        the program did not start, and then nothing is left of it.
        """
        try:
            shim = await self._hand_over(
                id_,
                launch,
                streams=p.Streams(tty, open_stdin, stdin_once, console_size),
                log=log,
                clients=clients,
                namespace_fds=namespace_fds,
                wired=wire is not None,
            )
        finally:
            for client in clients:
                os.close(client.fd)
        loop = asyncio.get_running_loop()
        shim.started, shim.unwired = loop.create_future(), loop.create_future()
        try:
            if wire is not None:
                await self._have_wired(shim, shim.started, shim.unwired, wire)
            outcome = await asyncio.wait_for(shim.started, _START_TIMEOUT_S)
        except TimeoutError:
            raise FailedPrecondition(
                f"container {id_[:12]} did not start within {_START_TIMEOUT_S:.0f} s"
            ) from None
        if isinstance(outcome, p.StartFailed):
            self._release(shim)
            self.forget(id_)
            raise StartFailure(
                "failed to create task for container: OCI runtime create failed: unable to "
                f"start container process: error during container init: {outcome.message}",
                outcome.exit_code,
            )
        return outcome

    async def _have_wired(
        self,
        shim: _Shim,
        started: asyncio.Future[p.Started | p.StartFailed],
        unwired: asyncio.Future[int],
        wire: Wiring,
    ) -> None:
        """Wait for the container's network namespace, unless it fails before, and wire it."""
        await asyncio.wait(
            (started, unwired), timeout=_START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not unwired.done():
            return
        answer = p.Wired()
        try:
            await wire(unwired.result())
        except BarqueError as error:
            answer.error = str(error)
        await self._send(shim.end, p.encode(answer), [])

    async def _hand_over(
        self,
        id_: ContainerId,
        launch: ContainerLaunch,
        *,
        streams: p.Streams,
        log: LogTarget | None,
        clients: list[Client],
        namespace_fds: list[int],
        wired: bool,
    ) -> _Shim:
        """Send a waiting shim all that it needs. The descriptors stay the caller's."""
        self.forget(id_)
        os.mkdir(self.directory(id_), 0o700)
        lock = self._lock(id_)
        message = p.Launch(
            id=id_,
            directory=str(self.directory(id_)),
            mount_point=str(self._mount_point),
            clone_flags=clone_flags(launch.spec, launch.joins),
            cgroups_path=launch.spec.linux.cgroups_path,
            streams=streams,
            log=log,
            clients=[client.spec() for client in clients],
            joins=launch.joins,
            runtime=launch.runtime,
            owner=_root_of(launch),
            wired=wired,
        )
        ours, theirs = seqpacket.pair()
        ours.setblocking(False)
        body = p.document(_encode(launch), "launch")
        fds = [lock, theirs.fileno(), body, *(c.fd for c in clients), *namespace_fds]
        try:
            kind = p.EXTERNAL if launch.runtime else b""
            await self._waiting.send_launch(id_.encode() + kind + b"\n" + p.encode(message), fds)
        except BaseException as error:
            ours.close()
            if isinstance(error, BarqueError):  # it has not been sent
                self.forget(id_)
            raise
        finally:
            theirs.close()
            os.close(body)
            os.close(lock)
        return self._adopt(id_, ours)

    async def _send(self, end: seqpacket.Socket, data: bytes, fds: list[int]) -> None:
        """Send one datagram; wait while the peer's queue is full, REPLY_TIMEOUT_S at most.

        Raises FailedPrecondition after that, KernelError if the peer is gone.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                seqpacket.send(end, data, fds)
            except BlockingIOError:
                writable = loop.create_future()
                duplicate = os.dup(end.fileno())
                loop.add_writer(duplicate, resolve, writable)
                try:
                    await asyncio.wait_for(writable, REPLY_TIMEOUT_S)
                except TimeoutError:
                    raise FailedPrecondition(
                        f"the shim has taken no request for {REPLY_TIMEOUT_S:.0f} s"
                    ) from None
                finally:
                    loop.remove_writer(duplicate)
                    os.close(duplicate)
            except OSError as error:
                raise KernelError("send to the shim", error.errno or 0) from None
            else:
                return

    def _adopt(self, id_: ContainerId, end: seqpacket.Socket) -> _Shim:
        shim = _Shim(id_, end)
        self._shims[id_] = shim
        asyncio.get_running_loop().add_reader(end.fileno(), self._on_readable, shim)
        return shim

    def _release(self, shim: _Shim) -> None:
        """Let go of a shim that has ended or is being replaced."""
        if shim.end.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(shim.end.fileno())
        shim.end.close()
        if self._shims.get(shim.id) is shim:
            del self._shims[shim.id]
        for reply in shim.replies.values():
            if not reply.done():
                reply.set_exception(Conflict(f"container {shim.id} is not running"))
        shim.replies.clear()

    def _on_readable(self, shim: _Shim) -> None:
        while shim.end.fileno() >= 0:
            try:
                data, fds = seqpacket.receive(shim.end)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._on_gone(shim)
                return
            try:
                notice = p.decode_notice(data)
            except msgspec.DecodeError as error:
                # A newer engine's shim may tell what this one does not know.
                _log.warning("what the shim of %s says is not understood: %s", shim.id[:12], error)
                for fd in fds:
                    os.close(fd)
                continue
            self._on_notice(shim, notice, fds)

    def _on_gone(self, shim: _Shim) -> None:
        self._release(shim)
        if shim.started is not None and not shim.started.done():
            shim.started.set_result(
                p.StartFailed("shim", 0, "the shim ended before the container started", 128)
            )
        elif not shim.exited:
            record = self.find_exit(shim.id) or ExitRecord(code=255, exited_at="")
            self._exited(shim, record)

    def _on_notice(self, shim: _Shim, notice: p.Notice, fds: list[int]) -> None:
        listener = self.listener
        match notice:
            case p.Started() | p.StartFailed():
                # The exit, told by the shim, may have overtaken the start, told by its helper.
                shim.exited = shim.exited or isinstance(notice, p.StartFailed)
                if shim.started is not None and not shim.started.done():
                    shim.started.set_result(notice)
            case p.Wire():
                if shim.unwired is not None and not shim.unwired.done():
                    shim.unwired.set_result(fds[0])
                else:
                    os.close(fds[0])
            case p.Reply() | p.Running():
                reply = shim.replies.pop(notice.seq, None)
                if reply is None or reply.done():
                    for fd in fds:
                        os.close(fd)
                else:
                    reply.set_result((notice, fds))
            case p.Exited():
                self._exited(shim, notice.record)
            case p.ExecExited():
                if listener is not None:
                    listener.exec_exited(shim.id, ExecId(notice.exec_id), notice.code)
                self._acknowledge(shim, notice.exec_id)
            case p.Detached():
                if listener is not None:
                    listener.client_detached(shim.id, ExecId(notice.exec_id) or None)

    def _acknowledge(self, shim: _Shim, exec_id: str) -> None:
        try:
            shim.end.send(p.encode(p.Acknowledge(exec_id)))
        except OSError:
            return  # it has gone, or is so busy that its own deadline lets the client go

    def _exited(self, shim: _Shim, record: ExitRecord) -> None:
        if shim.exited:
            return
        shim.exited = True
        if self.listener is not None:
            self.listener.container_exited(shim.id, record)

    async def _request(
        self, id_: ContainerId, request: p.Request, fds: list[int], timeout_s: float
    ) -> tuple[p.Reply | p.Running, list[int]]:
        shim = self._shims.get(id_)
        if shim is None or shim.exited:
            raise Conflict(f"container {id_} is not running")
        future: asyncio.Future[tuple[p.Reply | p.Running, list[int]]] = (
            asyncio.get_running_loop().create_future()
        )
        seq = request.seq if not isinstance(request, p.Acknowledge) else 0
        shim.replies[seq] = future
        try:
            await self._send(shim.end, p.encode(request), fds)
            reply, passed = await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise FailedPrecondition(
                f"the shim of container {id_[:12]} did not answer within {timeout_s:.0f} s"
            ) from None
        finally:
            shim.replies.pop(seq, None)
        if isinstance(reply, p.Reply) and reply.error:
            _raise_reply(id_, reply)
        return reply, passed

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _lock(self, id_: ContainerId) -> int:
        """Take the lock of the shim's directory; see ``protocol.Launch``.

        Raises BlockingIOError if a shim has it, FileNotFoundError without a directory.
        """
        fd = os.open(self.directory(id_), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _is_carried_on(self, id_: ContainerId) -> bool:
        """Whether a shim of the container lives, or is about to."""
        try:
            os.close(self._lock(id_))
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    async def reconnect(self, id_: ContainerId) -> ShimState | None:
        """Find the shim of a container that an earlier engine started; None if it has ended.

        Waits for a shim that is still starting its container.
        """
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while True:
            carried_on = self._is_carried_on(id_)  # first: what ends after this leaves a record
            try:
                end = seqpacket.connect(str(self.directory(id_)), p.SOCKET_NAME)
                break
            except OSError:
                ended = self.find_exit(id_) is not None or not carried_on
            if ended or asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(_LOOK_AGAIN_S)
        shim = self._adopt(id_, end)
        try:
            reply, _ = await self._request(id_, p.State(self._next()), [], _START_TIMEOUT_S)
        except BarqueError:
            shim.exited = True  # its exit record, if any, is read by who asked
            self._release(shim)
            return None
        if not isinstance(reply, p.Running):
            raise Internal(f"the shim of {id_[:12]} answered State with {type(reply).__name__}")
        return ShimState(reply.pid, reply.execs)

    def find_exit(self, id_: ContainerId) -> ExitRecord | None:
        """The exit record that the last run left, or None."""
        try:
            data = (self.directory(id_) / p.EXIT_RECORD).read_bytes()
        except FileNotFoundError:
            return None
        return _decode_exit(data)

    async def attach(self, id_: ContainerId, client: Client) -> None:
        """Attach one more client. Takes ownership of its descriptor."""
        try:
            request = p.Attach(self._next(), client.spec())
            await self._request(id_, request, [client.fd], REPLY_TIMEOUT_S)
        finally:
            os.close(client.fd)

    async def exec(
        self,
        id_: ContainerId,
        exec_id: ExecId,
        launch: ExecLaunch,
        *,
        tty: bool,
        open_stdin: bool,
        console_size: tuple[int, int] | None,
        client: Client | None,
    ) -> int:
        """Run a further process; returns its pid. Raises StartFailure.

        Takes ownership of the client's descriptor on success only, so that the caller can tell
        the client what went wrong.
        """
        body = p.document(_encode(launch), "exec")
        streams = p.Streams(tty, open_stdin, open_stdin, console_size)
        request = p.Exec(self._next(), exec_id, streams, client.spec() if client else None)
        fds = [body, client.fd] if client else [body]
        try:
            reply, _ = await self._request(id_, request, fds, _START_TIMEOUT_S)
        finally:
            os.close(body)
        if client is not None:
            os.close(client.fd)
        return reply.pid

    async def signal(self, id_: ContainerId, signum: int) -> None:
        """Signal the container's init. Raises Conflict if it has ended."""
        await self._request(id_, p.Signal(self._next(), signum), [], REPLY_TIMEOUT_S)

    async def signal_exec(self, id_: ContainerId, exec_id: ExecId, signum: int) -> None:
        """Signal an exec. Raises Conflict if it has ended."""
        await self._request(id_, p.Signal(self._next(), signum, exec_id), [], REPLY_TIMEOUT_S)

    async def resize(
        self, id_: ContainerId, exec_id: ExecId | None, height: int, width: int
    ) -> None:
        """Resize a terminal, in characters."""
        request = p.Resize(self._next(), height, width, exec_id or "")
        await self._request(id_, request, [], REPLY_TIMEOUT_S)

    async def open_namespaces(self, id_: ContainerId, types: list[str]) -> dict[str, int]:
        """Descriptors of the container's namespaces by OCI type. The caller closes them."""
        request = p.Namespaces(self._next(), types)
        reply, fds = await self._request(id_, request, [], REPLY_TIMEOUT_S)
        if not isinstance(reply, p.Reply):
            raise Internal(f"the shim of {id_[:12]} answered Namespaces with a state")
        return dict(zip(reply.types, fds, strict=True))

    def forget(self, id_: ContainerId) -> None:
        """Remove what a run has left in the exec-root. Idempotent."""
        shim = self._shims.get(id_)
        if shim is not None:
            shim.exited = True
            self._release(shim)
        shutil.rmtree(self.directory(id_), ignore_errors=True)

    def close(self) -> None:
        """Let go of all shims; they go on."""
        for shim in list(self._shims.values()):
            self._release(shim)


def _raise_reply(id_: ContainerId, reply: p.Reply) -> None:
    if reply.exit_code:
        raise StartFailure(
            f"OCI runtime exec failed: exec failed: unable to start container process: "
            f"{reply.error}",
            reply.exit_code,
        )
    if reply.errno == errno.ESRCH:
        raise Conflict(f"container {id_} is not running")
    if reply.errno == errno.ENOTTY:
        raise Conflict(f"container {id_} has no terminal to resize")
    raise FailedPrecondition(f"container {id_[:12]}: {reply.error}")
