"""Where the engine keeps things below its data-root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from barque.models.ids import ContainerId


@dataclass(frozen=True)
class Layout:
    """The directories below ``root``, which is absolute."""

    root: Path

    @property
    def containers(self) -> Path:
        """One directory a container: hosts, hostname, resolv.conf, the log."""
        return self.root / "containers"

    @property
    def volumes(self) -> Path:
        """One directory a volume."""
        return self.root / "volumes"

    @property
    def trash(self) -> Path:
        """What is being deleted."""
        return self.root / "trash"

    def container(self, container_id: ContainerId) -> Path:
        """The container's directory."""
        return self.containers / container_id

    def log(self, container_id: ContainerId) -> str:
        """The container's json-file log."""
        return f"{self.containers}/{container_id}/{container_id}-json.log"

    def make(self) -> None:
        """Make what is missing."""
        for directory in (self.containers, self.volumes, self.trash):
            os.makedirs(directory, mode=0o700, exist_ok=True)
