"""The file system of a container: its changes, an archive of it, an image made of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AsyncExitStack,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from barque.engine.background import Background
from barque.engine.committing import check_message, make_run_config
from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import CommittingImages, TaskHost
from barque.engine.copying import PathStat, check_directory, pack_path, stat_path, unpack_at
from barque.engine.handle import Handle
from barque.engine.layout import Layout
from barque.engine.registry import Registry
from barque.engine.roots import join_root, mount_root
from barque.engine.tasks import Tasks
from barque.errors import Conflict, NotFound, Unavailable
from barque.images.compression import Readable
from barque.images.feed import run_bounded, run_fed, run_in_thread, stream_from_thread
from barque.images.pack import pack_tree
from barque.images.reference import parse_tag_target
from barque.models.api import ContainerConfig
from barque.models.container import ContainerRecord
from barque.models.idmap import IdMap
from barque.models.ids import ImageId
from barque.models.image import HistoryEntry
from barque.snapshots.changes import Change, ChangeKind, Changes
from barque.snapshots.contract import Snapshotter
from barque.snapshots.views import open_view

_T = TypeVar("_T")
_Opened = tuple[int, IdMap | None]
"""A root, and the user namespace that its owners are to be seen by."""
_Unpack = Callable[[_Opened, Readable, threading.Event], None]

_PIECE = 1 << 18
_PATIENCE_S = 5.0
"""How long a copy that was given up may go on in a system call before it is left behind."""
_STALLED_S = 60.0
"""How long a copy that holds the container's lock may take for one piece."""
_FROZEN_MARK = "frozen-for-commit"
STUBS = frozenset(
    (
        b".dockerenv",
        b"dev", b"dev/console", b"dev/mqueue", b"dev/pts", b"dev/shm",
        b"etc", b"etc/hostname", b"etc/hosts", b"etc/mtab", b"etc/resolv.conf",
        b"proc",
        b"sys",
    )
)  # fmt: skip
"""Mount points that every container has, whether its image brings them or not. That they were
made is no change of the container's.
"""


@dataclass
class ContainerFiles:
    """What is asked of containers' file systems. ``ref`` is as in ``Containers``."""

    registry: Registry
    tasks: Tasks
    images: CommittingImages
    snapshots: Snapshotter
    events: ContainerEvents
    background: Background
    shims: TaskHost
    layout: Layout

    async def changes(self, ref: str) -> Changes:
        """Return what the container has changed in its image.

        Raises NotFound, KernelError.
        """
        record = self.registry.get(ref).record
        changes = await asyncio.to_thread(self.snapshots.changes, record.snapshot, STUBS)
        return [change for change in changes if change.kind is not ChangeKind.UNCHANGED]

    def export(self, ref: str) -> AsyncGenerator[bytes]:
        """Give a tar archive of the container's root, without what is mounted on it.

        A container that runs goes on meanwhile. Raises NotFound, KernelError; Conflict, when
        the archive has begun already, if the container is removed.
        """
        return self._export(self.registry.get(ref))

    async def _export(self, handle: Handle) -> AsyncGenerator[bytes]:
        mount = self.snapshots.peek(handle.record.snapshot)

        def work(write: Callable[[bytes], None], stop: threading.Event) -> None:
            with open_view(mount) as root:
                pack_tree(root, write, stop)

        async with aclosing(stream_from_thread(work, "export")) as chunks:
            async for chunk in chunks:
                yield chunk
        self._check_there(handle, "exported")
        self.events.publish(handle.record, "export")

    async def commit(
        self,
        ref: str,
        *,
        repo: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        changes: Sequence[str] = (),
        config: ContainerConfig | None = None,
        pause: bool = True,
    ) -> ImageId:
        """Make an image of the container, named ``repo:tag`` if given, and return its id.

        ``changes`` are Dockerfile instructions. A running container is frozen meanwhile, unless
        ``pause`` is false. Raises NotFound, InvalidArgument, KernelError, Conflict if the
        container is removed meanwhile; nothing is left then.
        """
        handle = self.registry.get(ref)
        target = parse_tag_target(repo, tag) if repo else None
        check_message(author, comment)
        run = make_run_config(handle.record.config, config, changes)
        record = handle.record
        base = self.images.get(record.image_id) if record.image_id else None

        async def work() -> ImageId:
            async with AsyncExitStack() as frozen:
                await frozen.enter_async_context(self._frozen(handle, wanted=pause))

                async def packed() -> None:
                    await frozen.aclose()  # what is left to do needs the container no more
                    self._check_there(handle, "committed")

                found = await asyncio.to_thread(self.snapshots.changes, record.snapshot, STUBS)
                image = await self.images.commit(
                    record.snapshot,
                    found,
                    base=base,
                    run=run,
                    step=HistoryEntry(
                        created_by=_show_command(record), comment=comment, author=author
                    ),
                    author=author,
                    target=target,
                    packed=packed,
                )
            self.events.publish(
                handle.record,
                "commit",
                comment=comment,
                imageID=image.id,
                imageRef=target.familiar if target else "",
            )
            return image.id

        return await self.background.complete(work(), f"commit {ref}")

    # Copying

    async def stat_path(self, ref: str, path: str) -> PathStat:
        """Describe the file ``path``. Raises NotFound, KernelError."""
        handle = self.registry.get(ref)
        async with self._open_root(handle) as (root, _):
            return await _ask(stat_path, root, path, handle.record.name)

    async def read_archive(
        self, ref: str, path: str
    ) -> AsyncGenerator[tuple[PathStat, AsyncGenerator[bytes]]]:
        """Give, once, the description of ``path`` and an archive of it.

        What is mounted in the container is seen. The archive is to be read before the next
        step. Raises NotFound, KernelError.
        """
        handle = self.registry.get(ref)
        name = handle.record.name
        async with self._open_root(handle) as (root, ids):
            found = await _ask(stat_path, root, path, name)
            own = os.dup(root)

            def work(write: Callable[[bytes], None], stop: threading.Event) -> None:
                with _closing(own):
                    pack_path(own, path, name, write, stop, ids=ids)

            async with aclosing(stream_from_thread(work, "copy-out", _PATIENCE_S)) as chunks:
                yield found, chunks
        self.events.publish(handle.record, "archive-path")

    async def write_archive(
        self,
        ref: str,
        path: str,
        stream: AsyncGenerator[bytes],
        *,
        keep_kinds: bool = False,
        as_user: bool = False,
    ) -> None:
        """Unpack an archive in the directory ``path`` of the container.

        ``keep_kinds`` refuses to replace directories by files and the other way round;
        ``as_user`` gives it all to the container's user. Raises NotFound, InvalidArgument,
        PermissionDenied where it is read-only, KernelError; what was unpacked before stays.
        """
        handle = self.registry.get(ref)
        user = handle.record.config.user if as_user else None

        def unpack(root: _Opened, source: Readable, stop: threading.Event, /) -> None:
            fd, ids = root
            name = handle.record.name
            unpack_at(fd, path, name, source, stop, keep_kinds=keep_kinds, user=user, ids=ids)

        if _is_up(handle.record):
            async with self._join(handle) as (root, ids):
                await _ask(check_directory, root, path, handle.record.name)
                own = os.dup(root)

                def unpack_beside(feed: Readable, stop: threading.Event) -> None:
                    with _closing(own):
                        unpack((own, ids), feed, stop)

                await run_fed(stream, unpack_beside, "copy-in", _PATIENCE_S)
        else:
            # Nobody may start it meanwhile, and the client may take its time: so all of it
            # has to be here before the container is locked.
            with ExitStack() as ours:
                file = ours.enter_context(tempfile.TemporaryFile(dir=self.layout.root))
                await run_fed(stream, lambda feed, _stop: _spool(feed, file), "spool")
                file.seek(0)
                work = self._unpack_stopped(handle, path, unpack, file, ours.pop_all())
                await self.background.complete(work, f"copy to {ref}")
        self.events.publish(handle.record, "extract-to-dir")

    async def _unpack_stopped(
        self, handle: Handle, path: str, unpack: _Unpack, file: Readable, own: ExitStack
    ) -> None:
        """Unpack ``file``, which ``own`` closes, while nobody can start the container."""
        with own:
            async with self.tasks.locked(handle) as record, AsyncExitStack() as stack:
                ids: IdMap | None = None
                held: tuple[int, ...]
                if _is_up(record):
                    root, ids = await stack.enter_async_context(self._join(handle))
                    held = (root,)
                else:
                    mounted = mount_root(
                        self.snapshots.mounts(record.snapshot),
                        record.mounts,
                        self._place(handle),
                        readonly=record.host_config.readonly_rootfs,
                    )
                    held = await stack.enter_async_context(mounted)
                await _ask(check_directory, held[0], path, record.name)
                mine = [os.dup(fd) for fd in held]
                for fd in mine:
                    own.callback(os.close, fd)
                await run_watched(
                    file,
                    lambda source, stop: unpack((mine[0], ids), source, stop),
                    own,
                    f"{path} in container {record.name}",
                )

    @asynccontextmanager
    async def _open_root(self, handle: Handle) -> AsyncIterator[_Opened]:
        """Open the container's root for reading, whatever state it is in."""
        async with AsyncExitStack() as stack:
            opened: _Opened | None = None
            if _is_up(handle.record):
                with suppress(Conflict):  # it has just ended
                    opened = await stack.enter_async_context(self._join(handle))
            if opened is None:
                record = handle.record
                mounted = mount_root(
                    self.snapshots.peek(record.snapshot), record.mounts, self._place(handle)
                )
                opened = (await stack.enter_async_context(mounted)).root, None
            yield opened

    @asynccontextmanager
    async def _join(self, handle: Handle) -> AsyncIterator[_Opened]:
        """Open the root of a container that runs. Raises Conflict if it has ended."""
        namespaces = await self.shims.open_namespaces(handle.id, ["mount"])
        if "mount" not in namespaces:
            raise Conflict(f"container {handle.id} is not running")
        async with join_root(namespaces["mount"]) as root:
            yield root, handle.record.ids

    def _place(self, handle: Handle) -> str:
        return str(self.layout.container(handle.id))

    @asynccontextmanager
    async def _frozen(self, handle: Handle, *, wanted: bool) -> AsyncIterator[None]:
        """Freeze the container while the block runs, if it runs and is not frozen already."""
        state = handle.record.state
        if not wanted or not state.running or state.paused or state.restarting:
            yield
            return
        mark = self.layout.container(handle.id) / _FROZEN_MARK
        mark.touch()  # first: an engine killed from here on must know whom it froze
        try:
            try:
                await self.tasks.pause(handle)
            except Conflict:  # it has ended, or somebody else was faster
                yield
                return
            try:
                yield
            finally:
                with suppress(Conflict):  # it was thawed by somebody, or killed
                    await self.tasks.unpause(handle)
        finally:
            mark.unlink(missing_ok=True)

    async def recover(self) -> None:
        """Thaw what an engine had frozen that was killed in a commit. Call after reconciling."""
        for handle in self.registry:
            mark = self.layout.container(handle.id) / _FROZEN_MARK
            if not mark.exists():
                continue
            with suppress(Conflict):
                if not handle.record.state.paused:
                    await self.tasks.pause(handle)  # so that record and cgroup agree
                await self.tasks.unpause(handle)
            mark.unlink(missing_ok=True)

    def _check_there(self, handle: Handle, what: str) -> None:
        """Raise Conflict if the container was removed while its files were read."""
        try:
            self.registry.get(handle.id)
        except NotFound:
            raise Conflict(f"container {handle.id} was removed while it was {what}") from None


async def _ask(question: Callable[[int, str, str], _T], root: int, path: str, container: str) -> _T:
    """Ask something of a file system that may not answer. Raises Unavailable, and as asked."""
    own = os.dup(root)

    def work() -> _T:
        with _closing(own):
            return question(own, path, container)

    return await run_bounded(work, "ask-path", f"{path} in container {container}")


@contextmanager
def _closing(fd: int) -> Iterator[None]:
    """Close ``fd`` when the block is left: a thread's own, which may be left behind."""
    try:
        yield
    finally:
        os.close(fd)


class _Counted:
    """A source that counts how often it is read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.reads = 0

    def read(self, size: int, /) -> bytes:
        self.reads += 1
        return self._source.read(size)


async def run_watched(
    source: Readable,
    work: Callable[[Readable, threading.Event], None],
    own: ExitStack,
    what: str,
    stalled_s: float = _STALLED_S,
) -> None:
    """Run ``work`` on ``source`` in a thread of its own as long as it goes on reading.

    ``own``, all that it works on, is the thread's from then on. Raises what ``work`` raises, and
    Unavailable where nothing has been read for ``stalled_s`` seconds: then, or when cancelled,
    the thread is told to stop, and left behind if it does not come back.
    """
    counted = _Counted(source)

    async def run() -> None:
        taken = own.pop_all()

        def owning(stop: threading.Event) -> None:
            with taken:
                work(counted, stop)

        await run_in_thread(owning, "copy-in", patience_s=_PATIENCE_S)

    task = asyncio.ensure_future(run())
    try:
        seen = -1
        while not task.done():
            if counted.reads == seen:
                raise Unavailable(
                    f"{what} has taken nothing for {stalled_s:.0f} s: is its file system's server "
                    "there? Mount it again, or do without it"
                )
            seen = counted.reads
            await asyncio.wait([task], timeout=stalled_s)
        task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


def _is_up(record: ContainerRecord) -> bool:
    """Tell whether there is a running task to be asked for its root."""
    return record.state.running and not record.state.restarting


def _spool(feed: Readable, file: BinaryIO) -> None:
    while data := feed.read(_PIECE):
        file.write(data)
    file.flush()


def _show_command(record: ContainerRecord) -> str:
    command = record.config.cmd
    if command is None:
        return ""
    return command if isinstance(command, str) else " ".join(command)


def render_change(change: Change) -> dict[str, object]:
    """Return a change as the Engine API shows it; names that are not UTF-8 with U+FFFD."""
    return {"Path": "/" + change.path.decode(errors="replace"), "Kind": change.kind.value}
