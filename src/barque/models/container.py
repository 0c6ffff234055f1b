"""The container record: all that the engine knows and keeps of one container.

A record is a value. The engine replaces it as a whole on every change, so that a
reader that took a reference sees one consistent state and needs no lock.
"""

from __future__ import annotations

import msgspec

from barque.models.api import ContainerConfig, EndpointSettings, HostConfig, PortBinding
from barque.models.idmap import IdMap
from barque.models.ids import ContainerId, ExecId, ImageId

ZERO_TIME = "0001-01-01T00:00:00Z"
"""How the Engine API writes "never"."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a health probe. ``exit_code`` is -1 where it had none."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes say: ``status`` is starting, healthy or unhealthy."""

    status: str
    failing_streak: int = 0
    log: list[Probe] = []
    """The last five, oldest first."""


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """The task's state. Times are RFC 3339 with nanoseconds, UTC, or ZERO_TIME.

    ``running`` stays true while paused or restarting, as in the Engine API.
    """

    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    removing: bool = False
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    health: Health | None = None
    """None for a container without a probe."""

    @property
    def status(self) -> str:
        """The one word that ``docker ps`` shows: paused, restarting, running, removing,
        dead, created or exited, in this order of precedence.
        """
        if self.paused:
            return "paused"
        if self.restarting:
            return "restarting"
        if self.running:
            return "running"
        if self.removing:
            return "removing"
        if self.dead:
            return "dead"
        return "created" if self.started_at == ZERO_TIME else "exited"


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A mount of the container as ``inspect`` shows it, and all that is needed to make it."""

    type: str
    """``bind``, ``volume`` or ``tmpfs``."""
    source: str
    """Host path (bind, volume) or empty."""
    destination: str
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    anonymous: bool = False
    copy_up: bool = False
    """Fill the (empty) volume with the image's content at this path before mounting."""
    recursive: bool = True
    recursive_readonly: bool = True
    options: list[str] = []
    """tmpfs mount options."""
    idmap: bool = False
    """A bind whose owners a user namespace sees as its own."""


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One container. ``name`` has no leading slash."""

    id: ContainerId
    name: str
    created: str
    image_id: ImageId
    config: ContainerConfig
    host_config: HostConfig
    path: str
    args: list[str]
    state: ContainerState = ContainerState()
    mounts: list[MountPoint] = []
    networks: dict[str, EndpointSettings] = {}
    """By network name: what was asked at create, and what is while running."""
    ports: dict[str, list[PortBinding]] = {}
    """What is published while running, by ``80/tcp``: the host's addresses and ports."""
    sandbox_id: str = ""
    snapshot: str = ""
    """Key of the writable snapshot."""
    snapshotter: str = "overlay"
    log_path: str = ""
    ids: IdMap | None = None
    """Of its user namespace; None is the host's. See ``engine.userns``."""
    restart_count: int = 0
    manually_stopped: bool = False
    started_once: bool = False
    platform: str = "linux"


class ExecRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One exec instance. ``exit_code`` is None until it has ended."""

    id: ExecId
    container_id: ContainerId
    cmd: list[str]
    env: list[str]
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    console_size: list[int] | None = None
    started: bool = False
    running: bool = False
    pid: int = 0
    exit_code: int | None = None
