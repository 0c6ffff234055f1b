"""All containers: found by id, name or prefix, replaced in one place.

A change is written to the database before anybody sees it. Readers take the record that
stands in the handle and need no lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from barque.engine.handle import Handle
from barque.errors import AlreadyExists, InvalidArgument, NotFound
from barque.models.container import ContainerRecord
from barque.models.ids import ContainerId
from barque.store.containers import ContainerStore


class Registry:
    """The containers of this engine. Use on the loop's thread."""

    def __init__(self, store: ContainerStore) -> None:
        self._store = store
        self._handles: dict[str, Handle] = {}
        self._names: dict[str, str] = {}
        for record in store.load():
            self._insert(Handle(record))

    def _insert(self, handle: Handle) -> None:
        handle.halted = not handle.record.state.running
        self._handles[handle.id] = handle
        self._names[handle.record.name] = handle.id

    def __iter__(self) -> Iterator[Handle]:
        """All handles, oldest first; the set may change meanwhile."""
        return iter(list(self._handles.values()))

    def __contains__(self, container_id: object) -> bool:
        return container_id in self._handles

    def records(self) -> list[ContainerRecord]:
        """Return all records, newest first."""
        return [handle.record for handle in reversed(self._handles.values())]

    def get(self, ref: str) -> Handle:
        """Return the container with this id, name (with or without slash) or id prefix.

        Raises NotFound, and InvalidArgument if the prefix fits several or nothing was given.
        """
        if handle := self._handles.get(ref):
            return handle
        if identifier := self._names.get(ref.removeprefix("/")):
            if handle := self._handles.get(identifier):
                return handle
        elif not ref:
            raise InvalidArgument("no container name or ID supplied")
        found = [handle for key, handle in self._handles.items() if key.startswith(ref)]
        if not found:
            raise NotFound(f"No such container: {ref}")
        if len(found) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {ref}")
        return found[0]

    def find(self, container_id: ContainerId) -> Handle | None:
        """Return the container with exactly this id, or None."""
        return self._handles.get(container_id)

    def is_name_taken(self, name: str) -> bool:
        """Whether a container has the name, or is about to."""
        return name in self._names

    @contextmanager
    def reserve(self, name: str, container_id: ContainerId) -> Iterator[None]:
        """Keep others from taking ``name`` within the block; ``add`` makes it last.

        Raises AlreadyExists.
        """
        if holder := self._names.get(name):
            raise AlreadyExists(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to reuse '
                "that name."
            )
        self._names[name] = container_id
        try:
            yield
        finally:
            handle = self._handles.get(container_id)
            if handle is None or handle.record.name != name:
                del self._names[name]

    def add(self, record: ContainerRecord) -> Handle:
        """Record a new container, whose name is reserved."""
        self._store.put(record)
        handle = Handle(record)
        self._insert(handle)
        return handle

    def replace(self, handle: Handle, **changes: Any) -> ContainerRecord:
        """Replace fields of the record; fields of the state are given as ``state``."""
        record = replace(handle.record, **changes)
        self._store.put(record)
        handle.record = record
        return record

    def replace_state(self, handle: Handle, **changes: Any) -> ContainerRecord:
        """Replace fields of the record's state."""
        return self.replace(handle, state=replace(handle.record.state, **changes))

    def rename(self, handle: Handle, name: str) -> None:
        """Give the container another name. Raises AlreadyExists."""
        old = handle.record.name
        with self.reserve(name, handle.id):
            self.replace(handle, name=name)
            del self._names[old]

    def discard(self, handle: Handle) -> None:
        """Forget the container and its name."""
        self._store.delete(handle.id)
        del self._handles[handle.id]
        del self._names[handle.record.name]
