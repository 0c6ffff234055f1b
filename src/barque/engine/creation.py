"""Making a container: everything is checked first, then taken, and given back on failure.

A create writes files and rows only; nothing is mounted and nothing runs. The record is
written last, so that a container is there with all that belongs to it or not at all.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from barque.engine.clock import Clock, format_time
from barque.engine.container_events import ContainerEvents
from barque.engine.contracts import Image, Images, NetworkService
from barque.engine.defaults import ContainerDefaults
from barque.engine.facts import HostFacts
from barque.engine.health import check_probe
from barque.engine.layout import Layout
from barque.engine.logattributes import get_log_attributes
from barque.engine.merging import merge_image
from barque.engine.mounts import MountPlan, resolve_mounts
from barque.engine.names import generate_id, generate_name, validate_container_name
from barque.engine.registry import Registry
from barque.engine.systemd import fill_systemd
from barque.engine.userns import UserNamespaces
from barque.engine.validate import fill_defaults, validate
from barque.engine.volumes import Volumes
from barque.errors import NotFound
from barque.images.feed import run_bounded
from barque.images.platform import format_platform, get_host, parse_platform, rank
from barque.models.api import ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig
from barque.models.container import ContainerRecord, MountPoint
from barque.models.ids import ContainerId, ImageId
from barque.models.image import Platform
from barque.network.endpoints import check_joinable
from barque.network.modes import DEFAULT_MODES
from barque.network.refusals import check_supported
from barque.snapshots.contract import Snapshotter

_CONTAINER = "container:"


@dataclass(frozen=True)
class Created:
    """A new container, and what it does not get of what was asked for."""

    id: ContainerId
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Lookup:
    """What resolving mounts asks."""

    registry: Registry
    volumes: Volumes

    def volume_path(self, name: str, /) -> str:
        record = self.volumes.find(name)
        return record.mountpoint if record is not None else self.volumes.path(name)

    def mounts_of(self, ref: str, /) -> list[MountPoint]:
        return self.registry.get(ref).record.mounts


@dataclass(frozen=True)
class Creation:
    """Makes containers of what the parts below give."""

    registry: Registry
    images: Images
    networks: NetworkService
    snapshots: Snapshotter
    storage_driver: str
    volumes: Volumes
    facts: HostFacts
    events: ContainerEvents
    layout: Layout
    clock: Clock
    defaults: ContainerDefaults
    userns: UserNamespaces

    async def create(
        self,
        name: str | None,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str | None,
    ) -> Created:
        """Make a container. ``host`` is the caller's no more: defaults are filled in.

        Raises InvalidArgument or NotImplementedHere for what cannot be, NotFound for a missing
        image, network or container to share with, AlreadyExists for a taken name.
        """
        shown = validate_container_name(name) if name else None
        check_supported(host, config, networking)
        warnings = validate(config, host, self.facts)
        image = self.images.get(config.image) if config.image else None
        if image is not None:
            warnings += check_platform(config.image, image, platform)
        merged = merge_image(config, image.config if image is not None else None)
        warnings += check_probe(merged.config)
        fill_defaults(host, self.facts, self.defaults)
        fill_systemd(merged.config, host)
        self._resolve_shared(host)
        container_id = ContainerId(generate_id(self.registry.__contains__))
        merged.config.hostname = self._hostname(merged.config, host, container_id)
        plan = resolve_mounts(merged.config, host, _Lookup(self.registry, self.volumes))
        await run_bounded(plan.check_sources, "check-binds", "a file system to be mounted")
        name = shown or generate_name(self.registry.is_name_taken, container_id[:12])
        record = ContainerRecord(
            id=container_id,
            name=name,
            created=format_time(self.clock.now_ns()),
            image_id=image.id if image is not None else ImageId(""),
            config=merged.config,
            host_config=host,
            path=merged.path,
            args=merged.args,
            mounts=plan.points,
            networks=self._asked_networks(host, networking),
            ids=self.userns.choose(host, None, self.registry.records()),
            snapshot=container_id,
            snapshotter=self.storage_driver,
            log_path=self.layout.log(container_id) if host.log_config.type != "none" else "",
        )
        get_log_attributes(record)  # a bad tag is an error of create, not of start
        with self.registry.reserve(name, container_id):
            await self._make(record, plan, image.chain_id if image is not None else "")
        self.events.publish(record, "create")
        return Created(container_id, warnings)

    async def _make(self, record: ContainerRecord, plan: MountPlan, parent: str) -> None:
        """Take what the container needs, the record last; on failure undo in reverse."""
        with ExitStack() as undo:
            undo.callback(self.volumes.remove_unused, made := [])
            with self.volumes.hold(request.name for request in plan.volumes):
                for request in plan.volumes:
                    if self.volumes.find(request.name) is None:
                        self.volumes.create(
                            request.name,
                            options=request.options,
                            labels=request.labels,
                            anonymous=request.anonymous,
                        )
                        made.append(request.name)
                await run_bounded(plan.make_sources, "make-binds", "a file system to be mounted")
                await self.snapshots.prepare_async(record.snapshot, parent)
                undo.callback(self.snapshots.remove, record.snapshot)
                # Once more, and nothing is awaited from here on: two that are made at once get
                # different ranges.
                ids = self.userns.choose(record.host_config, None, self.registry.records())
                record = replace(record, ids=ids)
                directory = self.layout.container(record.id)
                directory.mkdir(mode=0o710)
                undo.callback(directory.rmdir)
                self.registry.add(record)
            undo.pop_all()

    def _resolve_shared(self, host: HostConfig) -> None:
        """Write ``container:NAME`` as ``container:ID``, for names may change.

        A container that does not exist yet is looked for again by the start, as docker does.
        """
        for attribute in ("network_mode", "ipc_mode", "pid_mode"):
            mode: str = getattr(host, attribute)
            if mode.startswith(_CONTAINER):
                with suppress(NotFound):
                    target = self.registry.get(mode.removeprefix(_CONTAINER))
                    setattr(host, attribute, f"{_CONTAINER}{target.id}")

    def _hostname(
        self, config: ContainerConfig, host: HostConfig, container_id: ContainerId
    ) -> str:
        if config.hostname:
            return config.hostname
        if host.network_mode == "host" or host.uts_mode == "host":
            return socket.gethostname()
        if host.network_mode.startswith(_CONTAINER):
            with suppress(NotFound):
                target = self.registry.get(host.network_mode.removeprefix(_CONTAINER))
                return target.record.config.hostname
        return container_id[:12]

    def _asked_networks(
        self, host: HostConfig, networking: NetworkingConfig
    ) -> dict[str, EndpointSettings]:
        mode = host.network_mode
        if mode.startswith(_CONTAINER):
            return {}
        asked: dict[str, EndpointSettings] = {}
        for ref, endpoint in (networking.endpoints_config or {}).items():
            asked[self._name_network(ref)] = endpoint or EndpointSettings()
        main = self._name_network(mode)
        found = {main: asked.pop(main, EndpointSettings()), **asked}
        for name, endpoint in found.items():
            if len(found) > 1:
                self._check_beside_others(name)
            with suppress(NotFound):
                endpoint.network_id = self.networks.get(name).id
        return found

    def _name_network(self, ref: str) -> str:
        """Write a network by its name. One that is not there is looked for again by the start."""
        if ref in DEFAULT_MODES:  # may be switched off
            return "bridge"
        try:
            return self.networks.get(ref).name
        except NotFound:
            return ref

    def _check_beside_others(self, name: str) -> None:
        with suppress(NotFound):
            check_joinable(self.networks.get(name))


def check_platform(shown: str, image: Image, platform: str | None) -> list[str]:
    """Return a warning for an image of another machine's kind.

    Raises NotFound if ``platform`` was asked for and the image is of another one.
    """
    config = image.config
    own = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    if platform:
        wanted = parse_platform(platform)
        if rank(own, wanted) is None:
            raise NotFound(
                f"image with reference {shown} was found but does not match the specified "
                f"platform: wanted {format_platform(wanted)}, actual: {format_platform(own)}"
            )
        return []
    host = get_host()
    if rank(own, host) is None:
        warning = (
            f"The requested image's platform ({format_platform(own)}) does not match the detected "
            f"host platform ({format_platform(host)}) and no specific platform was requested"
        )
        return [warning]
    return []
