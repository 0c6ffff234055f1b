"""What the engine's configuration gives to every container that does not say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

from barque.engine.runtimes import Runtimes
from barque.models.api import HostConfig, Ulimit

DEFAULT_SHM_BYTES = 64 << 20


@dataclass(frozen=True)
class ContainerDefaults:
    """``seccomp_profile`` is ``builtin``, ``unconfined`` or the JSON text of a profile."""

    shm_size_bytes: int = DEFAULT_SHM_BYTES
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)
    ulimits: tuple[Ulimit, ...] = ()
    init: bool = False
    seccomp_profile: str = "builtin"
    runtimes: Runtimes = field(default_factory=Runtimes)

    def fill(self, host: HostConfig) -> None:
        """Write what ``host`` leaves open. Options of the log go with their driver only.

        Raises InvalidArgument or NotImplementedHere for a runtime that cannot be.
        """
        if not host.shm_size:
            host.shm_size = self.shm_size_bytes
        if not host.log_config.type:
            host.log_config.type = self.log_driver
        given = host.log_config.config or {}
        same = host.log_config.type == self.log_driver
        host.log_config.config = {**self.log_opts, **given} if same else given
        if host.init is None and self.init:
            host.init = True
        self.runtimes.fill(host)
        named = {limit.name for limit in host.ulimits or ()}
        missing = [limit for limit in self.ulimits if limit.name not in named]
        if missing:
            host.ulimits = [*(host.ulimits or ()), *missing]
