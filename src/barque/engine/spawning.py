"""Where shims come from: those that the spawner has forked, and that wait for a container."""

from __future__ import annotations

import asyncio
import errno
import logging

from barque.errors import BarqueError, FailedPrecondition, KernelError
from barque.kernel import seqpacket
from barque.shim import protocol as p
from barque.shim.launcher import Spawner, start_ready_spawner

REPLY_TIMEOUT_S = 15.0
"""For how long spawner and shims are waited for, where they do not start anything."""

_SPAWNERS = 4
_SHIMS = 8
_LOOK = "look for who does that, the kernel for lack of memory for instance"
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})

_log = logging.getLogger("barque.engine")


class WaitingShims:
    """The shims that wait, and their spawner: replaced if somebody kills them.

    Use on the loop's thread.
    """

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._taking = asyncio.Lock()

    async def send_launch(self, data: bytes, fds: list[int]) -> None:
        """Send to a waiting shim, or to the next one if that was killed.

        The descriptors stay the caller's. Raises FailedPrecondition, KernelError.
        """
        for _ in range(_SHIMS):
            shim = await self._take_shim()
            try:
                seqpacket.send(shim, data, fds)
            except OSError as error:
                if error.errno not in _GONE:
                    raise KernelError("send to the shim", error.errno or 0) from None
            else:
                return
            finally:
                shim.close()
                await self._ask_for_another()
        raise FailedPrecondition(f"the waiting shims are killed again and again: {_LOOK}")

    async def _take_shim(self) -> seqpacket.Socket:
        """The socket of a waiting shim; from a new spawner if ours was killed."""
        async with self._taking:
            for _ in range(_SPAWNERS):
                end = self._spawner.end
                try:
                    return await self._receive_shim(end)
                except OSError:
                    await self._replace_spawner(end)
        raise FailedPrecondition(f"the spawner is killed again and again: {_LOOK}")

    async def _ask_for_another(self) -> None:
        """Have the shim replaced that was taken; not before that one is at work."""
        end = self._spawner.end
        try:
            end.send(p.ANOTHER)
        except OSError:
            try:
                async with self._taking:
                    await self._replace_spawner(end)
            except (BarqueError, OSError) as error:  # this start goes on; the next one tries again
                _log.error("%s", error)

    async def _replace_spawner(self, end: seqpacket.Socket) -> None:
        """Start another spawner if that of ``end``, which was killed, still is ours. Locked."""
        if self._spawner.end is end:
            _log.error("the spawner was killed: starting another")
            self._spawner.replace(await asyncio.to_thread(start_ready_spawner))

    async def _receive_shim(self, end: seqpacket.Socket) -> seqpacket.Socket:
        """The next shim that the spawner has forked. Raises OSError if the spawner has gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data, fds = seqpacket.receive(end)
            except BlockingIOError:
                readable = loop.create_future()
                loop.add_reader(end.fileno(), resolve, readable)
                try:
                    await asyncio.wait_for(readable, REPLY_TIMEOUT_S)
                except TimeoutError:
                    raise FailedPrecondition(
                        f"the spawner has forked no shim for {REPLY_TIMEOUT_S:.0f} s"
                    ) from None
                finally:
                    loop.remove_reader(end.fileno())
            else:
                if not data:
                    raise ConnectionResetError
                return seqpacket.from_fd(fds[0])


def resolve(future: asyncio.Future[None]) -> None:
    """Let whoever waits for it go on. Idempotent."""
    if not future.done():
        future.set_result(None)
