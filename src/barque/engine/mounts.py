"""Volumes, binds and tmpfs of a container: from docker's four notations to mount points.

A client can say the same in ``Binds``, ``Mounts``, ``Volumes``, ``VolumesFrom`` and ``Tmpfs``,
and an image adds its VOLUMEs. For each destination the winner is::

    Mounts, Binds   over   VolumesFrom   over   Volumes (image VOLUMEs among them)

Nothing is made here: a plan says which volumes and directories the mount points rest on, and
the engine makes them. Source: the Engine API's HostConfig; dockerd's linux_parser.go and
registerMountPoints, for the rules and the error texts.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Callable
from typing import NamedTuple, Protocol

from barque.engine.names import validate_volume_name
from barque.engine.tmpfs import convert_tmpfs_options, merge_tmpfs_options, parse_tmpfs_text
from barque.errors import InvalidArgument, NotFound, NotImplementedHere
from barque.models.api import ContainerConfig, DriverConfig, HostConfig, Mount
from barque.models.container import MountPoint

LOCAL = "local"
"""The only volume driver."""

DEFAULT_PROPAGATION = "rprivate"
_PROPAGATION = frozenset("private rprivate shared rshared slave rslave".split())
_MODES = {
    word: group
    for group, words in {
        "access": "rw ro",
        "label": "z Z",
        "propagation": " ".join(_PROPAGATION),
        "copy": "nocopy",
        "consistency": "consistent cached delegated",
        "idmap": "idmap",
    }.items()
    for word in words.split()
}


class VolumeRequest(NamedTuple):
    """A volume that must exist before the container starts: make it unless it is there."""

    name: str
    anonymous: bool = False
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class MountPlan(NamedTuple):
    """Mount points, and what the engine makes for them.

    ``directories`` are bind sources that are made where the host lacks them: empty, owned by
    root, mode 0755. ``required`` are those that must be there.
    """

    points: list[MountPoint]
    volumes: list[VolumeRequest]
    directories: list[str]
    required: list[str]


class MountLookup(Protocol):
    """What resolving has to ask the engine."""

    def volume_path(self, name: str, /) -> str:
        """Return the host path of the volume's data: where it is, or where it will be."""
        ...

    def mounts_of(self, ref: str, /) -> list[MountPoint]:
        """Return the mount points of another container. Raises NotFound."""
        ...


def clean_path(path: str) -> str:
    """Clean an absolute path lexically, as Go's path.Clean: no ``//``, ``.`` or ``..``."""
    return posixpath.normpath("/" + path.lstrip("/"))


def check_destination(path: str) -> None:
    """Check a path to mount on. Raises InvalidArgument with docker's texts."""
    if not path:
        raise InvalidArgument("field Target must not be empty")
    if posixpath.normpath(path) in {"/", "//"}:
        raise InvalidArgument("invalid specification: destination can't be '/'")
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")
    if "\0" in path:
        raise InvalidArgument("invalid mount path: it contains a NUL character")


def parse_mode(mode: str) -> dict[str, str]:
    """Parse a bind's mode, ``ro,rslave``: word by group, each group at most once.

    Raises InvalidArgument ``invalid mode: x``.
    """
    words: dict[str, str] = {}
    if not mode:
        return words
    for word in mode.split(","):
        group = _MODES.get(word)
        if group is None or group in words:
            raise InvalidArgument(f"invalid mode: {mode}")
        words[group] = word
    return words


def _is_mode(text: str) -> bool:
    try:
        parse_mode(text)
    except InvalidArgument:
        return False
    return True


def _check_driver(name: str) -> None:
    if name not in {"", LOCAL}:
        raise NotFound(f'error looking up volume plugin {name}: plugin "{name}" not found')


def _volume_point(name: str, destination: str, *, mode: str, rw: bool, copy_up: bool) -> MountPoint:
    """Describe a volume's mount; the source is found when the whole plan is made."""
    return MountPoint(
        type="volume",
        source="",
        destination=clean_path(destination),
        name=name,
        driver=LOCAL,
        mode=mode,
        rw=rw,
        anonymous=not name,
        copy_up=copy_up,
    )


def _check_bind(kind: str, destination: str, words: dict[str, str]) -> None:
    if kind == "volume" and "propagation" in words:
        raise InvalidArgument("field BindOptions must not be specified")
    if kind == "volume" and "idmap" in words:
        raise InvalidArgument("volumes are id-mapped always: leave idmap out")
    if kind == "bind" and "copy" in words:
        raise InvalidArgument("field VolumeOptions must not be specified")
    check_destination(destination)


def parse_bind(text: str, volume_driver: str = "") -> MountPoint:
    """Parse ``dst``, ``src:dst`` or ``src:dst:mode``. A source that is no path is a volume.

    An anonymous volume has no name yet. Raises InvalidArgument, NotFound for a driver.
    """
    invalid = f"invalid volume specification: '{text}'"
    parts = text.split(":")
    if not parts[0] or len(parts) > 3:
        raise InvalidArgument(invalid)
    source, destination, mode = "", parts[0], ""
    if len(parts) == 2:
        if _is_mode(parts[1]):
            raise InvalidArgument(invalid)
        source, destination = parts
    elif len(parts) == 3:
        source, destination, mode = parts
    words = parse_mode(mode)
    kind = "bind" if source.startswith("/") else "volume"
    try:
        _check_bind(kind, destination, words)
    except InvalidArgument as error:
        raise InvalidArgument(
            f'{invalid}: invalid mount config for type "{kind}": {error}'
        ) from error
    rw = words.get("access") != "ro"
    if kind == "volume":
        _check_driver(volume_driver)
        if source:
            validate_volume_name(source)
        # dockerd shows "z" where a named volume was given no mode
        shown = mode or ("z" if source else "")
        return _volume_point(source, destination, mode=shown, rw=rw, copy_up="copy" not in words)
    return MountPoint(
        type="bind",
        source=clean_path(source),
        destination=clean_path(destination),
        mode=mode,
        rw=rw,
        propagation=words.get("propagation", DEFAULT_PROPAGATION),
        idmap="idmap" in words,
    )


def _check_exclusive(mount: Mount) -> None:
    for kind, name, options in (
        ("bind", "BindOptions", mount.bind_options),
        ("volume", "VolumeOptions", mount.volume_options),
        ("image", "ImageOptions", mount.image_options),
        ("tmpfs", "TmpfsOptions", mount.tmpfs_options),
    ):
        if options is not None and mount.type != kind:
            raise InvalidArgument(f"field {name} must not be specified")


def _parse_bind_mount(mount: Mount) -> MountPoint:
    if not mount.source:
        raise InvalidArgument("field Source must not be empty")
    options = mount.bind_options
    propagation = options.propagation if options else ""
    if propagation and propagation not in _PROPAGATION:
        raise InvalidArgument(f"invalid propagation mode: {propagation}")
    if not mount.source.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{mount.source}' mount path must be absolute")
    if options and options.read_only_non_recursive and options.read_only_force_recursive:
        raise InvalidArgument(
            "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive"
        )
    return MountPoint(
        type="bind",
        source=clean_path(mount.source),
        destination=clean_path(mount.target),
        rw=not mount.read_only,
        propagation=propagation or DEFAULT_PROPAGATION,
        recursive=not (options and options.non_recursive),
        recursive_readonly=not (options and options.read_only_non_recursive),
    )


def _parse_volume_mount(mount: Mount) -> MountPoint:
    options = mount.volume_options
    if options and options.subpath:
        if not mount.source:
            raise InvalidArgument("must not set Subpath when using anonymous volumes")
        raise NotImplementedHere(
            f'Subpath "{options.subpath}" of volume "{mount.source}": mounting a part of a '
            f"volume is not implemented by barque yet; mount the whole volume"
        )
    driver = (options.driver_config or DriverConfig()) if options else DriverConfig()
    _check_driver(driver.name)
    if mount.source:
        validate_volume_name(mount.source)
    return _volume_point(
        mount.source,
        mount.target,
        mode="z",
        rw=not mount.read_only,
        copy_up=not (options and options.no_copy),
    )


def _parse_tmpfs_mount(mount: Mount) -> MountPoint:
    if mount.source:
        raise InvalidArgument("field Source must not be specified")
    options = convert_tmpfs_options(mount.tmpfs_options, readonly=mount.read_only)
    merge_tmpfs_options(options)
    return MountPoint(
        type="tmpfs",
        source="",
        destination=clean_path(mount.target),
        rw=not mount.read_only,
        options=options,
    )


def _parse_mount(mount: Mount) -> MountPoint:
    _check_exclusive(mount)
    check_destination(mount.target)
    match mount.type:
        case "bind":
            return _parse_bind_mount(mount)
        case "volume":
            return _parse_volume_mount(mount)
        case "tmpfs":
            return _parse_tmpfs_mount(mount)
        case "image":
            raise NotImplementedHere(
                "mounts of type image are not implemented by barque yet: run a container from "
                "the image and share a volume"
            )
        case _:
            raise InvalidArgument("mount type unknown")


def parse_mount(mount: Mount) -> MountPoint:
    """Parse an entry of ``HostConfig.Mounts``. Raises InvalidArgument, NotImplementedHere."""
    try:
        return _parse_mount(mount)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid mount config for type "{mount.type}": {error}') from error


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """Parse ``container[:mode]`` into the container and whether it may write.

    Raises InvalidArgument.
    """
    if not text:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    ref, _, mode = text.partition(":")
    words = parse_mode(mode)
    if words.keys() & {"propagation", "copy", "idmap"}:
        raise InvalidArgument(f"invalid mode: {mode}")
    return ref, words.get("access") != "ro"


def check_mounts(host: HostConfig) -> None:
    """Check all that needs no look at other containers. Raises like the parsers do."""
    for text in host.volumes_from or ():
        parse_volumes_from(text)
    for mount in host.mounts or ():
        parse_mount(mount)
    for destination, options in (host.tmpfs or {}).items():
        check_destination(destination)
        parse_tmpfs_text(options)
    for text in host.binds or ():
        parse_bind(text, host.volume_driver)


def _merge_from_others(host: HostConfig, lookup: MountLookup) -> dict[str, MountPoint]:
    points: dict[str, MountPoint] = {}
    for text in host.volumes_from or ():
        ref, writable = parse_volumes_from(text)
        for point in lookup.mounts_of(ref):
            points[point.destination] = MountPoint(
                type=point.type,
                source=point.source,
                destination=point.destination,
                name=point.name,
                driver=point.driver,
                rw=point.rw and writable,
                propagation=point.propagation,
                anonymous=point.anonymous,
                recursive=point.recursive,
                recursive_readonly=point.recursive_readonly,
                options=point.options,
                idmap=point.idmap,
            )
    return points


def _random_name() -> str:
    return secrets.token_hex(32)


def resolve_mounts(
    config: ContainerConfig,
    host: HostConfig,
    lookup: MountLookup,
    *,
    new_name: Callable[[], str] = _random_name,
) -> MountPlan:
    """Plan all mounts of a container but those of ``Tmpfs``, which the spec takes as they are.

    ``config`` is the merged one, image VOLUMEs included. Raises InvalidArgument (duplicates,
    bad notations), NotFound (a container of VolumesFrom, a volume driver), NotImplementedHere.
    """
    points = _merge_from_others(host, lookup)
    volumes: list[VolumeRequest] = []
    directories: list[str] = []
    required: list[str] = []
    taken = {clean_path(path) for path in host.tmpfs or {}}

    def add(point: MountPoint, shown: str, mount: Mount | None = None) -> None:
        if point.destination in taken:
            raise InvalidArgument(f"Duplicate mount point: {shown}")
        taken.add(point.destination)
        if point.type == "volume":
            name = point.name or new_name()
            asked = mount.volume_options if mount else None
            driver = asked.driver_config if asked else None
            volumes.append(
                VolumeRequest(
                    name,
                    anonymous=not point.name,
                    labels=asked.labels if asked else None,
                    options=driver.options if driver else None,
                )
            )
            point = _at(point, name, lookup.volume_path(name))
        elif point.type == "bind":
            options = mount.bind_options if mount else None
            made = mount is None or (options is not None and options.create_mountpoint)
            (directories if made else required).append(point.source)
        points[point.destination] = point

    for text in host.binds or ():
        point = parse_bind(text, host.volume_driver)
        add(point, point.destination)
    for mount in host.mounts or ():
        add(parse_mount(mount), mount.target, mount)
    for destination in config.volumes or {}:
        if clean_path(destination) not in points and clean_path(destination) not in taken:
            check_destination(destination)
            _check_driver(host.volume_driver)
            add(_volume_point("", destination, mode="", rw=True, copy_up=True), destination)
    return MountPlan(list(points.values()), volumes, directories, required)


def _at(point: MountPoint, name: str, source: str) -> MountPoint:
    """Return the volume's mount point with its name and place."""
    return MountPoint(
        type="volume",
        source=source,
        destination=point.destination,
        name=name,
        driver=point.driver,
        mode=point.mode,
        rw=point.rw,
        anonymous=point.anonymous,
        copy_up=point.copy_up,
    )
