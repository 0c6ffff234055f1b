"""Removing a container that does not run: snapshot, files, record, anonymous volumes.

Nothing here waits: directories are renamed into the trash, and a reaper deletes them later.
Every step is harmless when repeated, so a removal that was cut short is finished by doing it
again.
"""

from __future__ import annotations

import logging

from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import Images, TaskHost
from barque.engine.handle import Handle, WaitCondition, WaitResult
from barque.engine.layout import Layout
from barque.engine.registry import Registry
from barque.engine.trash import TrashReaper
from barque.engine.volumes import Volumes
from barque.errors import BarqueError
from barque.snapshots.contract import Snapshotter
from barque.snapshots.trash import discard

_log = logging.getLogger("barque.engine")

ALL_CONDITIONS = tuple(WaitCondition)


class Removal:
    """Takes containers away."""

    def __init__(
        self,
        *,
        registry: Registry,
        images: Images,
        snapshots: Snapshotter,
        volumes: Volumes,
        shims: TaskHost,
        events: ContainerEvents,
        layout: Layout,
        reaper: TrashReaper,
    ) -> None:
        self._registry = registry
        self._images = images
        self._snapshots = snapshots
        self._volumes = volumes
        self._shims = shims
        self._events = events
        self._layout = layout
        self._reaper = reaper

    def remove(self, handle: Handle, *, volumes: bool) -> None:
        """Remove the container, and with ``volumes`` its anonymous volumes.

        It must not be running. On failure it stays as ``dead``, whoever waits for the removal
        is told why, and the error is raised.
        """
        record = handle.record
        assert not record.state.running, "a running container is not removed"
        if not record.state.removing:
            self._registry.replace_state(handle, removing=True)
        try:
            if self._snapshots.find(record.snapshot) is not None:
                self._snapshots.remove(record.snapshot)
            discard(self._layout.container(record.id), self._layout.trash)
            self._shims.forget(record.id)
            self._registry.discard(handle)
            if volumes:
                anonymous = (mount.name for mount in record.mounts if mount.anonymous)
                self._volumes.remove_unused(anonymous)
            if record.image_id and self._images.find(record.image_id) is None:
                self._images.sweep()  # this was the last user of a removed image's layers
        except (BarqueError, OSError) as error:
            if handle.id in self._registry:
                self._registry.replace_state(handle, removing=False, dead=True, error=str(error))
            handle.wake(WaitResult(record.state.exit_code, str(error)), WaitCondition.REMOVED)
            raise
        finally:
            self._reaper.wake()
        handle.close_clients()
        self._events.publish(record, "destroy")
        handle.wake(WaitResult(record.state.exit_code), *ALL_CONDITIONS)

    def remove_automatically(self, handle: Handle) -> None:
        """Remove a container started with ``--rm``, anonymous volumes included.

        A failure is logged: nobody is there to be told but those who wait.
        """
        try:
            self.remove(handle, volumes=True)
        except (BarqueError, OSError) as error:
            _log.error("container %s could not be removed: %s", handle.id[:12], error)
