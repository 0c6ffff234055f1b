"""User namespaces of containers: which ids of the host each has for its own.

==============  =================================================================================
UsernsMode      the container's ids are
==============  =================================================================================
(empty)         those of the engine's ``userns-remap``, or, without it, the host's
``host``        the host's
``private``     those of ``userns-remap``, or, without it, as ``auto``
``auto``        a range of its own, as long as it exists; ``auto:size=N`` of N ids
``map:``        given: ``map:INSIDE:HOST:SIZE[,…]``, for groups others behind a ``/``
==============  =================================================================================

Who shares the network, IPC or PID namespace of another container shares its user namespace, which
owns those, too, unless it keeps to the host's.

Source: dockerd's verifyPlatformContainerSettings for refusals; podman-run(1) ``--userns``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from barque.engine.facts import HostFacts
from barque.engine.security import parse_security_options
from barque.engine.subids import (
    SUBGID,
    SUBUID,
    Range,
    find_gap,
    map_ranges,
    ranges_of,
    read_ranges,
)
from barque.errors import Conflict, FailedPrecondition, InvalidArgument
from barque.models.api import HostConfig
from barque.models.container import ContainerRecord
from barque.models.idmap import IdMap
from barque.models.oci import IdMapping
from barque.runtime.userns import check_mappings

DEFAULT_POOL = "containers"
DEFAULT_SIZE = 65536
_FREE = Range(1_000_000, (1 << 31) - 1_000_000)
"""Where no user, and by default no subordinate id, is."""
_MAX_SIZE = 1 << 31


def parse_auto_size(mode: str) -> int:
    """Return how many ids ``auto`` or ``auto:size=N`` asks for. Raises InvalidArgument."""
    _, _, options = mode.partition(":")
    if not options:
        return DEFAULT_SIZE
    name, _, value = options.partition("=")
    if name != "size" or not value.isdecimal() or not 0 < int(value) < _MAX_SIZE:
        raise InvalidArgument(f'invalid userns mode "{mode}": give auto or auto:size=N')
    return int(value)


def parse_map(mode: str) -> IdMap:
    """Parse ``map:INSIDE:HOST:SIZE[,…][/…]``. Raises InvalidArgument."""
    uids, slash, gids = mode.removeprefix("map:").partition("/")
    found = IdMap(
        uids=_parse_mappings(uids, mode), gids=_parse_mappings(gids if slash else uids, mode)
    )
    check_mappings("uid", found.uids)
    check_mappings("gid", found.gids)
    for kind, mappings in (("uid", found.uids), ("gid", found.gids)):
        if not any(m.container_id == 0 for m in mappings):
            raise InvalidArgument(
                f'invalid userns mode "{mode}": {kind} 0, the root inside, is not mapped'
            )
    return found


def _parse_mappings(text: str, mode: str) -> list[IdMapping]:
    found = []
    for part in text.split(","):
        numbers = part.split(":")
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            raise InvalidArgument(
                f'invalid userns mode "{mode}": give map:INSIDE:HOST:SIZE, for example '
                "map:0:100000:65536"
            )
        inside, outside, size = map(int, numbers)
        found.append(IdMapping(container_id=inside, host_id=outside, size=size))
    return found


def check_mode(mode: str) -> None:
    """Raise InvalidArgument for what is no mode."""
    if mode in {"", "host", "private"}:
        return
    if mode == "auto" or mode.startswith("auto:"):
        parse_auto_size(mode)
    elif mode.startswith("map:"):
        parse_map(mode)
    else:
        raise InvalidArgument(
            f"invalid userns mode: {mode}: choose one of host, private, auto, auto:size=N, "
            "map:INSIDE:HOST:SIZE"
        )


def check_options(host: HostConfig) -> None:
    """Refuse what a user namespace cannot have. Raises InvalidArgument in dockerd's words."""
    if host.privileged:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces.  You must run the container "
            "in the host namespace when running privileged mode"
        )
    if host.network_mode == "host":
        raise InvalidArgument(
            "cannot share the host's network namespace when user namespaces are enabled"
        )
    if host.pid_mode == "host":
        raise InvalidArgument("cannot share PID namespace when user namespaces are enabled")
    if parse_security_options(host.security_opt).systemd:
        raise InvalidArgument(
            "security option systemd=true is incompatible with user namespaces: systemd has to "
            "write to its control group, which is root's outside; use --userns=host"
        )


def check_kernel(facts: HostFacts, storage_driver: str) -> None:
    """Raise FailedPrecondition where this kernel has no id-mapped mounts for the layers."""
    needed = (5, 19) if storage_driver == "overlay" else (5, 12)
    if facts.kernel < needed:
        shown = ".".join(map(str, needed))
        other = " (5.12 with the storage driver vfs or btrfs)" if needed == (5, 19) else ""
        raise FailedPrecondition(
            f"user namespaces need id-mapped mounts of layers, which are there since Linux "
            f"{shown}{other}; this is {facts.kernel_release}: use a newer kernel, or --userns=host"
        )


@dataclass(frozen=True)
class UserNamespaces:
    """Chooses the user namespaces of an engine's containers."""

    facts: HostFacts
    storage_driver: str
    remap: IdMap | None = None
    """The engine's ``userns-remap``."""
    pool: str = DEFAULT_POOL
    """Whose subordinate ids ``auto`` is served from, or ``START:COUNT``."""
    subuid: Path = SUBUID
    subgid: Path = SUBGID

    def choose(
        self, host: HostConfig, kept: IdMap | None, others: Iterable[ContainerRecord]
    ) -> IdMap | None:
        """Return the ids of a container with ``host``, None for the host's.

        ``kept`` is what it has now, ``others`` are all containers. Raises InvalidArgument,
        FailedPrecondition where there are no ids left or the kernel is too old.
        """
        mode = host.userns_mode
        if mode == "host" or (not mode and self.remap is None):
            return None
        check_options(host)
        check_kernel(self.facts, self.storage_driver)
        if mode.startswith("map:"):
            return parse_map(mode)
        if self.remap is not None and mode in {"", "private"}:
            return self.remap
        return kept or self._allot(parse_auto_size(mode.replace("private", "auto")), others)

    def _allot(self, size: int, others: Iterable[ContainerRecord]) -> IdMap:
        maps = [record.ids for record in others if record.ids is not None]
        if self.remap is not None:
            maps.append(self.remap)
        uids = self._find(self.subuid, [m for ids in maps for m in ids.uids], size)
        gids = self._find(self.subgid, [m for ids in maps for m in ids.gids], size)
        return IdMap(uids=map_ranges([uids]), gids=map_ranges([gids]))

    def _find(self, path: Path, taken: list[IdMapping], size: int) -> Range:
        pool, reserved = self._pool(path)
        busy = [*reserved, *(Range(m.host_id, m.size) for m in taken)]
        found = find_gap(pool, busy, size)
        if found is None:
            raise FailedPrecondition(
                f"no {size} ids in a row are left for a user namespace in "
                f"{', '.join(f'{r.start}-{r.end - 1}' for r in pool)}: remove containers, ask for "
                f"fewer (auto:size=N), or extend the pool (userns-auto-pool, {path})"
            )
        return found

    def _pool(self, path: Path) -> tuple[list[Range], list[Range]]:
        """Return where to look, and what there belongs to others."""
        start, colon, count = self.pool.partition(":")
        if colon:
            return [Range(int(start), int(count))], []
        own = ranges_of(path, self.pool)
        if own:
            return own, []
        if self.pool != DEFAULT_POOL:
            raise FailedPrecondition(
                f'userns-auto-pool "{self.pool}" has no subordinate ids: add a line like '
                f"{self.pool}:2147483648:16777216 to {path}"
            )
        return [_FREE], [found for _, found in read_ranges(path)]


def join_ids(
    record: ContainerRecord, own: IdMap | None, targets: Iterable[ContainerRecord]
) -> tuple[IdMap | None, ContainerRecord | None]:
    """Return the ids of a container that shares namespaces of ``targets``, and whose they are.

    ``own`` is what it would have alone. Nobody's where it makes its own, or stays in the host's.
    Raises Conflict where they do not fit together, InvalidArgument for what a user namespace
    cannot have.
    """
    mode = record.host_config.userns_mode
    found: ContainerRecord | None = None
    for target in targets:
        if found is not None and found.ids != target.ids:
            raise Conflict(
                f"containers {found.name} and {target.name}, whose namespaces are to be shared, "
                "are in different user namespaces"
            )
        found = target
    if found is None or mode == "host":
        return own, None
    if mode and own != found.ids:
        raise Conflict(
            f'user namespace mode "{mode}": the namespaces of container {found.name} belong to '
            "its own user namespace, which must be shared, too: leave --userns out"
        )
    if found.ids is None:
        return None, None
    check_options(record.host_config)
    return found.ids, found
