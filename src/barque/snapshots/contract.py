"""What a snapshotter is.

A snapshotter keeps file systems as a tree of differences. It knows nothing of images or
containers: it is given keys, it gives back how to mount what stands under them.

Glossary
--------
*key*     the caller's name of a snapshot, unique within one snapshotter
*parent*  the committed snapshot whose content a new snapshot begins with; "" for none
*active*  made by ``prepare``: may be mounted and written
*view*    made by ``view``: may be mounted, read-only
*committed* made from an active one by ``commit``: never changes, may be a parent

Life cycle
----------
::

    prepare(key, parent) ──► active ──commit(name, key)──► committed ──► parent of others
                               └─────────remove(key)────────┴──► gone
    view(key, parent)    ──► view ──────remove(key)──────────────► gone

A worked example: unpacking the two layers of an image, then a container of it::

    mount = await snapshots.prepare_async("unpack-1", "")
    ... apply the first layer to what ``mount`` describes ...
    snapshots.commit("sha256:chain1", "unpack-1", size_bytes)
    mount = await snapshots.prepare_async("unpack-2", "sha256:chain1")
    ... apply the second layer ...
    snapshots.commit("sha256:chain2", "unpack-2", size_bytes)
    mount = snapshots.prepare(container_id, "sha256:chain2")
    ... the shim mounts it inside the container's own mount namespace ...
    snapshots.remove(container_id)

A layer is committed under its chain ID, so that images share it. Whoever finds on
``commit`` that the name exists already removes its own copy and uses the other.

What is promised
----------------
* Nothing is mounted here, ever. A ``RootfsMount`` says what to mount, and its paths are
  directories of the snapshotter: with ``type`` ``bind`` all of the file system stands in
  ``source`` and a deletion is a deletion; with ``overlay`` the differences go to ``upper``,
  and a deletion is a whiteout there.
* After a crash of the engine a snapshot is there as before or not at all; ``recover``
  clears the rest.
* ``remove`` returns at once: the directory is renamed into the trash. ``reap`` empties the
  trash and is as slow as deleting files is: call it from a thread.

What is not
-----------
* No quota, and no copy of an active snapshot.
* Whether a snapshot is mounted somewhere is not known: the caller removes it when it is not.
* Durability of the content: who commits has synced the file system first.

All methods but ``reap``, ``usage``, ``changes`` and ``find_difference`` belong on the loop's
thread. Those that change something are one database transaction each.
"""

from __future__ import annotations

import threading
from typing import Protocol

import msgspec

from barque.models.launch import RootfsMount
from barque.snapshots.changes import Changes


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one snapshot."""

    key: str
    parent: str
    kind: str
    """``committed``, ``active`` or ``view``."""
    size_bytes: int = 0
    """Of a committed snapshot: what it adds to its parent."""


class Snapshotter(Protocol):
    """See the module's text for the promises."""

    copies: bool
    """Whether ``prepare`` copies the parent's files, and so takes its time."""

    def prepare(self, key: str, parent: str) -> RootfsMount:
        """Make an active snapshot on ``parent`` and say how to mount it.

        Raises AlreadyExists if the key is taken, NotFound if there is no such parent,
        InvalidArgument if the parent is not committed. Blocks where ``copies`` is set.
        """
        ...

    async def prepare_async(self, key: str, parent: str) -> RootfsMount:
        """``prepare``, without ever blocking the loop."""
        ...

    def view(self, key: str, parent: str) -> RootfsMount:
        """Make a read-only snapshot of ``parent``. Raises as ``prepare`` does."""
        ...

    def mounts(self, key: str) -> RootfsMount:
        """Say again how to mount an active snapshot or a view.

        Raises NotFound, and InvalidArgument for a committed one.
        """
        ...

    def peek(self, key: str) -> RootfsMount:
        """Say how to mount, read-only, what any snapshot holds now, also beside its writer.

        Of a snapshot that is being written it is seen what was written when it was looked
        at. Raises NotFound.
        """
        ...

    def changes(self, key: str, stubs: frozenset[bytes] = frozenset()) -> Changes:
        """Return what ``key`` changes in its parent; see ``changes`` for the rules.

        ``stubs`` are added paths that do not count: mount points that the engine has made.
        Walks the tree: call it from a thread. Raises NotFound, KernelError.
        """
        ...

    def commit(self, name: str, key: str, size_bytes: int) -> None:
        """Turn the active ``key`` into the committed ``name``; ``key`` is gone then.

        ``size_bytes`` is what it adds to its parent: see ``usage``. Raises NotFound,
        AlreadyExists (the active snapshot stays), InvalidArgument if ``key`` is not active.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove a snapshot. Raises NotFound, and Conflict while it is a parent."""
        ...

    def stat(self, key: str) -> Snapshot:
        """Return what is known of ``key``. Raises NotFound."""
        ...

    def find(self, key: str) -> Snapshot | None:
        """Return what is known of ``key``, or None."""
        ...

    def walk(self) -> list[Snapshot]:
        """Return all snapshots, parents before their children."""
        ...

    def usage(self, key: str) -> int:
        """Return the bytes of the files that ``key`` adds to its parent.

        For an active snapshot the tree is walked: call it from a thread. Raises NotFound.
        """
        ...

    def find_damage(self, key: str) -> str:
        """Say why ``key`` cannot be used: its files or its parent are gone; "" if it can.

        Quick; what the files hold is not looked at. Raises NotFound.
        """
        ...

    def find_difference(self, wanted: str, found: str, stop: threading.Event) -> str:
        """Say where ``found`` holds something else than ``wanted``, on the same parent, does.

        Reads every byte: call it from a thread, which ``stop`` ends early. Returns "" if they
        are the same. Raises NotFound, KernelError, OSError.
        """
        ...

    def drop(self, key: str) -> None:
        """Remove a damaged snapshot even where it is a parent. Raises NotFound.

        What stands on it stays, and can be used when ``commit`` has made one of its name again.
        """
        ...

    def list_strays(self) -> list[str]:
        """Return the names of directories among the snapshots' that belong to none."""
        ...

    def discard_stray(self, name: str) -> None:
        """Put a directory that belongs to no snapshot into the trash."""
        ...

    def recover(self) -> None:
        """Clear what a killed engine left behind. Call once, before anything else."""
        ...

    def reap(self) -> None:
        """Delete what is in the trash. Call it from a thread; safe to call at any time."""
        ...
