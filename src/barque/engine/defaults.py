"""What the engine's configuration gives to every container that does not say otherwise.

There are two kinds. What a container *is* (its log driver, the size of its /dev/shm, its
namespaces) is written down when it is made, and ``inspect`` shows it. What it is *allowed*
(capabilities, limits, gaining privileges) is decided at every start, so that a stricter
configuration holds for old containers, too; ``inspect`` shows what was asked for, as docker's
does. See docs/adr/0014.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from barque.engine.runtimes import Runtimes
from barque.errors import InvalidArgument
from barque.models.api import HostConfig, Ulimit
from barque.runtime import capabilities

DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_PIDS_LIMIT = 4096
OPEN_FILES_SOFT, OPEN_FILES_HARD = 1024, 524288
"""systemd's limits: ``select`` can watch 1024 files, and who can do better may have more."""

DOCKER = "docker"
"""The word that stands for docker's capabilities in daemon.json."""


@dataclass(frozen=True)
class ContainerDefaults:
    """``seccomp_profile`` is ``builtin``, ``unconfined`` or the JSON text of a profile."""

    shm_size_bytes: int = DEFAULT_SHM_BYTES
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)
    init: bool = False
    seccomp_profile: str = "builtin"
    runtimes: Runtimes = field(default_factory=Runtimes)
    seccomp_name: str = "builtin"
    """What ``info`` shows: ``builtin``, ``unconfined`` or the profile's file."""
    ipc_mode: str = "private"
    cgroupns_mode: str = ""
    """ "" is private, but for privileged containers on cgroup version 1."""
    capabilities: tuple[str, ...] = capabilities.DEFAULT
    ulimits: tuple[Ulimit, ...] = ()
    pids_limit: int = DEFAULT_PIDS_LIMIT
    """-1 is no limit."""
    no_new_privileges: bool = False

    def fill(self, host: HostConfig) -> None:
        """Write what ``host`` leaves open. Options of the log go with their driver only.

        Raises InvalidArgument or NotImplementedHere for a runtime that cannot be.
        """
        if not host.shm_size:
            host.shm_size = self.shm_size_bytes
        if not host.ipc_mode:
            host.ipc_mode = self.ipc_mode
        if not host.cgroupns_mode:
            host.cgroupns_mode = self.cgroupns_mode
        if not host.log_config.type:
            host.log_config.type = self.log_driver
        given = host.log_config.config or {}
        same = host.log_config.type == self.log_driver
        host.log_config.config = {**self.log_opts, **given} if same else given
        if host.init is None and self.init:
            host.init = True
        self.runtimes.fill(host)

    def choose_capabilities(self, host: HostConfig) -> tuple[str, ...]:
        """Return the names that a container gets. Raises InvalidArgument."""
        return capabilities.choose(
            host.cap_add, host.cap_drop, default=self.capabilities, privileged=host.privileged
        )

    def choose_ulimits(self, host: HostConfig) -> list[Ulimit]:
        """Return the container's own limits, and the engine's for what it does not name."""
        own = host.ulimits or []
        named = {limit.name for limit in own}
        return [*own, *(limit for limit in self.ulimits if limit.name not in named)]

    def choose_pids_limit(self, asked: int | None) -> int:
        """Return the limit for what was asked; -1 is none.

        Zero cannot be told from nothing asked: the docker command line always sends it.
        """
        return asked or self.pids_limit


def own_ulimits(max_open_files: int) -> tuple[Ulimit, ...]:
    """Return the limits that barque sets where nobody says otherwise.

    ``max_open_files`` is what the engine can give. A core dump of a container would go where the
    host's core_pattern says, as a file or to a program of the host's.
    """
    hard = min(OPEN_FILES_HARD, max_open_files)
    return (
        Ulimit(name="nofile", soft=min(OPEN_FILES_SOFT, hard), hard=hard),
        Ulimit(name="core", soft=0, hard=0),
    )


def parse_capabilities(names: list[str] | str) -> tuple[str, ...]:
    """Read daemon.json's ``default-capabilities``: names, or ``docker``. InvalidArgument."""
    if isinstance(names, str):
        if names == DOCKER:
            return capabilities.DOCKER
        raise InvalidArgument(
            f'invalid default-capabilities "{names}": give a list of names, or "{DOCKER}"'
        )
    return tuple(dict.fromkeys(capabilities.parse_names(names)))
