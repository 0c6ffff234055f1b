"""Events of containers, with the attributes that docker's have."""

from __future__ import annotations

from barque.engine.events import EventBus
from barque.models.container import ContainerRecord, MountPoint


class ContainerEvents:
    """Publishes what happens to containers."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def publish(self, record: ContainerRecord, action: str, **attributes: str) -> None:
        """Publish an event of the container: its labels, image, name and ``attributes``."""
        self._bus.publish(
            "container",
            action,
            record.id,
            {
                **(record.config.labels or {}),
                "image": record.config.image,
                "name": record.name,
                **attributes,
            },
        )

    def network(
        self, record: ContainerRecord, action: str, network_id: str, name: str, driver: str
    ) -> None:
        """Publish ``connect`` or ``disconnect``."""
        attributes = {"container": record.id, "name": name, "type": driver}
        self._bus.publish("network", action, network_id, attributes)

    def volumes_mounted(self, record: ContainerRecord) -> None:
        """Publish ``mount`` for each volume of the container."""
        for mount in _volumes(record):
            self._bus.publish(
                "volume",
                "mount",
                mount.name,
                {
                    "container": record.id,
                    "destination": mount.destination,
                    "driver": mount.driver or "local",
                    "propagation": mount.propagation,
                    "read/write": "true" if mount.rw else "false",
                },
            )

    def volumes_unmounted(self, record: ContainerRecord) -> None:
        """Publish ``unmount`` for each volume of the container."""
        for mount in _volumes(record):
            attributes = {"container": record.id, "driver": mount.driver or "local"}
            self._bus.publish("volume", "unmount", mount.name, attributes)


def _volumes(record: ContainerRecord) -> list[MountPoint]:
    return [mount for mount in record.mounts if mount.type == "volume"]
